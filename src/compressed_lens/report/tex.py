"""LaTeX: any frame as a table, a metrics table, and tables in the form of papers (booktabs and multirow only)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from compressed_lens.errors import DataError
from compressed_lens.report.formatting import MINUS, amount, bounds, difference, number

if TYPE_CHECKING:
    import polars as pl

_NEEDED = ("task", "metric", "unit", "variant", "gate", "value", "n", "difference", "low", "high", "verdict")
_ESCAPES = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", MINUS: "$-$", "–": "--", "—": "---", "…": r"\dots{}",
    "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "∞": r"$\infty$", "≥": r"$\geq$", "≤": r"$\leq$", "→": r"$\to$",
}  # fmt: skip
_LATIN = 0x180
_SPECIAL = re.compile(r"[^A-Za-z0-9 !'()*+,\-./:;=?@\[\]`]")
_ARROWS: Mapping[str, str] = {"higher": r"\,$\uparrow$", "lower": r"\,$\downarrow$"}
MARKS: Mapping[str, str] = {
    "worse": r"$^{\dagger}$",
    "better": r"$^{\ddagger}$",
    "different": r"$^{\ast}$",
    "equivalent": r"$^{=}$",
    "non-inferior": r"$^{\geq}$",
    "failed": r"$^{\times}$",
}
"""What stands beside a value, by verdict; "failed" beside a variant that failed the integrity gate."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of values.

    Attributes:
        group: What stands over it, such as a task; neighbours of one group share it.
        part: What stands between group and name, such as an analysis; may be "".
        direction: Which way is better; "" for no arrow.
    """

    group: str
    name: str
    part: str = ""
    direction: Literal["higher", "lower", ""] = ""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One value, as plain text.

    Attributes:
        mark: Key of `MARKS`, or "" for none.
        note: Small text in brackets behind it, such as a deviating n.
    """

    text: str
    bold: bool = False
    mark: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row: a model under one precision; None for what was not measured."""

    model: str
    precision: str
    failed: bool
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """A table in the form of the papers: rows are model x precision, columns are tasks x measures.

    Attributes:
        name: Of its file and label.
        caption: What the data, n, the intervals and the marks are, as plain text but for `MARKS`.
        lines: Rows, those of one model together.
        last: A closing row, such as n; empty for none. The first is its heading.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    last: tuple[str, ...] = ()


def paper_table(table: PaperTable) -> str:
    r"""Return a table as a LaTeX float that needs the packages booktabs and multirow."""
    width = len(table.columns)
    tex = [
        r"% \usepackage{booktabs,multirow}",
        r"\begin{table*}[t]",
        r"\centering",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{4pt}",
        r"\setlength{\belowcaptionskip}{6pt}",
        rf"\caption{{{_caption(table.caption)}}}",
        rf"\label{{tab:{file_name(table)}}}",
        rf"\begin{{tabular}}{{ll{'r' * width}}}",
        r"\toprule",
        *_heads(table.columns),
    ]
    for model, lines in groupby(table.lines, key=lambda line: line.model):
        rows = list(lines)
        tex.append(r"\midrule")
        for position, line in enumerate(rows):
            first = rf"\multirow{{{len(rows)}}}{{*}}{{{escaped(model)}}}" if position == 0 else ""
            name = escaped(line.precision) + (MARKS["failed"] if line.failed else "")
            tex.append(_row([first, name, *map(_cell, line.cells)]))
    if table.last:
        head, *rest = map(escaped, table.last)
        tex += [r"\midrule", _row([head, "", *rest])]
    return "\n".join([*tex, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]) + "\n"


def file_name(table: PaperTable) -> str:
    """Return the name of a table's file without its ending; it is part of the label, too."""
    return re.sub("[^a-z0-9]+", "-", table.name.lower()).strip("-")


def document(names: Sequence[str]) -> str:
    """Return a small LaTeX document that shows the tables in the files of these names, for a look at them."""
    inputs = [rf"\input{{{name}}} \clearpage" for name in names]
    head = [r"\documentclass{article}", r"\usepackage[textwidth=18cm]{geometry}", r"\usepackage{booktabs,multirow}",
            r"\begin{document}"]  # fmt: skip
    return "\n".join([*head, *inputs, r"\end{document}"]) + "\n"


def _heads(columns: Sequence[Column]) -> Iterable[str]:
    yield from _spanning([(c.group,) for c in columns])
    if any(column.part for column in columns):
        yield from _spanning([(c.group, c.part) for c in columns])
    names = (escaped(column.name) + _ARROWS.get(column.direction, "") for column in columns)
    yield _row(["Model", "Precision", *names])


def _spanning(keys: Sequence[tuple[str, ...]]) -> Iterable[str]:
    """Yield a row of headings over neighbours of the same key, and the rules under them."""
    groups = [(key[-1], len(list(part))) for key, part in groupby(keys)]
    yield _row(["", "", *(rf"\multicolumn{{{size}}}{{c}}{{{escaped(name)}}}" for name, size in groups)])
    place, rules = 3, []
    for _, size in groups:
        rules.append(rf"\cmidrule(lr){{{place}-{place + size - 1}}}")
        place += size
    yield " ".join(rules)


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    text = escaped(cell.text)
    note = rf"\,{{\scriptsize ({escaped(cell.note)})}}" if cell.note else ""
    return (rf"\textbf{{{text}}}" if cell.bold else text) + MARKS.get(cell.mark, "") + note


def _caption(text: str) -> str:
    """Escape a caption; `[worse]` and the like stand for the mark of that name."""
    parts = re.split(rf"\[({'|'.join(MARKS)})\]", text)
    return "".join(MARKS[part] if n % 2 else escaped(part) for n, part in enumerate(parts))


def latex(frame: pl.DataFrame) -> str:
    r"""Return a metrics table as LaTeX (booktabs): one row a measure, one column a variant.

    Each field holds the value, below it the paired difference to full precision with its 95 % interval
    and n. Differences that are shown are bold; a variant that failed the integrity gate has a dagger.

    Args:
        frame: What `metrics_table` returns, or a part of it.

    Raises:
        DataError: The frame lacks a column.
    """
    missing = [name for name in _NEEDED if name not in frame.columns]
    if missing:
        raise DataError(f"The frame lacks the column '{missing[0]}'.", fix="Pass what metrics_table(run) returns.")
    cells: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    gates: dict[str, str] = {}
    for row in frame.iter_rows(named=True):
        cells.setdefault((row["task"], row["metric"]), {})[row["variant"]] = row
        gates[row["variant"]] = row["gate"]
    heads = [escaped(name) + (r"$^\dagger$" if gate == "failed" else "") for name, gate in gates.items()]
    lines = [rf"\begin{{tabular}}{{ll{'r' * len(gates)}}}", r"\toprule"]
    lines += [_row(["Task", "Measure", *heads]), r"\midrule"]
    for (task, metric), row in cells.items():
        fields = [_field(row.get(name)) for name in gates]
        lines.append(_row([escaped(task), escaped(metric), *(top for top, _ in fields)]))
        lines.append(_row(["", "", *(below for _, below in fields)]))
    lines += [r"\bottomrule", r"\end{tabular}"]
    if "failed" in gates.values():
        lines.append(r"\par\footnotesize $^\dagger$ failed the integrity gate")
    return "\n".join(lines) + "\n"


def frame_latex(frame: pl.DataFrame) -> str:
    r"""Return any table as LaTeX (booktabs): numbers to the right, missing ones as dashes."""
    kinds = ["r" if dtype.is_numeric() else "l" for dtype in frame.dtypes]
    lines = [rf"\begin{{tabular}}{{{''.join(kinds)}}}", r"\toprule"]
    lines += [_row(escaped(name.replace("_", " ")) for name in frame.columns), r"\midrule"]
    lines += [_row(escaped(_told(value)) for value in row) for row in frame.iter_rows()]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _row(cells: Iterable[str]) -> str:
    r"""Join a row; one that starts with [ or * would be read as an argument of the \\ before it."""
    text = " & ".join(cells)
    return ("{}" if text.startswith(("[", "*")) else "") + text + r" \\"


def _told(value: Any) -> str:
    if isinstance(value, float | None):
        return number(value)
    return str(value)


def _field(row: dict[str, Any] | None) -> tuple[str, str]:
    if row is None or row["value"] is None:
        return "--", ""
    value = escaped(amount(row["value"], row["unit"]))
    if row["difference"] is None:
        return value, rf"{{\scriptsize n={row['n']}}}"
    change = escaped(difference(row["difference"], row["unit"]))
    if row["verdict"] in {"worse", "better", "different"}:
        change = rf"\textbf{{{change}}}"
    interval = "" if row["low"] is None else " " + escaped(bounds(row["low"], row["high"], row["unit"]))
    return value, rf"{{\scriptsize {change}{interval}, n={row['n']}}}"


def escaped(text: str) -> str:
    """Return plain text for LaTeX: special characters escaped, lines joined, signs without a glyph as [U+...]."""
    return _SPECIAL.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    one = match.group()
    if one in _ESCAPES:
        return _ESCAPES[one]
    if one in "&%$#_{}":
        return "\\" + one
    if one in "\n\r\t":
        return " "
    return one if one.isalpha() and ord(one) < _LATIN else f"[U+{ord(one):04X}]"
