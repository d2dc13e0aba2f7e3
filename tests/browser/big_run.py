"""Makes a large run through the real store: seeded records with texts like a model's, hostile ones among them.

python tests/browser/big_run.py FOLDER [ITEMS]     about 100,000 records with the default of 10,000 items
"""

from __future__ import annotations

import math
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compressed_lens.store import Store
from compressed_lens.store.store import plain, to_json
from compressed_lens.study.schema import Study

MODEL = "reference"
LOSS = {
    "full": 0.0,
    "bnb-8bit": 0.004,
    "bnb-4bit": 0.03,
    "gptq-8bit": 0.002,
    "gptq-4bit": 0.05,
    "awq-4bit": 0.04,
    "rtn-3bit": 0.2,
    "rtn-2bit": 0.7,
}
HOSTILE = (
    "<script>document.title = 'owned'; alert(1)</script>",
    "</script><script>document.title = 'owned'</script><!-- <script>",
    "<img src=x onerror=\"document.title='owned'\"><a href='javascript:alert(1)'>&lt;b&gt;</a>",
    "\u202egnp.exe \u2066 right \u05d0\u05d1\u05d2 to left \u200f mark",
    "broken \ud83d half, NUL \x00, escape \x1b[31m, bell \x07, \x85 next line",
    "x" * 100_000,
    "line\n" * 10_000,
    "{{ 7 * 7 }} {% raw %} ${alert(1)} ]]> \u2028 \u2029 %3Cscript%3E",
    "ok \U0001f600 \u0301\u0301\u0301 zalgo \ufeff \U000e0041 tag",
)
"""Explanations of the first items of `reviews`, under the variants whose bits are odd in `hostile_under`."""

WORDS = "quiet lovely broken cheap slow bright sturdy noisy warm pale heavy stale fresh dull sharp plain".split()
THINGS = "lamp chair film meal phone hotel book coat kettle garden".split()
RELATIONS = ("capital of", "born in", "works for", "speaks", "plays", "founded by")
JUDGES = ("critic", "editor")
DIMENSIONS = ("trustworthiness", "coherence")
REASONS = ("unparsed: no label in the answer", "the answer was cut at 64 tokens", "<b>odd</b> & \u202ereason")
LAYERS = 12


@dataclass(frozen=True)
class Record:
    values: Mapping[str, Any]
    failed: str | None = None


def _metric(name: str, value: str, *, direction: str = "higher", unit: str = "rate", **more: Any) -> dict[str, Any]:
    return {
        "name": name, "value": value, "direction": direction, "unit": unit, "summary": f"Mean of {value}.",
        "on_failure": None, "primary": False, "family": "quality", "statistic": "mean", "over": None, **more,
    }  # fmt: skip


METRICS = {
    "nle": [
        _metric("named", "names_evidence", on_failure=0.0, primary=True),
        _metric("refused", "refused", direction="lower"),
        _metric("length", "tokens", direction="neither", unit="tokens"),
    ],
    "accuracy": [
        _metric("accuracy", "correct", on_failure=0.0, primary=True, family="task"),
        _metric("gold_probability", "gold_probability", unit="probability", family="task"),
    ],
    "counterfactual": [_metric("flipped", "flipped", primary=True), _metric("distance", "distance", unit="words")],
    "rating": [
        *(_metric(d, d, unit="points", primary=True) for d in DIMENSIONS),
        *(_metric(f"{d}:{j}", f"{d}:{j}", unit="points") for d in DIMENSIONS for j in JUDGES),
    ],
    "recall": [_metric("recall", "correct", on_failure=0.0, primary=True, family="knowledge")],
    "layers": [_metric("peak", "peak", unit="nats", primary=True, family="knowledge")],
}
PICTURES = {
    "layers": [
        {"kind": "curve", "name": "entity_recall", "value": "curve", "unit": "nats", "direction": "higher",
         "summary": "Log-probability of the bridge, read off each layer.", "axis": "layer", "first": 1},
    ],
}  # fmt: skip


def hostile_under(variant: str) -> bool:
    """Return whether a variant gave the hostile explanations; the others gave harmless ones to compare with."""
    return variant in {"full", "rtn-3bit", "rtn-2bit"}


def make(folder: Path, *, items: int = 10_000, variants: tuple[str, ...] = tuple(LOSS)) -> Path:
    """Write the run: `items` of reviews with explanations, a twentieth as many of small and facts with five more.

    With 8 variants and 10,000 items these are 100,000 records. Explanations fail in one of 40, and hostile texts are
    those of the first items.
    """
    few = max(1, items // 20)
    tasks = {"reviews": (items, ("nle",)), "small": (few, ("accuracy", "counterfactual", "rating"))}
    tasks["facts"] = (few, ("recall", "layers"))
    study = Study.model_validate({
        "name": "big", "seed": 7, "models": [{"name": MODEL, "path": "reference"}],
        "variants": [name for name in variants if name != "full"], "tasks": list(tasks),
        "analyses": [analysis for _, analyses in tasks.values() for analysis in analyses],
    })  # fmt: skip
    with Store.create(folder, study) as store:
        store.begin_session({"versions": {"python": "3.11.9", "torch": "2.13.0"}, "platform": "Linux", "seed": 7})
        for name, (count, _) in tasks.items():
            store.put_task(name, fingerprint=f"t-{name}", kind="recall" if name == "facts" else "classification",
                           info={"labels": [], "notes": "Made up."}, items=list(_items(name, count)))  # fmt: skip
        places = [
            (MODEL, variant, name, analysis, count)
            for variant in variants
            for name, (count, analyses) in tasks.items()
            for analysis in analyses
        ]
        store.put_grid(places)
        for position, variant in enumerate(variants):
            _put_variant(store, position, variant)
        for position, (model, variant, name, analysis, count) in enumerate(places):
            store.put_cell(
                f"cell{position:03d}", (model, variant, name, analysis), fingerprint=f"f-{variant}",
                task_fingerprint=f"t-{name}", method=analysis, settings={}, seed=7, items=count,
                metrics=METRICS[analysis], pictures=PICTURES.get(analysis, []),
            )  # fmt: skip
        # The first record of every cell goes the way a run's does; the others in one transaction, for time.
        rows: list[tuple[Any, ...]] = []
        for position, (_, variant, name, analysis, count) in enumerate(places):
            for item, record in enumerate(_records(variant, analysis, count)):
                key = f"{name}-{item:05d}"
                if item == 0:
                    store.write_record(f"cell{position:03d}", key, 0, record, group=_group(name, item))
                    continue
                failed = None if record.failed is None else plain(record.failed)
                rows.append((f"cell{position:03d}", key, 0, _group(name, item), failed, to_json(record.values), 0.0))
        path = store.path
    connection = sqlite3.connect(path)
    with connection:
        rows = [(*row[:-1], time.time()) for row in rows]
        connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    connection.close()
    return folder


def _items(task: str, count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for item in range(count):
        fields = (
            {"statement": f"Person {item} {RELATIONS[item % len(RELATIONS)]}"} if task == "facts"
            else {"text": _review(item)}
        )  # fmt: skip
        answer = f"Object {item}" if task == "facts" else _gold(item)
        yield f"{task}-{item:05d}", {"fields": fields, "answers": [answer], "group": _group(task, item)}


def _group(task: str, item: int) -> str:
    return RELATIONS[item % len(RELATIONS)] if task == "facts" else f"about a {THINGS[item % len(THINGS)]}"


def _put_variant(store: Store, position: int, variant: str) -> None:
    broken = variant == "rtn-2bit"
    bits = 16 if variant == "full" else int(variant.split("-")[1][0])
    finding = {"check": "repetition", "passed": not broken, "value": 0.8 if broken else 0.0, "limit": 0.25,
               "message": "80 % of continuations repeat one token." if broken else "None.",
               "severity": "broken" if broken else "sound"}  # fmt: skip
    store.put_build(
        f"b-{variant}", fingerprint=f"f-{variant}",
        recipe={} if variant == "full" else {"technique": variant.split("-", maxsplit=1)[0], "bits": bits},
        audit=None if variant == "full" else {"bits_per_weight": bits + 0.25, "layers": 42},
        integrity={"passed": not broken, "findings": [finding], "seconds": 2.0},
        bytes_on_disk=600_000 * bits, memory_bytes=900_000 * bits, loaded={"kernel": "dense", "device": "cpu"},
    )  # fmt: skip
    store.put_variant(MODEL, variant, position=position, status="marked" if broken else "passed",
                      build=f"b-{variant}", reason=finding["message"] if broken else "")  # fmt: skip
    store.put_work(1, f"b-{variant}", {"seconds": 20 + 3 * position, "executed_tokens": 40_000, "records": 120})


def _gold(item: int) -> str:
    return "positive" if item % 2 else "negative"


def _review(item: int) -> str:
    first, second, third = (WORDS[(item * k + k) % len(WORDS)] for k in (1, 3, 7))
    thing = THINGS[item % len(THINGS)]
    return f"The {thing} was {first} and the delivery {second}; all in all a {third} purchase, number {item}."


def _records(variant: str, analysis: str, count: int) -> Iterator[Record]:
    """Yield a cell's records: full precision is right in 9 of 10, and a variant changes a share LOSS of that."""
    base = np.random.default_rng([1, len(analysis)])
    change = np.random.default_rng([2, len(analysis), sum(variant.encode())])
    right = base.random(count) < 0.9
    right ^= (change.random(count) < LOSS[variant]) & (right | (change.random(count) < 0.3))
    fails = base.random(count) < 1 / 40
    noise, word = change.random(count), change.integers(len(WORDS), size=count)
    own = base.random(count)
    curves = -12 + 9 / (1 + np.exp(-(np.arange(LAYERS) - 6))) + change.normal(0, 0.2 + LOSS[variant], (count, LAYERS))
    for item in range(count):
        if fails[item] and analysis in {"nle", "accuracy"}:
            yield Record({"text": "the the the"}, failed=REASONS[item % len(REASONS)])
            continue
        yield _record(analysis, variant, item, bool(right[item]), float(own[item]), float(noise[item]), int(word[item]),
                      curves[item])  # fmt: skip


def _record(  # noqa: PLR0911, PLR0917 (one return for each analysis)
    analysis: str, variant: str, item: int, right: bool, own: float, noise: float, word: int, curve: Any
) -> Record:
    label = _gold(item) if right else _gold(item + 1)
    if analysis == "accuracy":
        share = min(1.0, max(0.0, own - LOSS[variant] * noise))
        return Record({"label": label, "gold": _gold(item), "correct": right, "gold_probability": share})
    if analysis == "recall":
        return Record({"answer": f"Object {item if right else item + 1 + word}", "correct": right})
    if analysis == "layers":
        return Record({"curve": [float(v) for v in curve], "peak": float(curve.max())})
    if analysis == "rating":
        return _rating(variant, item, own, noise)
    evidence = WORDS[(item + 1) % len(WORDS)] if right else WORDS[word]
    thing = THINGS[item % len(THINGS)]
    if analysis == "counterfactual":
        text = _review(item).replace(WORDS[(item + 1) % len(WORDS)], evidence)
        return Record({"text": text, "flipped": right, "distance": None if noise < 0.05 else 1 + word % 7})  # noqa: PLR2004
    text = f"I say {label} because the review calls the {thing} {evidence}, which one {'likes' if right else 'shuns'}."
    if item < len(HOSTILE) and hostile_under(variant):
        text = HOSTILE[item]
    return Record({
        "prediction": label, "explanation": text, "names_evidence": right, "refused": noise < 0.01,  # noqa: PLR2004
        "tokens": 18 + int(8 * own) + (int(12 * noise) if LOSS[variant] > 0.1 else 0), "outcome": "ok",  # noqa: PLR2004
        "confidence": own,
    })  # fmt: skip


def _rating(variant: str, item: int, own: float, noise: float) -> Record:
    values: dict[str, Any] = {"text": f"Because it is {WORDS[item % len(WORDS)]}.", "rated": True}
    answers: dict[str, str] = {}
    for d, dimension in enumerate(DIMENSIONS):
        scores = [max(1, min(5, math.ceil(5 * own + j - d - 2 * LOSS[variant] * noise))) for j in range(len(JUDGES))]
        values[dimension] = sum(scores) / len(scores)
        for judge, score in zip(JUDGES, scores, strict=True):
            values[f"{dimension}:{judge}"] = score
            answers[f"{dimension}:{judge}"] = f"Rating: {score}. It {'is' if score > 3 else 'is not'} {dimension}."  # noqa: PLR2004
    return Record({**values, "answers": answers})


if __name__ == "__main__":
    made = make(Path(sys.argv[1]), items=int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)  # noqa: PLR2004
    print(made)
