"""`clens human design` and `clens human create`, on a run of the paper's grid and on a real one."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from tests.human.paper_run import build_run

from compressed_lens.cli.main import main
from compressed_lens.human.reading import default_design, read_design
from compressed_lens.human.store import HumanStore
from compressed_lens.human.texts import draw
from compressed_lens.runner import load_run, run
from compressed_lens.store import Store
from compressed_lens.study.load import from_arguments


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_run(tmp_path_factory.mktemp("paper") / "run")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the reference model with explanations and edits of four reviews."""
    study = from_arguments(
        name="real", model="reference", variants=["rtn-8bit"], tasks=["testbed-reviews"], limit=4,
        analyses=["nle", "counterfactual"], device="cpu",
    )  # fmt: skip
    out = tmp_path_factory.mktemp("runs") / "real"
    run(study, out=out, progress=False)
    return out


def test_a_design_is_printed_to_be_edited(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["human", "design"]) == 0
    file = tmp_path / "printed.yaml"
    file.write_text(capsys.readouterr().out)
    assert read_design(file) == default_design()
    written = tmp_path / "design.yaml"
    assert main(["human", "design", "--preset", "pilot", "--out", str(written)]) == 0
    assert read_design(written) == default_design("pilot")
    assert main(["human", "design", "--out", str(written)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_dry_run_prints_what_it_takes_and_writes_nothing(paper: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["human", "create", str(paper), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "360 texts in 24 cells (3 models, 4 variants, 1 task, 2 kinds; 15 items each)" in said
    assert "720 ratings: 2 of each text" in said
    assert "48 raters with 15 texts and 1 attention check each: about 8 minutes" in said
    texts, _ = draw(load_run(paper), default_design().sample)
    wrote = {(t.model, t.variant, t.item, t.shown.kind): (t.shown.text, t.shown.label) for t in texts}
    awq = [place for place in wrote if place[1] == "awq-4bit"]
    same = [wrote[place] == wrote[place[0], "full", *place[2:]] for place in awq]
    assert 0 < sum(same) < 90
    assert f"Word for word as in full precision, label and all: awq-4bit {sum(same)} of 90, " in said
    assert "Left out: 3 items without a text to rate under every variant." in said
    assert "gptq-4bit\texplanation\tfailed: the prompt is longer than the model reads\t3" in said
    assert re.search(r"With 360 ratings of explanations a difference of 0\.4\d points is shown with 80 % power", said)
    assert "power for 0.5\titems for 0.3\titems for 0.5\n" in said
    assert "With 15 items no variant will be called equivalent or non-inferior, whatever people say" in said
    assert said.endswith("Nothing was written.\n")
    assert not (paper / "human").exists()


def test_options_go_before_the_design_file(paper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "design.yaml"
    file.write_text("sample: {items: 9, ratings: 3, raters: 40}\n")
    arguments = ["human", "create", str(paper), "--design", str(file), "--name", "own", "--seed", "3"]
    chosen = ["--items", "4", "--per-rater", "6", "--variants", "gptq-4bit", "awq-4bit", "--kinds", "explanation"]
    assert main([*arguments, *chosen, "--models", "Qwen2.5-7B-Instruct"]) == 0
    said = capsys.readouterr().out
    assert "12 texts in 3 cells (1 model, 3 variants, 1 task, 1 kind; 4 items each)" in said
    folder = paper / "human" / "own"
    assert f"\n{folder}\n\nclens human links {paper} --name own\nclens human serve {paper} --name own\n" in said
    sample = read_design(folder / "design.yaml").sample
    assert (sample.items, sample.ratings, sample.raters, sample.per_rater, sample.seed) == (4, 3, None, 6, 3)
    assert (sample.variants, sample.kinds) == (("gptq-4bit", "awq-4bit"), ("explanation",))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--design", "d.yaml", "--preset", "pilot"], "A design file and a preset are two designs."),
        (["--raters", "9", "--per-rater", "9"], "--raters and --per-rater say the same thing twice."),
        (["--raters", "20"], "Each item needs 24 different raters, and there are 20."),
        (["--items", "21"], "and 42 are wanted"),
        (["--kinds", "edits"], "There is no kind 'edits'. One of: explanation, counterfactual."),
        (["--variants", "awq4bit"], "no variant 'awq4bit'. Did you mean 'awq-4bit'?"),
        (["--preset", "papers"], "no preset 'papers'. Did you mean 'paper'?"),
        (["--database", "mysql://a/b"], "error: "),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(
    paper: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["human", "create", str(paper), "--name", "refused", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list((paper / "human").glob("*refused*"))


def test_a_name_stays_inside_the_run(paper: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["human", "create", str(paper), "--name", "../x"]) == 2
    assert "'../x' cannot be the name of a human study." in capsys.readouterr().err


def test_a_folder_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["human", "create", str(tmp_path)]) == 5
    assert "There is no run in" in capsys.readouterr().err


def test_a_run_without_edits_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = from_arguments(name="half", model="reference", tasks=["testbed-reviews"], analyses=["nle"])
    with Store.create(tmp_path / "half", study) as store:
        store.put_variant("reference", "full", position=0, status="passed")
        info = {"instruction": "", "labels": []}
        store.put_task("testbed-reviews", fingerprint="f", kind="classification", info=info, items=[])
        store.put_grid([("reference", "full", "testbed-reviews", "nle", 0)])
    assert main(["human", "create", str(tmp_path / "half")]) == 2
    error = capsys.readouterr().err
    assert "No task of this run has the analysis counterfactual" in error
    assert "or choose --kinds explanation" in error


def test_a_study_of_a_real_run_shows_what_its_models_wrote(real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["human", "create", str(real), "--items", "2", "--per-rater", "4"]) == 0
    assert "8 texts in 4 cells (1 model, 2 variants, 1 task, 2 kinds; 2 items each)" in capsys.readouterr().out
    folder = real / "human" / "main"
    values = {
        (row["variant"], row["analysis"], row["item"]): json.loads(row["values"])
        for row in load_run(real).records.iter_rows(named=True)
    }
    with (folder / "key.csv").open(newline="", encoding="utf-8") as file:
        key = {row["text"]: row for row in csv.DictReader(file)}
    with (folder / "assignment.csv").open(newline="", encoding="utf-8") as file:
        assigned = list(csv.DictReader(file))
    seen = set()
    with HumanStore.open(f"sqlite:///{folder / 'ratings.sqlite'}") as store:
        dimensions = [one.name for one in store.questionnaire.dimensions]
        for row in assigned:
            page = store.page(row["rater"], int(row["position"]))
            if not row["text"]:
                assert page.shown is None
                assert page.expected is not None
                answer = dict(page.expected)
            else:
                assert page.shown is not None
                told = key[row["text"]]
                record = values[told["variant"], told["analysis"], told["item"]]
                assert page.shown.text == record["explanation" if told["kind"] == "explanation" else "edited"]
                seen.add(row["text"])
                answer = dict.fromkeys(dimensions, 3)
            if page.position == 1:
                store.move(row["rater"], step="consent", to="rating")
            form = f"{row['rater']}-{page.position}"
            saved = store.save(row["rater"], page.position, values=answer, comment="", seconds=1.0, form=form)
            assert saved == "saved"
        assert len(store.ratings().filter(check=False)) == 16
        assert store.ratings()["passed"].drop_nulls().all()
    assert seen == set(key)
