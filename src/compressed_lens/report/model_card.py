"""What a run found about a variant, as a section and `model-index` metadata of a Hugging Face model card."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressed_lens.comparison import USES, use_verdicts
from compressed_lens.comparison.measures import Figure
from compressed_lens.comparison.series import FULL, Variant, or_none
from compressed_lens.errors import DataError
from compressed_lens.report.formatting import amount, bounds, difference, value_bounds
from compressed_lens.report.headline import Labels
from compressed_lens.report.markdown_text import escaped, table
from compressed_lens.report.overview import recipe_text
from compressed_lens.report.panels import FAMILY_TITLES
from compressed_lens.report.run_data import RunData
from compressed_lens.report.tables import run_digest

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TITLE = "Transparency of this quantized model"
_BEGIN, _END = "<!-- compressed-lens: begin -->", "<!-- compressed-lens: end -->"
_SECTION = re.compile(rf"{re.escape(_BEGIN)}.*?{re.escape(_END)}\n?", re.DOTALL)
_TOOL = "compressed-lens"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_TASKS: Mapping[str, str] = {"classification": "text-classification"}
_HUB_TASK = "text-generation"
_WORDS = (
    "**worse**, **better**: shown, after correction for the number of measures. **equivalent**: the whole interval is "
    "inside the margin. **non-inferior**: a loss of the margin or more is ruled out. **undecided**: neither; no "
    "evidence of equality."
)


def described_variants(run: RunData) -> tuple[Variant, ...]:
    """Return the variants a model card can be written for: quantized, measured, and no placebo."""
    measured = {(figure.model, figure.variant) for figure in run.figures if figure.own.n}
    return tuple(v for v in run.variant_list if v.name != FULL and not v.placebo and (v.model, v.name) in measured)


def model_card(run: RunData, variant: Variant, *, version: str, existing: str = "") -> str:
    """Return a model card with the section on a variant and its results as metadata.

    Args:
        run: The run.
        variant: One of `described_variants`.
        version: Of compressed-lens.
        existing: A model card to put them into: its text and its other metadata stay; what an earlier call put there is
            replaced.

    Raises:
        DataError: The metadata of `existing` cannot be read.
    """
    from huggingface_hub import ModelCardData

    data, text = _parted(existing)
    ours = list(eval_results(run, variant, version=version))
    known = data.pop("model-index", None)
    try:
        card = ModelCardData(**data, **({"model-index": known} if known else {}))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"The metadata of the model card cannot be read: {error}.", fix="Mend its first lines."
        ) from error
    others = [result for result in card.eval_results or [] if (result.metric_args or {}).get("tool") != _TOOL]
    card.model_name = card.model_name or f"{variant.model}-{variant.name}"
    card.eval_results = [*others, *ours]
    origin = _origin(run, variant)
    if origin and not card.base_model:
        card.base_model = origin
        card["base_model_relation"] = "quantized"
    section = f"{_BEGIN}\n{_section(run, variant, version)}{_END}\n"
    if _SECTION.search(text):
        text = _SECTION.sub(lambda _: section, text, count=1)
    else:
        text = f"{text.rstrip()}\n\n{section}".lstrip() if text.strip() else section
    return f"---\n{card.to_yaml(original_order=list(data))}\n---\n\n{text.lstrip()}"


def _parted(card: str) -> tuple[dict[str, Any], str]:
    """Return the metadata of a model card and its text."""
    import yaml

    found = re.match(r"---\s*\n(.*?)\n?---\s*(?:\n|$)", card, re.DOTALL)
    if found is None:
        return {}, card
    try:
        data = yaml.safe_load(found[1]) or {}
    except yaml.YAMLError as error:
        told = " ".join(str(error).split())
        raise DataError(f"The metadata of the model card is no YAML: {told}.", fix="Mend its first lines.") from error
    if not isinstance(data, dict):
        raise DataError("The metadata of the model card is no mapping.", fix="Mend its first lines.")
    return data, card[found.end() :]


def eval_results(run: RunData, variant: Variant, *, version: str) -> Iterator[EvalResult]:
    """Yield a variant's primary measures as results of a model card; intervals, n and verdict are the metric's args."""
    from huggingface_hub import EvalResult

    tasks = {row["task"]: row for row in run.tasks.iter_rows(named=True)}
    sources = {spec["name"]: spec for spec in run.study.get("tasks", ())}
    identity = run_digest(run)
    for figure, base in _figures(run, variant):
        task, source = tasks.get(figure.task, {}), sources.get(figure.task, {})
        paired = figure.paired
        yield EvalResult(
            task_type=_HUB_TASKS.get(task.get("kind", ""), _HUB_TASK) if figure.measure.family == "task" else _HUB_TASK,
            task_name=FAMILY_TITLES.get(figure.measure.family, figure.measure.family),
            dataset_type=_hub_id(source.get("path")) or source.get("source") or figure.task,
            dataset_name=figure.task,
            dataset_split=source.get("split"),
            dataset_args={"items": task.get("items"), "fingerprint": task.get("fingerprint")},
            metric_type=figure.measure.name,
            metric_name=f"{figure.analysis}: {figure.measure.name}",
            metric_value=figure.own.estimate,
            metric_args={
                "analysis": figure.analysis,
                "unit": figure.measure.unit,
                "direction": figure.measure.direction,
                "interval_95": _ends(figure.own.low, figure.own.high),
                "n": figure.own.n,
                "full_precision": None if base is None else or_none(base.own.estimate),
                "difference": None if paired is None else or_none(paired.estimate),
                "difference_interval_95": None if paired is None else _ends(paired.low, paired.high),
                "pairs": None if paired is None else paired.n,
                "margin": figure.margin,
                "verdict": figure.verdict,
                "integrity_gate": figure.gate,
                "seed": run.study.get("seed"),
                "tool": _TOOL,
                "tool_version": version,
                "run": identity,
            },
        )


def _ends(low: float, high: float) -> list[float] | None:
    return None if or_none(low) is None or or_none(high) is None else [low, high]


def _figures(run: RunData, variant: Variant) -> Iterator[tuple[Figure, Figure | None]]:
    """Yield a variant's primary measures that were measured, each with full precision's."""
    base = {
        (f.task, f.analysis, f.measure.name): f for f in run.figures if (f.model, f.variant) == (variant.model, FULL)
    }
    for figure in run.figures:
        if (figure.model, figure.variant) == (variant.model, variant.name) and figure.measure.primary and figure.own.n:
            yield figure, base.get((figure.task, figure.analysis, figure.measure.name))


def _section(run: RunData, variant: Variant, version: str) -> str:
    lines = [
        f"## {TITLE}",
        "",
        f"{escaped(variant.name)}: {escaped(recipe_text(variant))}. What it keeps of {escaped(variant.model)} at full "
        "precision, asked the same items and compared item by item.",
        "",
    ]
    if variant.gate == "failed":
        told = f"**It failed the integrity gate**: {escaped(variant.reason)} The figures are those of a damaged model."
        lines += [told, ""]
    cells = run.cells.filter(model=variant.model, variant=variant.name)
    if set(cells["status"]) - {"done"}:
        done, planned = cells["done"].sum(), cells["items"].sum()
        lines += [f"**The run is unfinished**: {done:,} of {planned:,} records of this variant are there.", ""]
    verdicts = [v for v in use_verdicts(run.figures, [variant]) if v.verdict != "not measured"]
    rows = []
    for one in verdicts:
        needed = f" (about {one.needed:,} items would decide)" if one.needed else ""
        rows.append([USES[one.use].capitalize(), f"**{one.verdict}**{needed}", str(len(one.figures))])
    lines += table(["Use", "Against full precision", "Measures"], rows) if rows else []
    lines += _measures(list(_figures(run, variant)))
    lines += [
        _WORDS,
        "",
        f"<sub>Made by compressed-lens {escaped(version)}, run {run_digest(run)}, seed {run.study.get('seed')}. "
        "Intervals: 95 %; rates in per cent, their differences in points.</sub>",
        "",
    ]
    return "\n".join(lines)


def _measures(figures: Sequence[tuple[Figure, Figure | None]]) -> list[str]:
    labels = Labels(figure for figure, _ in figures)
    rows = []
    for figure, base in figures:
        unit, own, paired = figure.measure.unit, figure.own, figure.paired
        change = (
            "" if paired is None else f"{difference(paired.estimate, unit)} {bounds(paired.low, paired.high, unit)}"
        )
        rows.append(
            [
                escaped(figure.task),
                escaped(labels.measure(figure)) + ("" if unit == "rate" else f" ({escaped(unit)})"),
                f"{amount(own.estimate, unit)} {escaped(value_bounds(own.low, own.high, unit))}".strip(),
                "" if base is None else amount(base.own.estimate, unit),
                escaped(change.strip()),
                str(paired.n if paired is not None else own.n),
                figure.verdict,
            ]
        )
    return table(["Task", "Measure", "This variant", "Full precision", "Difference", "n", "Verdict"], rows)


def _origin(run: RunData, variant: Variant) -> str:
    path = next((spec.get("path") for spec in run.study.get("models", ()) if spec["name"] == variant.model), None)
    return _hub_id(path)


def _hub_id(path: str | None) -> str:
    """Return a path that can only be a hub id, else ""."""
    return path if path and _HUB_ID.fullmatch(path) and not path.startswith(".") and not Path(path).exists() else ""
