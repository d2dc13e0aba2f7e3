"""Writes a run of the grid of 2601.00282, section 5, through the real store: made-up items, texts and judges' ratings.

python tests/human/paper_run.py FOLDER [hostile]
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compressed_lens.store import Store
from compressed_lens.study.schema import Study

VARIANTS = ("full", "gptq-4bit", "gptq-8bit", "awq-4bit")
MODELS = ("Qwen2.5-7B-Instruct", "Qwen2.5-32B-Instruct", "Qwen2.5-72B-Instruct")
TASK = "esnli"
LABELS = ("entailment", "neutral", "contradiction")
INSTRUCTION = "Decide whether the premise entails the hypothesis, contradicts it, or leaves it open (neutral)."
JUDGES = ("critic", "editor", "reader")
DIMENSIONS = ("trustworthiness", "coherence")
LOSS = {"full": 0.0, "gptq-8bit": 0.05, "awq-4bit": 0.15, "gptq-4bit": 0.35}
"""How much of the quality of its texts a variant loses; judges see a little of it."""

HOSTILE = (
    "<script>document.title = 'owned'; alert(1)</script> A man who swims is wet.",
    "</script></style></textarea><!-- <script>document.title = 'owned'</script> He is outside.",
    "<img src=x onerror=\"document.title='owned'\"><a href='javascript:alert(1)'>&lt;b&gt;</a> She sings.",
    "\u202egnp.exe \u2066 right \u05d0\u05d1\u05d2 to left \u200f mark",
    "escape \x1b[31m red, bell \x07, NUL \x00, next line \x85, a broken \ud83d half",
    "{{ 7 * 7 }} {% raw %} ${alert(1)} ]]> \u2028 \u2029 %3Cscript%3E </div></form>",
    "Unbroken" + "x" * 3_000,
    "ok \U0001f600 \u0301\u0301\u0301 zalgo \ufeff \U000e0041 tag '\"><input name=form value=1>",
    "two lines\nand\n\n\nfive\ttabs\t\t\tand | pipes | * stars * _ and _ [links](javascript:alert(1))",
)
"""Texts of the first items under every second variant; the others wrote harmless ones."""

WHO = ("A man", "A woman", "A boy", "A girl", "An old lady", "A chef", "A cyclist", "A nurse")
DOES = (
    ("swims in a lake", "is in the water", "is asleep at home"),
    ("sings on a stage", "makes music", "sits in silence"),
    ("paints a fence", "uses paint", "tears a fence down"),
    ("waits for a bus", "stands at a stop", "drives a car"),
    ("cuts vegetables", "prepares food", "eats in a restaurant"),
)
"""What somebody does, what follows from it, and what it rules out."""


@dataclass(frozen=True)
class Record:
    values: Mapping[str, Any]
    failed: str | None = None


def build_run(
    folder: Path,
    *,
    models: int = 3,
    variants: tuple[str, ...] = VARIANTS,
    items: int = 40,
    hostile: bool = False,
) -> Path:
    """Write the run and return its folder.

    Analyses: `nle`, `counterfactual`, `rating` (judges on the explanations) and `rating-edits` (on the edits), whose
    records hold the very same texts. Of the items, 3 has no explanation and 5 no edit under one variant, and 7 an
    explanation without a word under another, as far as there are such items and variants.

    Args:
        folder: The run's folder.
        models: How many of `MODELS`.
        variants: `full` first.
        items: Items of the one task.
        hostile: Whether the first items have texts with markup and control characters (see `HOSTILE`).
    """
    named = MODELS[:models]
    study = Study.model_validate({
        "name": "paper", "seed": 5, "models": [{"name": name, "path": "reference"} for name in named],
        "variants": [name for name in variants if name != "full"], "tasks": [TASK],
        "analyses": ["nle", "counterfactual", {"name": "rating", "settings": {"judges": list(JUDGES)}},
                     {"name": "rating-edits", "analysis": "rating",
                      "settings": {"judges": list(JUDGES), "of": "counterfactual"}}],
        "judges": [{"name": name, "path": "reference"} for name in JUDGES],
    })  # fmt: skip
    analyses = {"nle": {}, "counterfactual": {"field": ""}, "rating": {"of": "explanation", "mode": "parsed"},
                "rating-edits": {"of": "counterfactual", "mode": "parsed"}}  # fmt: skip
    with Store.create(folder, study) as store:
        store.begin_session({"versions": {"python": "3.11.9", "torch": "2.13.0"}, "platform": "Linux", "seed": 5})
        info = {"labels": list(LABELS), "instruction": INSTRUCTION, "fields": ["premise", "hypothesis"],
                "rejected": [], "notes": "Made up."}  # fmt: skip
        content = [(_key(item), _item(item)) for item in range(items)]
        store.put_task(TASK, fingerprint="t-esnli", kind="classification", info=info, items=content)
        places = [(model, variant, TASK, one, items) for model in named for variant in variants for one in analyses]
        store.put_grid(places)
        for model in named:
            for position, variant in enumerate(variants):
                _put_variant(store, model, position, variant)
        for position, (model, variant, _, analysis, _) in enumerate(places):
            cell, settings = f"cell{position:03d}", analyses[analysis]
            store.put_cell(
                cell, (model, variant, TASK, analysis), fingerprint=f"f-{model}-{variant}", task_fingerprint="t-esnli",
                method="rating" if analysis.startswith("rating") else analysis, settings=settings, seed=5, items=items,
                metrics=_metrics(analysis),
            )  # fmt: skip
            for item, record in enumerate(_records(model, variant, analysis, items, variants, hostile)):
                store.write_record(cell, _key(item), 0, record)
    return folder


def _key(item: int) -> str:
    return f"{4705552 + 37 * item}.jpg#{item % 4}r1{'enc'[item % 3]}"


def _item(item: int) -> dict[str, Any]:
    premise, hypothesis = _premise(item), _hypothesis(item)
    return {"fields": {"premise": premise, "hypothesis": hypothesis}, "answers": [_gold(item)], "choices": [],
            "references": [], "group": "", "extra": {}}  # fmt: skip


def _gold(item: int) -> str:
    return LABELS[item % 3]


def _premise(item: int) -> str:
    return f"{WHO[item % len(WHO)]} {DOES[item % len(DOES)][0]}, photograph {item + 1}."


def _hypothesis(item: int) -> str:
    does = DOES[item % len(DOES)]
    tells = {"entailment": does[1], "contradiction": does[2], "neutral": "enjoys the holidays"}
    return f"{WHO[item % len(WHO)]} {tells[_gold(item)]}."


def _put_variant(store: Store, model: str, position: int, variant: str) -> None:
    bits = int(variant.split("-")[1][0]) if variant[-3:] == "bit" else 16
    build, finding = f"b-{model}-{variant}", {"check": "repetition", "passed": True, "value": 0.0, "limit": 0.25,
                                              "message": "None.", "severity": "sound"}  # fmt: skip
    store.put_build(
        build, fingerprint=f"f-{model}-{variant}",
        recipe={} if variant == "full" else {"method": variant.split("-", maxsplit=1)[0], "bits": bits},
        audit=None if variant == "full" else {"bits_per_weight": bits + 0.25, "layers": 42},
        integrity={"passed": True, "findings": [finding], "seconds": 2.0},
        bytes_on_disk=600_000 * bits, memory_bytes=900_000 * bits, loaded={"kernel": "dense", "device": "cpu"},
    )  # fmt: skip
    store.put_variant(model, variant, position=position, status="passed", build=build)


def _metric(name: str, value: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "value": value, "direction": "higher", "unit": "rate", "summary": f"Mean of {value}.",
        "on_failure": None, "primary": True, "family": "quality", "statistic": "mean", "over": None, **more,
    }  # fmt: skip


def _metrics(analysis: str) -> list[dict[str, Any]]:
    if analysis == "nle":
        return [_metric("usable", "usable", on_failure=0.0)]
    if analysis == "counterfactual":
        return [_metric("flip_rate_hard", "hit", on_failure=0.0, family="faithfulness")]
    return [_metric(f"{d}{j}", f"{d}{j}", unit="points") for d in DIMENSIONS for j in ("", *(f":{j}" for j in JUDGES))]


def _records(  # noqa: PLR0917
    model: str, variant: str, analysis: str, count: int, variants: tuple[str, ...], hostile: bool
) -> Iterator[Record]:
    """Yield a cell's records in item order."""
    own = "counterfactual" if analysis in {"counterfactual", "rating-edits"} else "nle"
    seed = [MODELS.index(model), sum(variant.encode()), len(own)]
    quality = np.random.default_rng([1, *seed]).random((count, 2))
    judged = np.random.default_rng([2, *seed]).normal(0, 0.7, (count, len(DIMENSIONS), len(JUDGES)))
    odd = hostile and variants.index(variant) % 2 == 0
    for item in range(count):
        loss = LOSS.get(variant, 0.2)
        good = bool(quality[item, 0] > 0.15 + loss / 2)
        label = _gold(item) if good else LABELS[(item + 1) % 3]
        target = "contradiction" if label != "contradiction" else "entailment"
        text: str | None = _explanation(item, label, loss, float(quality[item, 1]))
        if own == "counterfactual":
            text = _edit(item, target, good)
        if odd and item < len(HOSTILE):
            text = HOSTILE[item]
        if (item, own, variant) == (7, "nle", variants[-1]):
            text = " ... "
        if (item, own, variant) == (5, "counterfactual", variants[-1]):
            text = None
        if (item, variant) == (3, variants[min(1, len(variants) - 1)]) and analysis == "nle":
            yield Record({"outcome": None}, failed="the prompt is longer than the model reads")
            continue
        outcome = "ok" if text is not None and any(c.isalnum() for c in text) else "empty"
        if analysis == "nle":
            yield Record({"prediction": label, "gold": _gold(item), "correct": good, "explanation": text,
                          "outcome": outcome, "usable": outcome == "ok", "unparsed": False})  # fmt: skip
        elif analysis == "counterfactual":
            yield Record({"prediction": label, "target": target, "original": _hypothesis(item), "edited": text,
                          "outcome": outcome, "usable": outcome == "ok", "hit": good, "flipped": good})  # fmt: skip
        else:
            yield _rated(
                text, outcome, label, target if own == "counterfactual" else None, 4.2 - 2 * loss, judged[item]
            )


def _explanation(item: int, label: str, loss: float, quality: float) -> str:
    who, does = WHO[item % len(WHO)], DOES[item % len(DOES)]
    why = {
        "entailment": f"{who} who {does[0]} also {does[1]}.",
        "contradiction": f"{who} cannot do both: somebody who {does[0]} is not one who {does[2]}.",
        "neutral": f"That somebody {does[0]} does not tell whether it is on holiday.",
    }[label]
    if quality < loss:  # full precision never is
        return f"The hypothesis is {label} because the premise is a premise about photograph {item + 1}."
    return why if quality < 0.6 else f"{why} The photograph shows no more than that."


def _edit(item: int, target: str, good: bool) -> str:
    who, does = WHO[item % len(WHO)], DOES[item % len(DOES)]
    if not good:
        return f"{who} perhaps {does[1]} and then {does[2]}, which nobody sees."
    return f"{who} {does[2] if target == 'contradiction' else does[1]}."


def _rated(  # noqa: PLR0917
    text: str | None, outcome: str, label: str, target: str | None, level: float, noise: np.ndarray[Any, Any]
) -> Record:
    told: dict[str, Any] = {"text": text, "outcome": outcome, "prediction": label, "rated": outcome == "ok"}
    if target is not None:
        told["target"] = target
    if outcome != "ok":
        return Record(told)
    answers = {}
    for d, dimension in enumerate(DIMENSIONS):
        points = [max(1, min(5, math.floor(level + noise[d, j] + 0.5))) for j in range(len(JUDGES))]
        told[dimension] = sum(points) / len(points)
        for judge, point in zip(JUDGES, points, strict=True):
            told[f"{dimension}:{judge}"] = point
            answers[f"{dimension}:{judge}"] = f"Rating: {point}"
    return Record({**told, "answers": answers})


if __name__ == "__main__":
    print(build_run(Path(sys.argv[1]), hostile="hostile" in sys.argv[2:]))
