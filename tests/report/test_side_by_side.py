"""The page of runs side by side: sound, quiet, and drawn to scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from compressed_lens.cli.main import main
from compressed_lens.comparison.runs import RunComparison, side_by_side
from compressed_lens.report.run_data import RunData
from compressed_lens.report.side_by_side import again, agreement, check_counts, difference_rows, page, reasons, summary

HOSTILE = '<script>alert(1)</script> "&\u202e\x00'


class Reader(HTMLParser):
    """Collects what is in a page, and refuses tags that cross."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, value in attrs if name.startswith("on") or "http" in (value or "")]
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    return reader


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, plant_run: Callable, settings: type) -> RunComparison:
    """One planted run against itself: of two variants, and of others that have no partner or failed the gate."""
    folder = tmp_path_factory.mktemp("runs")
    first = RunData.read(plant_run(folder / "a", settings(variants=("full", "rtn-3bit", "rtn-2bit"))))
    second = RunData.read(plant_run(folder / "b", settings(variants=("full", "rtn-2bit"))))
    within = side_by_side([first], [(("", "full"), ("", "rtn-3bit"))])
    across = side_by_side([first, second])
    return replace(across, cells=(*across.cells, *within.cells))


def test_the_page_is_sound_and_says_what_the_terminal_says(compared: RunComparison) -> None:
    text = page(compared, everything=True, footer="Made by a test.")
    reader = read(text)
    shown = " ".join(reader.text)
    assert "script" not in reader.tags and "link" not in reader.tags and "Made by a test." in shown
    assert summary(compared) in shown and agreement(again(compared)) in shown
    rows, same = difference_rows(compared, everything=True)
    # Full precision against itself is the same on every record; five measures are of the reviews, one of the facts.
    assert len(rows) == 6 and same == 6 and f"{same} measures of cells" in shown
    assert reader.tags.count("svg") == len(rows)
    for reason in reasons(compared):
        assert reason.detail in shown and reason.places in shown


def test_counts_and_reasons(compared: RunComparison) -> None:
    counts = check_counts(compared)
    assert len(counts) == 12 and all(sum(line.values()) == len(compared.cells) for line in counts.values())
    assert counts["gate"] == {"passed": 6, "warning": 0, "refused": 6}
    told = reasons(compared)
    assert [one.result for one in told] == sorted(one.result for one in told)
    (gate,) = [one for one in told if one.check == "gate" and "rtn-2bit" in one.detail]
    assert gate.detail.count("failed the integrity gate") == 2 and len(gate.where) == 3
    assert gate.places.endswith("and 2 more")
    assert [one for one in told if one.check == "partner" and "rtn-3bit" in one.detail]


def test_verdicts_can_be_checked_by_eye(compared: RunComparison) -> None:
    rows, _ = difference_rows(compared, everything=True)
    words = set()
    for row in rows:
        figure, line, band = row.figure, row.line, row.band
        assert figure.paired is not None and line is not None and row.p
        left, right = line[0], line[0] + line[1]
        assert 0 <= left <= row.dot + 0.02 and row.dot - 0.02 <= right <= 100
        assert (left > 50.01 or right < 49.99) == figure.paired.excludes_zero
        if band is not None:
            assert band[0] + band[1] / 2 == pytest.approx(50, abs=0.02)
            inside = left >= band[0] - 0.02 and right <= band[0] + band[1] + 0.02
            assert inside == (figure.verdict == "equivalent")
        assert row.words.startswith(figure.verdict) and math.isfinite(row.dot)
        words.add(figure.verdict)
    assert len(words) > 1


def test_hostile_words_are_shown_as_text(compared: RunComparison) -> None:
    cell = next(cell for cell in compared.cells if cell.figures and cell.relation == "other variant")
    nasty = replace(cell, figures=tuple(replace(f, task=HOSTILE, analysis=HOSTILE) for f in cell.figures))
    runs = tuple((letter, Path(f"/{HOSTILE.strip(chr(0))}"), HOSTILE, math.nan) for letter, *_ in compared.runs)
    reader = read(page(replace(compared, runs=runs, cells=(nasty,)), everything=False, footer=HOSTILE))
    shown = "".join(reader.text)
    assert "script" not in reader.tags and "<script>alert(1)</script>" in shown and "[U+202E]" in shown and "␀" in shown


def test_the_command(tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "page.html"
    pair = ["--pair", "full=gptq-4bit", "full=rtn-3bit"]
    assert main(["compare", str(run_folder), *pair, "--html", str(file), "--csv", str(tmp_path)]) == 0
    assert "wrote" in capsys.readouterr().err
    shown = " ".join(read(file.read_text(encoding="utf-8")).text)
    assert "B:reference/gptq-4bit" in shown and pl.read_csv(tmp_path / "differences.csv").height == 12
    assert main(["compare", str(run_folder), "--html", str(file)]) == 2
    assert "--html is for several runs" in capsys.readouterr().err
