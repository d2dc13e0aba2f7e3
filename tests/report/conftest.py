"""A run with planted differences, written through the real store: what the report must show is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressed_lens.store import Store
from compressed_lens.study.schema import Study

MODEL = "reference"
LOSS = {  # share of outcomes that become wrong, and that become right
    "full": (0.0, 0.0),
    "bnb-8bit": (0.003, 0.003),
    "bnb-4bit": (0.02, 0.015),
    "gptq-8bit": (0.0, 0.0),
    "gptq-4bit": (0.03, 0.02),
    "awq-4bit": (0.02, 0.02),
    "rtn-3bit": (0.2, 0.02),
    "rtn-2bit": (0.75, 0.01),
}
ACCURACY = [
    {
        "name": "accuracy",
        "value": "correct",
        "direction": "higher",
        "unit": "rate",
        "summary": "Share of items whose label is right.",
        "on_failure": 0.0,
    },
    {
        "name": "gold probability",
        "value": "gold_probability",
        "direction": "higher",
        "unit": "probability",
        "summary": "Probability of the right label among the labels.",
        "on_failure": None,
    },
]
NLE = [
    {
        "name": "names the evidence",
        "value": "names_evidence",
        "direction": "higher",
        "unit": "rate",
        "summary": "Share of explanations that name the true evidence.",
        "on_failure": 0.0,
    },
    {
        "name": "degenerate",
        "value": "degenerate",
        "direction": "lower",
        "unit": "rate",
        "summary": "Share of explanations that only repeat themselves.",
        "on_failure": 1.0,
    },
    {
        "name": "length",
        "value": "tokens",
        "direction": "neither",
        "unit": "tokens",
        "summary": "Length of the explanation.",
        "on_failure": None,
    },
]
RECALL = [
    {"name": "recall", "value": "correct", "direction": "higher", "unit": "rate",
     "summary": "Share of facts completed with an accepted object.", "on_failure": 0.0},
]  # fmt: skip
HOPS = [
    {"name": name, "value": value, "direction": "higher", "unit": "rate", "summary": f"Share of right {name}s.",
     "on_failure": 0.0, "primary": value == "composed_correct", "family": "knowledge"}
    for name, value in (
        *(("first_hop", "first_correct"), ("second_hop", "second_correct")), ("two_hop", "composed_correct"),
    )
]  # fmt: skip
ENTITY = [
    {"name": "entity_recall", "value": "peak", "direction": "higher", "unit": "nats", "on_failure": None,
     "summary": "Largest log-probability of the bridge over the layers.", "primary": True, "family": "knowledge"},
]  # fmt: skip
MOSAIC = {
    "kind": "mosaic", "name": "hops", "summary": "Which hops were right.",
    "values": ["first_correct", "second_correct", "composed_correct"], "labels": ["first hop", "second hop", "two-hop"],
}  # fmt: skip
CURVES = [
    {"kind": "curve", "name": "entity_recall", "value": "curve", "unit": "nats", "direction": "higher",
     "summary": "Log-probability of the bridge, read off each layer.", "axis": "layer", "first": 0},
    {"kind": "curve", "name": "beats_the_substitute", "value": "beats", "unit": "rate", "direction": "higher",
     "summary": "Share of chains whose bridge is likelier than under another subject.", "axis": "layer", "first": 0},
]  # fmt: skip
LAYERS = 28
RELATIONS = ("capital of", "born in", "works for", "speaks", "plays", "founded by")
WORDS = ("quiet", "lovely", "broken", "cheap", "slow", "bright", "sturdy", "noisy", "warm", "pale")


@dataclass
class Planted:
    """What `plant` writes.

    Attributes:
        texts: Explanations to use instead of the made-up ones, by item number; for hostile content.
        repeats: Records of each item.
        chains: Whether there is a third task, of chains, with curves and a mosaic.
    """

    items: int = 40
    variants: tuple[str, ...] = tuple(LOSS)
    repeats: int = 1
    texts: dict[int, str] = field(default_factory=dict)
    instruction: str = "Is the review positive or negative?"
    chains: bool = False


@dataclass(frozen=True)
class Record:
    values: dict[str, Any]
    failed: str | None = None


def plant(folder: Path, planted: Planted) -> Path:
    """Write a run of `planted.variants` on two tasks and three analyses."""
    study = Study.model_validate(
        {
            "name": "planted",
            "seed": 7,
            "models": [{"name": MODEL, "path": "reference"}],
            "variants": [v for v in (*planted.variants, "hqq-4bit") if v != "full"],
            "tasks": ["reviews", "facts", *(["chains"] if planted.chains else [])],
            "analyses": ["accuracy", "nle", "recall", *(["two_hop", "entity_recall"] if planted.chains else [])],
        }
    )
    with Store.create(folder, study) as store:
        store.begin_session({"versions": {"python": "3.11.9", "torch": "2.13.0"}, "platform": "Linux", "seed": 7})
        _put_tasks(store, planted)
        if planted.chains:
            _put_chains(store, planted)
        places = [
            (MODEL, variant, task, analysis, planted.items * planted.repeats)
            for variant in (*planted.variants, "hqq-4bit")
            for task, analysis in (
                *(("reviews", "accuracy"), ("reviews", "nle"), ("facts", "recall")),
                *((("chains", "two_hop"), ("chains", "entity_recall")) if planted.chains else ()),
            )
        ]
        store.put_grid(places)
        for position, variant in enumerate((*planted.variants, "hqq-4bit")):
            _put_variant(store, position, variant)
        for position, place in enumerate(places):
            if place[1] == "hqq-4bit":
                continue
            cell = f"cell{position:03d}"
            metrics = {"accuracy": ACCURACY, "nle": NLE, "recall": RECALL, "two_hop": HOPS, "entity_recall": ENTITY}
            pictures = {"two_hop": [MOSAIC], "entity_recall": CURVES}
            store.put_cell(
                cell, place[:4], fingerprint=f"f-{place[1]}", task_fingerprint=f"t-{place[2]}", method=place[3],
                settings={"scoring": "log-probability"} if place[3] == "accuracy" else {}, seed=7, items=place[4],
                metrics=metrics[place[3]], pictures=pictures.get(place[3], []),
            )  # fmt: skip
            for item in range(planted.items):
                for repeat in range(planted.repeats):
                    group = {"facts": RELATIONS[item % len(RELATIONS)], "chains": f"type {item % 9}"}.get(place[2], "")
                    record = _record(place[3], place[1], item, repeat, planted)
                    store.write_record(cell, f"{place[2]}-{item:04d}", repeat, record, group=group)
    return folder


def _put_tasks(store: Store, planted: Planted) -> None:
    store.put_task(
        "reviews", fingerprint="t-reviews", kind="classification",
        info={"labels": ["positive", "negative"], "instruction": planted.instruction,
              "rejected": [["row 12", "empty text"]], "notes": "Generated reviews with known evidence."},
        items=[(f"reviews-{i:04d}", {"fields": {"text": _review(i)}, "answers": [_gold(i)], "group": ""})
               for i in range(planted.items)],
    )  # fmt: skip
    store.put_task(
        "facts", fingerprint="t-facts", kind="recall", info={"labels": [], "notes": ""},
        items=[(f"facts-{i:04d}", {"fields": {"statement": f"Person {i} {RELATIONS[i % 6]}"},
                                   "answers": [f"Object {i}"], "group": RELATIONS[i % 6]})
               for i in range(planted.items)],
    )  # fmt: skip


def _put_chains(store: Store, planted: Planted) -> None:
    store.put_task(
        "chains", fingerprint="t-chains", kind="chain", info={"labels": [], "notes": ""},
        items=[(f"chains-{i:04d}", {"fields": {"prompt": f"The capital of the country of person {i} is"},
                                    "answers": [f"City {i}"], "group": f"type {i % 9}"})
               for i in range(planted.items)],
    )  # fmt: skip


def _put_variant(store: Store, position: int, variant: str) -> None:
    if variant == "hqq-4bit":
        store.put_variant(MODEL, variant, position=position, status="unavailable",
                          reason="The library hqq is not installed. pip install 'compressed-lens[hqq]'.")  # fmt: skip
        return
    bits = 16 if variant == "full" else int(variant.split("-")[1][0])
    broken = variant == "rtn-2bit"
    findings = [
        {"check": "weights finite", "passed": True, "value": 0.0, "limit": 0.0, "message": "No NaN.",
         "severity": "sound"},
        {"check": "repetition", "passed": not broken, "value": 0.8 if broken else 0.0, "limit": 0.25,
         "message": "80 % of continuations repeat one token." if broken else "No degenerate continuation.",
         "severity": "broken" if broken else "sound"},
    ]  # fmt: skip
    if variant == "rtn-3bit":
        findings.append({"check": "perplexity", "passed": True, "value": 0.3, "limit": None, "severity": "degraded",
                         "message": "Loses 0.3 nats a token; an honest loss."})  # fmt: skip
    store.put_build(
        f"b-{variant}", fingerprint=f"f-{variant}" * 3,
        recipe={} if variant == "full" else {"technique": variant[:4].rstrip("-"), "bits": bits, "group_size": 128},
        audit=None if variant == "full" else {"bits_per_weight": bits + 0.25, "layers": 42},
        integrity={"passed": not broken, "findings": findings, "seconds": 2.0},
        bytes_on_disk=600_000 * bits + 1_500_000, memory_bytes=900_000 * bits + 9_000_000,
        loaded={"kernel": "dense" if variant == "full" else "packed", "device": "cpu"},
    )  # fmt: skip
    store.put_variant(
        MODEL, variant, position=position, status="marked" if broken else "passed", build=f"b-{variant}",
        reason="repetition: 80 % of continuations repeat one token." if broken else "",
    )  # fmt: skip
    work = {"seconds": 20 + 3 * position, "planned_tokens": 90_000, "executed_tokens": 40_000, "records": 120}
    store.put_work(1, f"b-{variant}", work)


def _gold(item: int) -> str:
    return "positive" if item % 2 else "negative"


def _review(item: int) -> str:
    first, second, third = (WORDS[(item * k + k) % len(WORDS)] for k in (1, 3, 7))
    return f"The lamp was {first} and the delivery {second}; all in all a {third} purchase, number {item}."


def _record(analysis: str, variant: str, item: int, repeat: int, planted: Planted) -> Record:
    if analysis in {"two_hop", "entity_recall"}:
        return _chain_record(analysis, variant, item)
    base = np.random.default_rng((1, item, len(analysis), repeat))
    change = np.random.default_rng((2, item, len(analysis), repeat, sum(variant.encode())))
    right = bool(base.random() < 0.93)
    lost, gained = LOSS[variant]
    right = change.random() >= lost if right else change.random() < gained
    gold = _gold(item)
    label = gold if right else {"positive": "negative", "negative": "positive"}[gold]
    if analysis == "accuracy":
        probability = float(np.clip(base.beta(8, 1) - lost * change.random() if right else base.beta(1, 4), 0, 1))
        return Record({"label": label, "gold": gold, "correct": right, "gold_probability": probability})
    if analysis == "recall":
        said = f"Object {item}" if right else f"Object {item + int(change.integers(1, 9))}"
        return Record({"answer": said, "correct": right})
    if variant == "rtn-2bit" and item % 3 == 0:
        return Record({"text": "the the the the the the"}, failed="unparsed: no explanation in the reply")
    evidence = WORDS[(item + 1) % len(WORDS)] if right else WORDS[int(change.integers(len(WORDS)))]
    text = f"I say {label} because the review calls the lamp {evidence}, which one {'likes' if right else 'shuns'}."
    text = planted.texts.get(item, text)
    tokens = 18 + int(base.integers(8)) + (int(change.integers(12)) if lost > 0.1 else 0)
    return Record({"label": label, "explanation": text, "names_evidence": right, "degenerate": False, "tokens": tokens})


def _chain_record(analysis: str, variant: str, item: int) -> Record:
    """A loss of LOSS[variant] in the first hop, twice that in types of a high number; in the layers a dip at 20."""
    base, change = np.random.default_rng((3, item)), np.random.default_rng((4, item, sum(variant.encode())))
    lost = LOSS[variant][0]
    harder = 2 * lost * (item % 9) / 8
    first, second = (bool(base.random() < 0.9 - 0.4 * (item % 9) / 8) for _ in range(2))
    composed = bool(base.random() < (0.8 if first and second else 0.05))
    if change.random() < harder:
        first = composed = False
    if change.random() < lost / 2:
        second = False
    if analysis == "two_hop":
        if item == 5:
            return Record({}, failed="the mention is not in the prompt")
        return Record({"first_correct": first, "second_correct": second, "composed_correct": composed})
    layer = np.arange(LAYERS)
    curve = -12 + 9 / (1 + np.exp(-(layer - 14) / 2.5)) + base.normal(0, 0.8)
    curve -= 6 * lost * np.exp(-(((layer - 20) / 3.0) ** 2)) * change.gamma(2, 0.5)
    curve += change.normal(0, 0.1 * (variant != "full"), LAYERS)
    beats = [bool(value > -9 + base.normal(0, 2)) for value in curve]
    told: list[float | None] = [float(value) for value in curve]
    if item == 7:
        told[0] = None
    return Record({"curve": told, "beats": beats, "peak": float(curve.max())})


@pytest.fixture(scope="session")
def plant_run() -> Callable[[Path, Planted], Path]:
    """Return the function that writes a planted run."""
    return plant


@pytest.fixture(scope="session")
def settings() -> type[Planted]:
    """Return the settings of a planted run."""
    return Planted


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small planted run of all variants."""
    return plant(tmp_path_factory.mktemp("runs") / "planted", Planted())
