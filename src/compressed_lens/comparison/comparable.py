"""Is it apples to apples? One checklist for two cells of two runs: what passes, what only differs, what forbids."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from compressed_lens.analyses.base import roles_of
from compressed_lens.comparison.series import FULL, Measure
from compressed_lens.comparison.sides import Side, shared_items
from compressed_lens.errors import LensError

Result = Literal["passed", "warning", "refused"]
Relation = Literal["same model", "same recipe", "other variant", "other model"]

_RUNS_ON = ("torch", "transformers", "tokenizers", "numpy", "accelerate", "bitsandbytes", "compressed-tensors",
            "gptqmodel", "optimum", "hqq", "gguf")  # fmt: skip
_MACHINE = ("platform", "processor", "gpus", "cuda", "torch_threads")
_JUDGE = ("path", "revision", "dtype", "url", "model")
_DEFINITION = ("value", "direction", "unit", "statistic", "over", "on_failure")
_OWN_TOKENS = frozenset({"nats", "root nats", "perplexity", "tokens", "neurons", "layers", "ranks"})


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the checklist.

    Attributes:
        result: "passed"; "warning": something differs or cannot be known, the comparison stands and says so; "refused".
        detail: What was found, as a sentence; it names the differences.
    """

    name: str
    result: Result
    detail: str


def relation(a: Side, b: Side) -> Relation:
    """Say what two variants are to each other.

    "same model": the same bytes under the same numerics. "same recipe": made alike from the same base, but weights or
    numerics differ. "other variant": of the same base. "other model": of another base.
    """
    if a.variant.fingerprint and a.variant.fingerprint == b.variant.fingerprint:
        return "same model"
    if not _same_base(a, b):
        return "other model"
    return "same recipe" if a.variant.recipe == b.variant.recipe else "other variant"


def comparability(a: Side, b: Side) -> tuple[Check, ...]:
    """Go through the checklist for two cells; they may be compared unless a check says "refused".

    Source: the "apples to apples" checklist of NVIDIA's Model-Optimizer (pull request 1493): prompt, template,
    generation settings, sample counts, score field; extended by what our runs know.
    """
    return tuple(
        Check(name=name, result=found[0], detail=found[1]) for name, check in _CHECKS for found in [check(a, b)]
    )


def refused(checks: Collection[Check]) -> tuple[Check, ...]:
    """Return the checks that forbid the comparison."""
    return tuple(check for check in checks if check.result == "refused")


def measure_refusals(a: Side, b: Side) -> Iterator[tuple[str, str]]:
    """Yield (metric, why) of every metric of two comparable cells that must not be compared."""
    others = {measure.name: measure for measure in b.series.measures}
    alike = relation(a, b) != "other model"
    judged = any(role not in {FULL, "self"} for role in asked(a))
    for measure in a.series.measures:
        other = others.pop(measure.name, None)
        if other is None:
            yield measure.name, f"only run {a.run} has it"
        elif changed := [field for field in _DEFINITION if getattr(measure, field) != getattr(other, field)]:
            yield measure.name, f"its definition differs: {_pairs(changed, measure, other)}"
        elif not alike and not judged and measure.unit in _OWN_TOKENS:
            yield measure.name, f"{measure.unit} depend on a model's own tokens or layers, and the models differ"
    for name in others:
        yield name, f"only run {b.run} has it"


def asked(side: Side) -> tuple[str, ...]:
    """Return the names of the models, other than the one under study, that the analysis asks."""
    from compressed_lens.analyses import create

    try:
        return roles_of(create(side.series.method, dict(side.series.settings)))
    except LensError:  # a plug-in that is not here, or settings of another version
        values = [
            part for value in side.series.settings.values() for part in (value if isinstance(value, list) else [value])
        ]
        return tuple(dict.fromkeys(v for v in values if isinstance(v, str) and (v == FULL or v in side.judges)))


def _same_base(a: Side, b: Side) -> bool:
    if a.base_fingerprint and a.base_fingerprint == b.base_fingerprint:
        return True
    return bool(a.origin[0]) and a.origin == b.origin


def _variant(a: Side, b: Side) -> tuple[Result, str]:
    match relation(a, b):
        case "same model":
            return "passed", "Same weights, tokenizer, compute type and kernel, byte for byte."
        case "same recipe":
            return "warning", "Same base and recipe, but the bytes, the compute type, the device or the kernel differ."
        case "other variant":
            return "passed", "Two variants of one base, which is what is compared."
        case "other model":
            pass
    return "passed", "Two models, which is what is compared."


def _gate(a: Side, b: Side) -> tuple[Result, str]:
    bad = [f"{side.name} {_GATES[gate]}{f': {side.variant.reason}' if side.variant.reason else ''}"
           for side in (a, b) if (gate := side.variant.gate) in _GATES]  # fmt: skip
    return ("refused", "; ".join(bad)) if bad else ("passed", "Both passed the integrity gate.")


_GATES = {"failed": "failed the integrity gate", "unavailable": "could not be made", "pending": "was not reached"}


def _finished(a: Side, b: Side) -> tuple[Result, str]:
    open_ones = []
    for side in (a, b):
        outcomes = side.series.outcomes.get(side.variant.name, ())
        if side.status != "done":
            recorded = sum(outcome is not None for outcome in outcomes)
            planned = side.series.planned.get(side.variant.name, 0)
            open_ones.append(f"{side.name} is {side.status}: {recorded} of {planned} records")
    return ("refused", "; ".join(open_ones)) if open_ones else ("passed", "Both are finished.")


def _items(a: Side, b: Side) -> tuple[Result, str]:
    if a.task_fingerprint and a.task_fingerprint == b.task_fingerprint:
        return "passed", f"The same {len(a.items)} items, by fingerprint."
    shared = shared_items(a, b)
    if not shared:
        return "refused", "No item is in both."
    changed = [item for item in shared if a.items[item] != b.items[item]]
    if changed:
        keys = sorted({key for item in changed for key in _unlike(a.items[item], b.items[item])})
        return "refused", f"{len(changed)} of {len(shared)} shared items differ in content ({', '.join(keys)})."
    if len(shared) == len(a.items) == len(b.items):
        return "passed", f"The same {len(shared)} items, by id and content."
    alone = f"{len(a.items) - len(shared)} only in {a.run}, {len(b.items) - len(shared)} only in {b.run}"
    return "warning", f"Compared on the {len(shared)} items that are in both ({alone})."


def _prompts(a: Side, b: Side) -> tuple[Result, str]:
    if a.task_fingerprint and a.task_fingerprint == b.task_fingerprint:
        return "passed", "Same fingerprint of items and prompts."
    changed = [key for key in ("instruction", "labels") if a.task_info.get(key) != b.task_info.get(key)]
    if a.task_kind != b.task_kind or changed:
        mine, other = ({"kind": side.task_kind, **side.task_info} for side in (a, b))
        return "refused", f"The task differs: {_differences(changed or ['kind'], mine, other)}."
    if a.items == b.items:
        return "refused", "Items and instruction are the same, but prompt templates, targets or candidates differ."
    return _templates(a, b)


def _templates(a: Side, b: Side) -> tuple[Result, str]:
    if a.task_kind != "classification":
        return "passed", "The prompts are part of the items."
    where = a.settings.get("prompts"), b.settings.get("prompts")
    if where[0] != where[1]:
        return "warning", f"Own prompt templates: {_short(where[0])} / {_short(where[1])}; their texts are not kept."
    if (
        where[0] is None
        and a.environment.get("revision")
        and a.environment["revision"] == b.environment.get("revision")
    ):
        return "passed", "Same instruction and labels, same version of the templates."
    return (
        "warning",
        "Same instruction and labels, but as the items are not all the same the templates cannot be checked.",
    )


def _analysis(a: Side, b: Side) -> tuple[Result, str]:
    if a.series.method != b.series.method:
        return "refused", f"Another analysis: {a.series.method} / {b.series.method}."
    return "passed", f"Both are '{a.series.method}'."


def _settings(a: Side, b: Side) -> tuple[Result, str]:
    mine, other = a.series.settings, b.series.settings
    changed = _unlike(mine, other)
    if changed:
        told = [f"{key} {_short(mine[key]) if key in mine else 'absent'} / "
                f"{_short(other[key]) if key in other else 'absent'}" for key in changed]  # fmt: skip
        return "refused", f"Settings differ: {'; '.join(told)}."
    return "passed", f"All {len(mine)} settings are the same, those of generation included."


def _judges(a: Side, b: Side) -> tuple[Result, str]:
    roles = asked(a)
    judges = [role for role in roles if role != FULL]
    if not roles:
        return "passed", "No other model is asked."
    if relation(a, b) == "other model" and FULL in roles:
        return "refused", "Each model is measured by its own full precision: two rulers. Name one judge for both."
    if a.folder == b.folder or (a.cell and a.cell == b.cell):
        return "passed", f"The same other models, byte for byte: {', '.join(roles)}."
    for name in judges:
        mine, other = ({**judge, "path": _last(judge.get("path"))} for judge in _specs(name, a, b))
        if changed := [key for key in _JUDGE if mine.get(key) != other.get(key)]:
            return "refused", f"Judge '{name}' differs: {_differences(changed, mine, other)}."
    return _judge_bytes(a, b, roles)


def _judge_bytes(a: Side, b: Side, roles: tuple[str, ...]) -> tuple[Result, str]:
    same_question = (a.task_fingerprint, a.seed, a.series.settings) == (b.task_fingerprint, b.seed, b.series.settings)
    if relation(a, b) == "same model" and same_question and a.cell and b.cell:
        return "refused", f"Everything else being equal, other bytes answered as: {', '.join(roles)}."
    judges = [role for role in roles if role != FULL]
    if judges:
        return (
            "warning",
            f"Judges of the same name and place ({', '.join(judges)}); their bytes cannot be compared here.",
        )
    return "passed", "Both are measured by the full precision of the same base."


def _specs(name: str, a: Side, b: Side) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    return a.judges.get(name, {}), b.judges.get(name, {})


def _seed(a: Side, b: Side) -> tuple[Result, str]:
    if a.seed != b.seed:
        return "refused", f"Seeds differ: {a.seed} / {b.seed}; other draws of interventions are other questions."
    return "passed", f"Seed {a.seed}."


def _tokens(a: Side, b: Side) -> tuple[Result, str]:
    if relation(a, b) == "other model":
        return "warning", "Tokenizers and chat templates may differ; only measures of texts and outcomes are compared."
    return "passed", "Same tokenizer and chat template: they come with the base."


def _numerics(a: Side, b: Side) -> tuple[Result, str]:
    keys = ["dtype", "device", "batch_rule", "attention"]
    keys += ["kernel"] if a.variant.recipe == b.variant.recipe else []
    mine = {**{key: a.variant.loaded.get(key) for key in keys}, "batch_tokens": a.settings.get("batch_tokens")}
    other = {**{key: b.variant.loaded.get(key) for key in keys}, "batch_tokens": b.settings.get("batch_tokens")}
    changed = _unlike(mine, other)
    if changed:
        return "warning", f"Numerics differ: {_differences(changed, mine, other)}."
    return "passed", "Same compute type, device and batching."


def _software(a: Side, b: Side) -> tuple[Result, str]:
    mine, other = _versions(a), _versions(b)
    told = [f"{name} {mine.get(name, 'absent')} / {other.get(name, 'absent')}"
            for name in _RUNS_ON if mine.get(name) != other.get(name)]  # fmt: skip
    told += [f"{key} {_short(a.environment.get(key))} / {_short(b.environment.get(key))}"
             for key in _MACHINE if a.environment.get(key) != b.environment.get(key)
             and key in a.environment and key in b.environment]  # fmt: skip
    codes = [_short(side.environment.get("revision") or _versions(side).get("compressed-lens"))[:12] for side in (a, b)]
    told += [f"compressed-lens {codes[0]} / {codes[1]}"] if codes[0] != codes[1] else []
    return ("warning", f"Differ: {'; '.join(told)}.") if told else ("passed", "Same versions and machine.")


def _versions(side: Side) -> Mapping[str, str]:
    found: Mapping[str, str] = side.environment.get("versions", {})
    return found


_CHECKS: tuple[tuple[str, Callable[[Side, Side], tuple[Result, str]]], ...] = (
    ("variant", _variant),
    ("gate", _gate),
    ("finished", _finished),
    ("items", _items),
    ("prompts", _prompts),
    ("analysis", _analysis),
    ("settings", _settings),
    ("judges", _judges),
    ("seed", _seed),
    ("tokenizer", _tokens),
    ("numerics", _numerics),
    ("software", _software),
)


def _unlike(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    missing = object()
    return [key for key in dict.fromkeys([*a, *b]) if a.get(key, missing) != b.get(key, missing)]


def _differences(keys: Collection[str], a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    return "; ".join(f"{key} {_short(a.get(key))} / {_short(b.get(key))}" for key in keys)


def _pairs(fields: Collection[str], a: Measure, b: Measure) -> str:
    return _differences(fields, vars(a), vars(b))


def _last(path: str | None) -> str:
    return (path or "").rstrip("/").rpartition("/")[2]


def _short(value: Any) -> str:
    text = "none" if value is None else ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."  # noqa: PLR2004
