"""The HTML page: self-contained, honest about failures, and safe with hostile text."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from compressed_lens.errors import RunError
from compressed_lens.report import write_report
from compressed_lens.report.build import write_files
from compressed_lens.report.comparisons import Comparisons
from compressed_lens.report.page import content_hash
from compressed_lens.report.run_data import RunData

HOSTILE = {
    0: "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">",
    1: "</script><script>document.title = 'owned'</script><!-- <script>",
    2: "\u202egnp.exe \u2066 right \u05d0\u05d1\u05d2 to left",
    3: "broken \ud83d half, NUL \x00, escape \x1b[31m, bell \x07",
    4: "x" * 100_000,
    5: "{{ 7 * 7 }} {% raw %} ${alert(1)} &lt;b&gt; ]]> \u2028 \u2029",
}


class Page(HTMLParser):
    """Elements, attributes and text of a page, tables apart."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.tables: list[str] = []
        self.text: list[str] = []
        self._script: dict[str, str | None] | None = None
        self._depth = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs)
            self.scripts.append((dict(attrs), ""))
        if tag == "table":
            self._depth += 1
            self.tables.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None
        if tag == "table":
            self._depth -= 1

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[-1] = (self._script, self.scripts[-1][1] + data)
            return
        self.text.append(data)
        if self._depth:
            self.tables[-1] += data


@pytest.fixture(scope="module")
def page(run_folder: Path) -> Page:
    return Page(write_report(run_folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, plant_run: Callable, settings: type) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "run"
    plant_run(folder, settings(items=12, variants=("full", "rtn-2bit"), texts=HOSTILE, instruction=HOSTILE[0]))
    return write_report(folder)


def sections(page: Page) -> set[str]:
    return {attrs["id"] for tag, attrs in page.elements if tag == "section" and attrs.get("id")}


def test_every_part_is_there(page: Page) -> None:
    assert {"ran", "integrity", "cost", "overview", "measures", "groups", "texts", "reading"} <= sections(page)
    drawn = [attrs for tag, attrs in page.elements if tag == "svg"]
    forests = [attrs for attrs in drawn if attrs.get("class") == "forest"]
    assert len(forests) == 6 * 7, "every comparison of six measures with seven variants"
    assert all("aria-hidden" in attrs for attrs in forests), "their tables hold the same numbers"


def test_every_other_drawing_has_its_text(run_folder: Path) -> None:
    text = write_report(run_folder).read_text(encoding="utf-8")
    drawings = re.findall(r'<svg[^>]*role="img"[^>]*>(<title>)?', text)
    assert len(drawings) > 20 and all(drawings)


def test_page_needs_nothing_from_outside(run_folder: Path) -> None:
    text = write_report(run_folder).read_text(encoding="utf-8")
    page = Page(text)
    (policy,) = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "unsafe-eval" not in policy
    programs = [body for attrs, body in page.scripts if "type" not in attrs]
    assert len(programs) == 2
    assert "script-src " + " ".join(f"'{content_hash(program)}'" for program in programs) + ";" in policy
    for tag, attrs in page.elements:
        assert tag not in {"link", "iframe", "img", "object", "base", "form"}
        assert not [name for name in attrs if name.startswith("on") or name in {"src", "srcset", "action"}]
        assert attrs.get("href", "#").startswith("#")
    assert not re.search(r"url\((?!#)", text) and "@import" not in text
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for t, a in page.elements if t == "a" and len(a["href"]) > 1} <= set(ids)


def test_a_variant_that_failed_is_marked_in_every_table(page: Page) -> None:
    with_it = [table for table in page.tables if "rtn-2bit" in table]
    assert len(with_it) >= 3 + 6 + 2
    for table in with_it:
        assert re.search(r"rtn-2bit\s*✕ ?\s*failed", table), table[:200]
        assert "hqq-4bit" not in table or re.search(r"hqq-4bit\s*– unavailable|not installed", table)


def test_findings_are_honest(page: Page) -> None:
    text = " ".join("".join(page.text).split())
    assert re.search(r"losses up to [\d.]+ points remain possible \([^)]*n = 40\)", text)
    assert "rtn-2bit failed the integrity gate" in text and "80 % of continuations repeat one token" in text
    assert re.search(r"Worse: \w+[\w ]* on \w+ by [\d.]+ points \[[\d.]+, [\d.]+\], n = 40\.", text)
    assert not re.search(r"\b(lossless|unaffected|as good as)\b", text)


def test_hostile_text_is_shown_as_text(hostile: Path) -> None:
    raw = hostile.read_bytes()
    text = raw.decode("utf-8")
    page = Page(text)
    assert len([1 for attrs, _ in page.scripts if "type" not in attrs]) == 2
    blocks = [body for attrs, body in page.scripts if attrs.get("type") == "application/json"]
    assert len(blocks) == 3
    strings = [text for block in blocks for text in json.loads(gzip.decompress(base64.b64decode(block)))["strings"]]
    assert HOSTILE[0] in strings and HOSTILE[1] in strings and HOSTILE[5] in strings
    assert any(s.startswith("[U+202E]gnp.exe [U+2066] right") for s in strings)
    assert any("\u2400" in s and "\u241b[31m" in s for s in strings)
    assert any(s.startswith("xxx") and s.endswith("[80,000 more characters]") for s in strings)
    assert "\u202e" not in text and "\x00" not in text and "\x1b" not in text
    assert "onerror" not in {name for _, attrs in page.elements for name in attrs}


def test_hostile_text_does_not_break_markdown_tables(hostile: Path) -> None:
    text = hostile.with_name("report.md").read_text(encoding="utf-8")
    width = None
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line))
        if not line.startswith("|"):
            width = None
            continue
        assert width in (None, cells), line[:200]
        width = cells
    assert not re.search(r"(?<!\\)<(?!br>|/?sub>| )", text) and "\\<script\\>" in text


def test_a_run_that_is_not_finished_says_so(tmp_path: Path, plant_run: Callable, settings: type) -> None:
    folder = plant_run(tmp_path / "run", settings(items=6, variants=("full", "bnb-4bit")))
    _sql(folder, "DELETE FROM records WHERE cell = 'cell003' AND item >= 'reviews-0003'")
    _sql(folder, "UPDATE grid SET cell = NULL WHERE variant = 'bnb-4bit' AND task = 'facts'")
    text = " ".join("".join(Page(write_report(folder).read_text(encoding="utf-8")).text).split())
    assert "not finished: 2 of its cells" in text
    assert "not recorded 3" in text and "n 3" in text


def test_a_run_without_full_precision_or_without_records(tmp_path: Path, plant_run: Callable, settings: type) -> None:
    folder = plant_run(tmp_path / "run", settings(items=6, variants=("full", "bnb-4bit")))
    for table in ("grid", "variants"):
        _sql(folder, f"DELETE FROM {table} WHERE variant = 'full'")  # noqa: S608
    text = "".join(Page(write_report(folder).read_text(encoding="utf-8")).text)
    assert "nothing to compare" in text and "Worse: recall" not in text
    _sql(folder, "DELETE FROM records")
    text = " ".join("".join(Page(write_report(folder).read_text(encoding="utf-8")).text).split())
    assert "0 of" in text


def test_two_models_stay_apart(tmp_path: Path, plant_run: Callable, settings: type) -> None:
    folder = plant_run(tmp_path / "run", settings(items=6, variants=("full", "rtn-2bit")))
    for table in ("grid", "variants"):
        names = {
            "grid": "variant, task, analysis, position, items, cell",
            "variants": "variant, position, status, reason, build",
        }
        _sql(folder, f"INSERT INTO {table}(model, {names[table]}) SELECT 'second', {names[table]} FROM {table}")  # noqa: S608
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert sum(attrs.get("class") == "forest" for tag, attrs in page.elements if tag == "svg") == 2 * 6
    text = " ".join("".join(page.text).split())
    assert "For reference: rtn-2bit failed" in text and "For second: rtn-2bit failed" in text


def test_no_run_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="There is no run"):
        write_report(tmp_path / "nothing")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_one_clear_sentence(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = RunData.read(run_folder)
    with pytest.raises(RunError, match=r"Cannot write .*metrics.csv: Not a directory"):
        write_files(replace(run, folder=tmp_path / "file"), Comparisons.of(run, run.figures))


def test_a_report_is_quick_and_needs_no_torch(run_folder: Path) -> None:
    program = (
        "import os, sys; from compressed_lens.report import write_report; write_report(sys.argv[1]);"
        "assert not {'torch', 'transformers', 'scipy.stats'} & set(sys.modules);"
        "spent = os.times(); print(spent.user + spent.system)"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(
        [sys.executable, "-c", program, str(run_folder)], capture_output=True, text=True, check=True, env=environment
    )
    assert float(done.stdout) < 4


def _sql(folder: Path, statement: str) -> None:
    import sqlite3

    with sqlite3.connect(folder / "run.sqlite") as connection:
        connection.execute(statement)
    connection.close()


def test_comparisons_have_their_sections(page: Page, run_folder: Path) -> None:
    assert {"ranking", "transitions"} <= sections(page) and not {"agreement", "size"} & sections(page)
    text = " ".join("".join(page.text).split())
    assert "1 is best; tied quantizers share the average of their ranks" in text
    assert "Friedman by permutation" in text
    stacks = [a for tag, a in page.elements if tag == "svg" and a.get("class") == "stack"]
    mosaics = [a for tag, a in page.elements if tag == "figure" and str(a.get("class")).startswith("mosaic")]
    assert (len(stacks), len(mosaics)) == (7, 3 * 7), "one exploratory and three primary measures under seven variants"
    ranked = [table for table in page.tables if "Mean rank" in table]
    assert ranked and not any("rtn-2bit" in table or "full" in table for table in ranked)
    markdown = (run_folder / "report.md").read_text(encoding="utf-8")
    assert "## Ranking of variants" in markdown and "## Transitions" in markdown


def test_counts_of_every_transition_row_add_up(run_folder: Path) -> None:
    from compressed_lens.comparison import figures, transitions
    from compressed_lens.report.run_data import RunData

    run = RunData.read(run_folder)
    found = transitions(run.series, figures(run.series, {}))
    assert len(found) == 7 * 4
    for t in found:
        assert t.items == t.pairs + t.not_applicable + t.failed + t.unrecorded == 40
    loops = next(t for t in found if t.measure.name == "degenerate" and t.variant == "rtn-2bit")
    assert (loops.lost, loops.gained) == (14, 0), "a lower rate is better, and a failure counts as one here"


def test_a_large_study_is_folded(tmp_path: Path, plant_run: Callable, settings: type) -> None:
    folder = plant_run(tmp_path / "run", settings(items=6, variants=("full", "rtn-3bit")))
    metrics = [
        {"name": f"m{n}", "value": "names_evidence", "direction": "higher", "unit": "rate", "summary": "",
         "primary": n < 2, "on_failure": None, "family": "faithfulness"} for n in range(60)
    ]  # fmt: skip
    _sql(folder, f"UPDATE cells SET metrics = '{json.dumps(metrics)}' WHERE method = 'nle'")  # noqa: S608
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    text = " ".join("".join(page.text).split())
    assert "Faithfulness of explanations: 58 exploratory measures" in text and "Primary measures" in text
    closed = [a for tag, a in page.elements if tag == "details" and a.get("class") == "analysis" and "open" not in a]
    assert len(closed) == 3
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for t, a in page.elements if t == "a" and len(a["href"]) > 1} <= set(ids)


def test_several_models_are_compared_by_size(tmp_path: Path, plant_run: Callable, settings: type) -> None:
    folder = plant_run(tmp_path / "run", settings(items=6, variants=("full", "rtn-3bit")))
    for table, names in {
        "grid": "variant, task, analysis, position, items, cell",
        "variants": "variant, position, status, reason",
    }.items():
        _sql(folder, f"INSERT INTO {table}(model, {names}) SELECT 'second', {names} FROM {table}")  # noqa: S608
    _sql(folder, "INSERT INTO builds SELECT 'other-' || build, fingerprint, recipe, audit, integrity, bytes_on_disk, "
                 "memory_bytes, loaded FROM builds")  # fmt: skip
    _sql(folder, "UPDATE variants SET build = 'other-b-' || variant WHERE model = 'second' AND variant <> 'hqq-4bit'")
    _sql(
        folder,
        "UPDATE builds SET loaded = json_set(loaded, '$.parameters', iif(build LIKE 'other%', 9000000, 1000000))",
    )
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    text = " ".join("".join(page.text).split())
    assert "size" in sections(page) and "reference (1.00M)" in text and "second (9.00M)" in text
    assert "second rtn-3bit" in text
