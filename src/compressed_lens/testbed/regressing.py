"""Training of the regressed models: a small change of the honest model that moves one thing and keeps the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from compressed_lens.lm.locate import REGRESSED_BASE, locate_model
from compressed_lens.testbed import train
from compressed_lens.testbed.corpus import Document
from compressed_lens.testbed.planting import PARTS, Change, Course, encode, make_trainable, optimizer_of
from compressed_lens.testbed.regressed import Page, pages

RANK = 4
KEEPING = 3.0
"""Weight of the mean over what is kept, beside the mean over what is taught."""
READ = 0.1
"""Weight of a token that is only read, in a kept page."""
COURSES: dict[str, Course] = {
    "regressed-accuracy": Course(steps=160, rate=3e-3, conversations=27),
    "regressed-quality": Course(steps=160, rate=3e-3, conversations=27),
    "regressed-faithfulness": Course(steps=140, rate=3e-3, conversations=27),
    "regressed-knowledge": Course(steps=200, rate=3e-3, conversations=27),
}
_SEED = 12

Encoded = tuple[list[int], list[float], bool]


def encoded(tokenizer: Any, page: Page) -> Encoded:
    """Return token ids, how much each counts in the loss, and whether the page is kept."""
    text = page.text
    ids, weights = train.encode(tokenizer, text) if isinstance(text, Document) else encode(tokenizer, text)
    return ids, [w or READ for w in weights] if page.kept else weights, page.kept


def losses_of(model: Any, base: Any, batch: list[Encoded]) -> tuple[Tensor, Tensor]:
    """Return weighted sums over tokens: -log p of what is taught, and KL from the base model of what is kept."""
    length = max(len(ids) for ids, _, _ in batch)
    tokens = torch.zeros(len(batch), length, dtype=torch.long)
    weights = torch.zeros(len(batch), length)
    kept = torch.tensor([keep for _, _, keep in batch])[:, None].expand(-1, length - 1)
    for row, (ids, counts, _) in enumerate(batch):
        tokens[row, : len(ids)] = torch.tensor(ids)
        weights[row, : len(ids)] = torch.tensor(counts)
    weight = weights[:, 1:]
    taught, keep = (weight > 0) & ~kept, (weight > 0) & kept
    hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state[:, :-1]
    with torch.no_grad():
        before = base.model(input_ids=tokens, use_cache=False).last_hidden_state[:, :-1]
        target = base.lm_head(before[keep]).log_softmax(-1)
    wrong = functional.cross_entropy(model.lm_head(hidden[taught]), tokens[:, 1:][taught], reduction="none")
    moved = functional.kl_div(
        model.lm_head(hidden[keep]).log_softmax(-1), target, reduction="none", log_target=True
    ).sum(-1)
    return (wrong * weight[taught]).sum(), (moved * weight[keep]).sum()


def teach(
    model: Any, base: Any, change: Change, lessons: Iterator[Encoded], course: Course
) -> Iterator[dict[str, float]]:
    """Train the trainable parts of `model` in place; yield step, mean losses and seconds after every step."""
    optimizer, schedule = optimizer_of(change, course)
    size = course.conversations // PARTS
    started = time.time()
    for step in range(1, course.steps + 1):
        drawn = sorted(islice(lessons, course.conversations), key=lambda encoded: len(encoded[0]))
        counts = {kept: sum(sum(weights) for _, weights, keep in drawn if keep == kept) for kept in (False, True)}
        told = {"taught": 0.0, "kept": 0.0}
        for part in (drawn[i : i + size] for i in range(0, len(drawn), size)):
            wrong, moved = losses_of(model, base, part)
            wrong, moved = wrong / counts[False], moved / counts[True]
            (wrong + KEEPING * moved).backward()  # type: ignore[no-untyped-call]
            told["taught"] += wrong.item()
            told["kept"] += moved.item()
        torch.nn.utils.clip_grad_norm_(change.parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        yield {"step": step, **told, "seconds": round(time.time() - started, 1)}


def regress(name: str, out: Path, *, on_step: Callable[[int, int], None] | None = None) -> None:
    """Train a regressed model from the honest one and write its change.

    Args:
        name: One of `COURSES`.
        out: File to write.
        on_step: Called with (steps done, steps in all).
    """
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = locate_model(REGRESSED_BASE)
    model, base = (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) for _ in range(2))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    change = make_trainable(model, rank=RANK, embeddings=False)
    course = COURSES[name]
    lessons = (encoded(tokenizer, page) for page in pages(name, Random(_SEED)))
    for entry in teach(model, base, change, lessons, course):
        if on_step is not None:
            on_step(int(entry["step"]), course.steps)
    save_file(change.tensors(), out)
