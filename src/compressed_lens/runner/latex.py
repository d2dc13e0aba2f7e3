"""Metrics as a LaTeX table: one row a metric, one column a variant."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars

_SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
_UNSOUND = {"marked", "refused"}
_ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$"}


def latex(metrics: polars.DataFrame) -> str:
    """Return the frame of `Run.metrics` as a `tabular` for the booktabs package.

    Rates are in percent with one decimal, everything else has three significant digits; a dash is no value. A dagger
    marks variants that failed the integrity gate.
    """
    variants = metrics["variant"].unique(maintain_order=True).to_list()
    unsound = set(metrics.filter(metrics["status"].is_in(list(_UNSOUND)))["variant"])
    several = metrics["model"].n_unique() > 1
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for row in metrics.iter_rows(named=True):
        name = escape(row["metric"]) + _ARROWS.get(row["direction"], "")
        place = (escape(row["model"]), escape(row["task"]), escape(row["analysis"]), name)
        rows.setdefault(place, {})[row["variant"]] = _shown(row["value"], row["unit"])
    names = [escape(v) + (r"$^\dagger$" if v in unsound else "") for v in variants]
    first = ("Model", "Task", "Analysis", "Metric") if several else ("Task", "Analysis", "Metric")
    lines = [
        rf"\begin{{tabular}}{{{'l' * len(first)}{'r' * len(variants)}}}",
        r"\toprule",
        " & ".join([*first, *names]) + r" \\",
        r"\midrule",
    ]
    for labels, values in rows.items():
        shown = labels if several else labels[1:]
        lines.append(" & ".join([*shown, *(values.get(v, "--") for v in variants)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def escape(text: str) -> str:
    """Return `text` with LaTeX's special characters escaped."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "--"
    return rf"{100 * value:.1f}\,\%" if unit == "rate" else f"{value:.3g}"
