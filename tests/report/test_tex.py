r"""LaTeX tables: a strict little parser reads what is written, and the cells are held against the figures."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from compressed_lens.comparison import Figure, transitions
from compressed_lens.report.formatting import amount
from compressed_lens.report.paper_tables import paper_tables
from compressed_lens.report.run_data import RunData
from compressed_lens.report.tex import (
    MARKS,
    Cell,
    Column,
    Line,
    PaperTable,
    document,
    escaped,
    file_name,
    frame_latex,
    paper_table,
)

COMMANDS = {
    "begin", "end", "centering", "footnotesize", "setlength", "tabcolsep", "belowcaptionskip",
    "caption", "label", "toprule", "midrule",
    "bottomrule", "cmidrule", "multicolumn", "multirow", "textbf", "scriptsize", "textbackslash", "textasciitilde",
    "textasciicircum", "textless", "textgreater", "textbar", "dots", "uparrow", "downarrow", "dagger", "ddagger", "ast",
    "geq", "leq", "times", "clearpage", "pm", "cdot", "infty", "to", "input", "documentclass", "usepackage", "{", "}",
    "&", "%", "$", "#", "_", ",", "\\",
}  # fmt: skip
CMIDRULE = re.compile(r"\\cmidrule\(lr\)\{[\d-]+\}")
RULES = ("toprule", "midrule", "bottomrule")
HOSTILE = '\\input{/etc/passwd} 100% $x_1$ & {a}#~^ <b> |c| "d"\nline [e] *f* −1 ü 中 \u202e'


def rows_of(text: str) -> list[list[str]]:
    """Parse a LaTeX file strictly and return the cells of its rows; a spanning cell is followed by empty ones.

    Raises:
        AssertionError: An unknown command, unbalanced braces, environments or dollars, a bare special character, or a
            row that is not as wide as the table.
    """
    text = re.sub(r"^%.*$", "", text, flags=re.M)
    opened: list[str] = []
    braces, math, width = 0, False, 0
    rows: list[list[str]] = []
    cells = [""]
    place = 0
    while place < len(text):
        found = re.compile(r"\\([a-zA-Z]+|.)|.", re.DOTALL).match(text, place)
        assert found is not None
        sign, command, place = found.group(), found.group(1), found.end()
        assert command is None or command in COMMANDS, f"unknown command {sign}"
        if command in {"begin", "end"}:
            name = re.compile(r"\{([a-z*]+)\}").match(text, place)
            assert name is not None and braces == 0
            place = name.end()
            if command == "begin":
                opened.append(name[1])
            else:
                assert opened.pop() == name[1], "environments cross"
            if name[1] == "tabular" and command == "begin":
                kinds = re.compile(r"\{([lrc]+)\}").match(text, place)
                assert kinds is not None
                width, cells, place = len(kinds[1]), [""], kinds.end()
            continue
        if command in {*RULES, "cmidrule"}:
            assert not "".join(cells).strip(), "a rule inside a row"
        if command is None:
            assert sign not in "%#~", f"bare {sign}"
            assert sign not in "_^" or math, f"bare {sign}"
            assert ord(sign) < 0x180, f"no glyph for {sign!r}"
            braces += {"{": 1, "}": -1}.get(sign, 0)
            math ^= sign == "$"
            assert braces >= 0
        if sign == "&":
            assert "tabular" in opened and not braces and not math
            cells.append("")
        elif command == "\\":
            assert not braces and not math and not re.match(r"\s*[\[*]", text[place:])
            spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", " ".join(cells))]
            assert len(cells) + sum(spans) - len(spans) == width, f"{len(cells)} cells in {width} columns: {cells}"
            rows.append([cell.strip() for cell in cells])
            cells = [""]
        else:
            cells[-1] += sign
            if command in RULES or CMIDRULE.fullmatch(cells[-1].strip()):
                cells = [""]
    assert not opened and braces == 0 and not math
    return rows


@pytest.mark.parametrize("broken", [r"\evil{}", "a % b", r"\begin{table} \end{tabular}", "{", "$x", "a_b", "a # b",
                                    "\\begin{tabular}{ll} a \\\\ \\end{tabular}", "中"])  # fmt: skip
def test_the_parser_is_strict(broken: str) -> None:
    with pytest.raises((AssertionError, IndexError)):
        rows_of(broken)


def test_escaping() -> None:
    text = escaped(HOSTILE)
    assert rows_of(text) == []
    assert "[U+4E2D]" in text and "[U+202E]" in text and "ü" in text and "$-$1" in text and "\n" not in text
    back = text
    for tex, plain in (
        (r"\textbackslash{}", "\0"),
        (r"\textasciitilde{}", "~"),
        (r"\textasciicircum{}", "^"),
        (r"\textless{}", "<"),
        (r"\textgreater{}", ">"),
        (r"\textbar{}", "|"),
        ("$-$", "−"),
    ):
        back = back.replace(tex, plain)
    back = re.sub(r"\\([&%$#_{}])", r"\1", back).replace("\0", "\\")
    assert back == HOSTILE.replace("\n", " ").replace('"', "''").replace("中", "[U+4E2D]").replace("\u202e", "[U+202E]")


def test_a_table_of_hostile_words() -> None:
    cell = Cell(text=HOSTILE, bold=True, mark="worse", note=HOSTILE)
    table = PaperTable(
        name=HOSTILE,
        caption=f"{HOSTILE} [worse] means {HOSTILE}; [best] is no mark.",
        columns=(
            Column(group=HOSTILE, name=HOSTILE, direction="higher"),
            Column(group="g", name="h", direction="lower"),
        ),
        lines=(Line(model=HOSTILE, precision=HOSTILE, failed=True, cells=(cell, None)),),
        last=("n", "1", "2"),
    )
    text = paper_table(table)
    rows = rows_of(text)
    assert len(rows) == 4 and rows[2][3] == "--" and MARKS["worse"] in rows[2][2] and MARKS["failed"] in rows[2][1]
    assert rf"{MARKS['worse']} means" in text and "[best]" in text
    assert re.fullmatch(r"[a-z0-9-]+", file_name(table))
    frame = pl.DataFrame({"[a_b": [HOSTILE, "[0, 1]", "*"], "x": [1.5, None, -2.0]})
    rows = rows_of(frame_latex(frame))
    assert len(rows) == 4 and rows[2] == ["{}[0, 1]", "--"] and rows[3] == ["{}*", "$-$2.00"]
    assert rows_of(document(["task", "quality"])) == []


@pytest.fixture(scope="module")
def run(run_folder: Path) -> RunData:
    """The planted run, its accuracy declared as task performance."""
    found = RunData.read(run_folder)
    told = pl.col("metrics").str.replace('"direction"', '"family":"task","direction"', literal=True)
    told = pl.when(pl.col("analysis") == "accuracy").then(told).otherwise(pl.col("metrics"))
    return replace(found, cells=found.cells.with_columns(metrics=told))


@pytest.fixture(scope="module")
def tables(run: RunData) -> dict[str, PaperTable]:
    ratings = pl.DataFrame(
        [("reference", variant, "reviews", "rating", f"i{n}", "coherence", judge, float(1 + (n + k) % (2 + j)))
         for k, variant in enumerate(("full", "gptq-4bit", "rtn-2bit")) for j, judge in enumerate(("one", "two"))
         for n in range(9 - k)],
        schema=["model", "variant", "task", "analysis", "item", "dimension", "rater", "rating"], orient="row",
    )  # fmt: skip
    found = paper_tables(run.figures, transitions(run.series, run.figures), run.variant_list, ratings)
    return {file_name(table): table for table in found}


def figure(run: RunData, variant: str, metric: str) -> Figure:
    (found,) = [f for f in run.figures if f.variant == variant and f.measure.name == metric]
    return found


def test_every_table_of_a_run_is_sound(tables: dict[str, PaperTable]) -> None:
    assert set(tables) == {
        *("task", "task-differences", "task-transitions", "other", "other-differences", "other-transitions"),
        "judges-reviews-rating",
    }
    for table in tables.values():
        rows = rows_of(paper_table(table))
        heads = 3 if table.columns[0].part else 2
        assert len(rows) == heads + len(table.lines) + 1
        assert {len(row) for row in rows[heads - 1 :]} == {2 + len(table.columns)}
        for mark in {cell.mark for line in table.lines for cell in line.cells if cell and cell.mark}:
            assert f"[{mark}]" in table.caption


def test_values_marks_and_best_are_those_of_the_figures(run: RunData, tables: dict[str, PaperTable]) -> None:
    table = tables["task"]
    assert [column.name for column in table.columns] == ["accuracy (%)"] and table.last == ("n", "40")
    assert [line.precision for line in table.lines] == [v.name for v in run.variant_list if v.name != "hqq-4bit"]
    sound = {
        line.precision: figure(run, line.precision, "accuracy").own.estimate for line in table.lines if not line.failed
    }
    assert [line.precision for line in table.lines if line.failed] == ["rtn-2bit"]
    for line in table.lines:
        (cell,) = line.cells
        one = figure(run, line.precision, "accuracy")
        assert cell is not None and cell.text + " %" == amount(one.own.estimate, "rate")
        assert cell.bold == (sound.get(line.precision) == max(sound.values()))
        assert cell.mark == (one.verdict if one.verdict in MARKS and line.precision != "rtn-2bit" else "")
    marks = {line.precision: line.cells[0].mark for line in table.lines if line.cells[0]}
    assert marks["rtn-3bit"] == figure(run, "rtn-3bit", "accuracy").verdict or not marks["rtn-3bit"]


def test_differences_and_transitions(run: RunData, tables: dict[str, PaperTable]) -> None:
    for line in tables["task-differences"].lines:
        one = figure(run, line.precision, "accuracy")
        cell = line.cells[0]
        assert cell is not None and one.paired is not None
        low, high = (
            float(part.replace("−", "-").replace("+", "")) for part in re.findall(r"[−+]?\d+\.\d+", cell.text)[1:]
        )
        assert (low, high) == pytest.approx((100 * one.paired.low, 100 * one.paired.high), abs=0.051)
    for line in tables["task-transitions"].lines:
        shares = [float(cell.text) for cell in line.cells if cell]
        one = figure(run, line.precision, "accuracy")
        assert one.paired is not None and one.lost is not None and one.gained is not None
        assert shares[1:] == pytest.approx([100 * one.lost / one.paired.n, 100 * one.gained / one.paired.n], abs=0.051)


def test_judges(tables: dict[str, PaperTable]) -> None:
    table = tables["judges-reviews-rating"]
    assert [(c.group, c.name) for c in table.columns] == [("coherence", "one"), ("coherence", "two")]
    assert table.last == ("n", "9", "9")
    notes = {line.precision: [cell.note if cell else None for cell in line.cells] for line in table.lines}
    assert notes == {"full": ["", ""], "gptq-4bit": ["8", "8"], "rtn-2bit": ["7", "7"]}
    for column, judge in enumerate((2, 3)):
        means = [sum(1 + (n + k) % judge for n in range(9 - k)) / (9 - k) for k in range(3)]
        cells = [line.cells[column] for line in table.lines]
        assert [cell.text for cell in cells if cell] == [f"{mean:.2f}" for mean in means]
        assert [cell.bold for cell in cells if cell] == [mean == max(means[:2]) for mean in means[:2]] + [False]


def test_wide_tables_come_in_parts(run: RunData) -> None:
    (one,) = [s for s in run.series if s.analysis == "accuracy"]
    many: Any = [
        replace(f, task=f"{task}-{f.task}") for task in range(9) for f in run.figures if f.measure.name == "accuracy"
    ]
    tables = [t for t in paper_tables(many, (), run.variant_list, pl.DataFrame()) if "differences" not in t.name]
    assert one.task == "reviews" and [len(t.columns) for t in tables] == [6, 3]
    assert [file_name(t) for t in tables] == ["task-part-1-of-2", "task-part-2-of-2"]
    assert [c.group for t in tables for c in t.columns] == [f"{task}-reviews" for task in range(9)]
