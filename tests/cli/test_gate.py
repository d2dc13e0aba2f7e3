"""`clens gate` over a real run: what passes, what fails, and what other programs are told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from compressed_lens.cli.main import main
from compressed_lens.comparison import use_frame, use_verdicts
from compressed_lens.comparison.gating import rulings
from compressed_lens.report.gating import junit
from compressed_lens.report.run_data import RunData

STUDY = """\
name: gated
models: [reference]
variants: [rtn-8bit, rtn-2bit, placebo-eager]
tasks: [{name: testbed-facts, limit: 40}, {name: testbed-reviews, limit: 40}]
analyses: [accuracy, recall]
margins: {task: 0.1, recall: 0.1}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gated")
    (folder / "study.yaml").write_text(STUDY)
    assert main(["run", str(folder / "study.yaml"), "--out", str(folder / "run"), "--quiet"]) == 0
    return folder / "run"


def policy(tmp_path: Path, text: str) -> str:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return str(path)


def test_a_policy_that_holds(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = policy(tmp_path, "require: {task: equivalent, knowledge: non-inferior}\nvariants: [rtn-8*]\n")
    out, told = tmp_path / "gate.xml", tmp_path / "summary.md"
    told.write_text("# before\n")
    assert main(["gate", str(run), "--policy", held, "--junit", str(out), "--summary", str(told)]) == 0
    said = capsys.readouterr().out
    assert "rtn-8bit\ttask performance\tpassed" in said and "rtn-2bit" not in said and "placebo" not in said
    root = ElementTree.parse(out).getroot()  # noqa: S314 (our own file)
    assert (root.get("tests"), root.get("failures")) == ("3", "0") and not root.findall(".//failure")
    text = told.read_text()
    assert text.startswith("# before\n## ✅ gated: every requirement met") and "■ equivalent" in text


def test_a_broken_policy(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, told = tmp_path / "gate.xml", tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(told))
    assert main(["gate", str(run), "--junit", str(out)]) == 8
    said = capsys.readouterr()
    assert "rtn-2bit\tfactual knowledge\tFAILED\tworse (1 worse); non-inferior is required." in said.out
    assert "error: rtn-2bit breaks the policy in" in said.err and "Traceback" not in said.err
    failures = {
        (case.get("classname"), case.get("name"))
        for case in ElementTree.parse(out).getroot().iter("testcase")  # noqa: S314 (our own file)
        if case.find("failure") is not None
    }
    assert failures == {("reference.rtn-2bit", "task performance"), ("reference.rtn-2bit", "factual knowledge")}
    assert "❌ ▼ worse" in told.read_text() and "recall on testbed-facts: worse" in told.read_text()


def test_what_was_not_measured_fails_where_it_is_required(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = policy(tmp_path, "require: {faithfulness: not worse}\nvariants: [rtn-8bit]\n")
    assert main(["gate", str(run), "--policy", held]) == 8
    assert "nothing of it was measured" in capsys.readouterr().err


def test_margins_of_the_policy(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = policy(tmp_path, "require: {task: non-inferior}\nvariants: [rtn-8bit]\nmargins: {accuracy: 0.001}\n")
    assert main(["gate", str(run), "--policy", held]) == 8
    assert "undecided (1 undecided)" in capsys.readouterr().out
    held = policy(tmp_path, "require: {task: non-inferior}\nmargins: {acuracy: 0.1}\n")
    assert main(["gate", str(run), "--policy", held]) == 2
    assert "Did you mean 'accuracy'" in capsys.readouterr().err


def test_a_policy_for_no_variant(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = policy(tmp_path, "require: {task: not worse}\nvariants: [awq-*]\n")
    assert main(["gate", str(run), "--policy", held]) == 2
    assert "It has: rtn-8bit, rtn-2bit." in capsys.readouterr().err


def test_a_name_in_the_policy_must_be_there(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = policy(tmp_path, "require: {task: not worse}\nvariants: [rtn-8bit, rtn-2bits]\n")
    assert main(["gate", str(run), "--policy", held]) == 2
    assert "'rtn-2bits', which the policy names. Did you mean 'rtn-2bit'?" in capsys.readouterr().err
    held = policy(tmp_path, "require: {task: not worse}\nvariants: [rtn-8bit, awq-*]\n")
    assert main(["gate", str(run), "--policy", held]) == 0, "a pattern may be for other runs"


def test_a_variant_of_which_nothing_was_measured_does_not_pass(run: Path) -> None:
    data = RunData.read(run)
    (variant,) = (v for v in data.variant_list if v.name == "rtn-8bit")
    nothing = use_verdicts((), [variant])
    found = rulings(nothing, data.variant_list)
    assert [one.passed for one in found if one.variant == "rtn-8bit"] == [True, False, False, False, False]
    failed = [replace(v, status="unavailable") if v is variant else v for v in data.variant_list]
    assert [one.name for one in rulings(nothing, failed) if one.variant == "rtn-8bit"] == ["integrity"], "said once"


def test_what_models_write_is_xml(run: Path, tmp_path: Path) -> None:
    data = RunData.read(run)
    hostile = "]]></failure><x>\x00\ufffe\uffff\ud800\u202e & \x1b[0m"
    variants = [replace(v, status="marked", reason=hostile) if v.name == "rtn-8bit" else v for v in data.variant_list]
    text = junit(rulings(use_verdicts(data.figures, variants), variants), name=hostile)
    failure = ElementTree.fromstring(text).find(".//failure")  # noqa: S314 (our own text)
    assert failure is not None and "]]></failure><x>\u2400[U+FFFE][U+FFFF]\ufffd[U+202E] &" in (failure.text or "")


def test_files_come_into_new_folders(run: Path, tmp_path: Path) -> None:
    assert main(["gate", str(run), "--junit", str(tmp_path / "new" / "gate.xml")]) == 8
    assert (tmp_path / "new" / "gate.xml").stat().st_size


def test_uses_and_their_table(run: Path) -> None:
    data = RunData.read(run)
    found = use_verdicts(data.figures, data.variant_list)
    verdicts = {(use.variant, use.use): use.verdict for use in found}
    assert verdicts["rtn-8bit", "task"] == verdicts["placebo-eager", "knowledge"] == "equivalent"
    assert verdicts["rtn-2bit", "task"] == verdicts["rtn-2bit", "knowledge"] == "worse"
    assert verdicts["rtn-2bit", "quality"] == "not measured"
    assert {use.variant for use in found if use.placebo} == {"placebo-eager"}
    frame = use_frame(found)
    assert frame.height == 12 and frame.filter(variant="rtn-2bit", use="knowledge")["measures"].item() == 1
    assert all(f.floor == 0.0 for f in data.figures if f.variant == "rtn-8bit" and f.confirmatory)
    assert not data.margins_moved and json.loads(json.dumps(dict(data.margins))) == {"task": 0.1, "recall": 0.1}


def test_margins_that_were_moved_are_told(run: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(STUDY.replace("task: 0.1", "task: 0.2"))
    assert main(["run", str(study), "--out", str(run), "--quiet"]) == 0
    assert RunData.read(run).margins_moved
    assert "were set after records could be seen" in (run / "report.md").read_text()
