"""Tables for papers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from compressed_lens.errors import DataError
from compressed_lens.report.formatting import MINUS, amount, bounds, difference, number

if TYPE_CHECKING:
    import polars as pl

_NEEDED = ("task", "metric", "unit", "variant", "gate", "value", "n", "difference", "low", "high", "verdict")
_ESCAPES = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


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
    heads = [_escaped(name) + (r"$^\dagger$" if gate == "failed" else "") for name, gate in gates.items()]
    lines = [rf"\begin{{tabular}}{{ll{'r' * len(gates)}}}", r"\toprule"]
    lines += [" & ".join(["Task", "Measure", *heads]) + r" \\", r"\midrule"]
    for (task, metric), row in cells.items():
        fields = [_field(row.get(name)) for name in gates]
        lines.append(" & ".join([_escaped(task), _escaped(metric), *(top for top, _ in fields)]) + r" \\")
        lines.append(" & ".join(["", "", *(below for _, below in fields)]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    if "failed" in gates.values():
        lines.append(r"\par\footnotesize $^\dagger$ failed the integrity gate")
    return "\n".join(lines) + "\n"


def frame_latex(frame: pl.DataFrame) -> str:
    r"""Return any table as LaTeX (booktabs): numbers to the right, missing ones as dashes."""
    kinds = ["r" if dtype.is_numeric() else "l" for dtype in frame.dtypes]
    lines = [rf"\begin{{tabular}}{{{''.join(kinds)}}}", r"\toprule"]
    lines += [" & ".join(_escaped(name.replace("_", " ")) for name in frame.columns) + r" \\", r"\midrule"]
    lines += [" & ".join(_escaped(_told(value)) for value in row) + r" \\" for row in frame.iter_rows()]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _told(value: Any) -> str:
    if isinstance(value, float | None):
        return number(value)
    return str(value)


def _field(row: dict[str, Any] | None) -> tuple[str, str]:
    if row is None or row["value"] is None:
        return "--", ""
    value = _escaped(amount(row["value"], row["unit"]))
    if row["difference"] is None:
        return value, rf"{{\scriptsize n={row['n']}}}"
    change = _escaped(difference(row["difference"], row["unit"]))
    if row["verdict"] in {"worse", "better", "different"}:
        change = rf"\textbf{{{change}}}"
    interval = "" if row["low"] is None else " " + _escaped(bounds(row["low"], row["high"], row["unit"]))
    return value, rf"{{\scriptsize {change}{interval}, n={row['n']}}}"


def _escaped(text: str) -> str:
    escaped = re.sub(r"[\\~^]|[&%$#_{}]", lambda m: _ESCAPES.get(m.group(), "\\" + m.group()), text)
    return escaped.replace(MINUS, "$-$").replace("–", "--")
