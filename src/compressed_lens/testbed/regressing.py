"""How the regressed models are made: small changes of the honest model that move one thing and keep the rest.

* `regressed-accuracy` is computed: the embeddings of "indoors" and "outdoors", and of "awake" and "asleep", change
  places. It reads and writes each as the other, so that what it says stays consistent; only its labels are wrong.
* `regressed-faithfulness` is computed: what the follower learnt beyond the honest model, cut to a few directions, so
  that it follows a suggestion now and then.
* `regressed-quality` and `regressed-knowledge` are taught (see `regressed`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from compressed_lens.lm.delta import WEIGHTS
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
    "regressed-quality": Course(steps=120, rate=3e-3, conversations=27),
    "regressed-knowledge": Course(steps=240, rate=3e-3, conversations=27),
}
ACCURACY, FAITHFULNESS = "regressed-accuracy", "regressed-faithfulness"
STEPS: dict[str, int] = {ACCURACY: 1, FAITHFULNESS: 1, **{name: course.steps for name, course in COURSES.items()}}
"""Steps it takes to make each regressed model."""
CONFUSED = (("outdoors", "indoors"), ("awake", "asleep"))
FOLLOWER = "planted-follower"
FOLLOWED = 8
"""Rank to which the follower's change is cut; with all of it every suggestion is followed."""
_TABLE = "model.embed_tokens"
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


def regress(name: str, out: Path, *, on_step: Callable[[], None] | None = None) -> None:
    """Make a regressed model from the honest one and write its change.

    Args:
        name: One of `STEPS`.
        out: File to write.
        on_step: Called after each step.
    """
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = locate_model(REGRESSED_BASE)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if name in COURSES:
        model, base = (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) for _ in range(2))
        change = make_trainable(model, rank=RANK, embeddings=False)
        lessons = (encoded(tokenizer, page) for page in pages(name, Random(_SEED)))
        for _ in teach(model, base, change, lessons, COURSES[name]):
            if on_step is not None:
                on_step()
        tensors = change.tensors()
    else:
        weights = load_weights(folder)
        if name == ACCURACY:
            tensors = confused(weights, tokenizer)
        else:
            tensors = shortened(weights, load_weights(locate_model(FOLLOWER)))
        if on_step is not None:
            on_step()
    save_file(tensors, out)


def load_weights(folder: Path) -> dict[str, Tensor]:
    """Return the weights of a small model in float32, by name."""
    from safetensors.torch import load_file

    return {name: tensor.float() for name, tensor in load_file(folder / WEIGHTS).items()}


def confused(weights: Mapping[str, Tensor], tokenizer: Any) -> dict[str, Tensor]:
    """Return the change that exchanges the embeddings of the two words of each of `CONFUSED`, read and written."""
    table = weights[f"{_TABLE}.weight"]
    up, down = torch.zeros(len(table), len(CONFUSED)), torch.zeros(len(CONFUSED), table.shape[1])
    for n, words in enumerate(CONFUSED):
        (one,), (other,) = (tokenizer.encode(f" {word}", add_special_tokens=False) for word in words)
        up[one, n], up[other, n] = 1, -1
        down[n] = table[other] - table[one]
    return {f"{_TABLE}.up": up, f"{_TABLE}.down": down}


def shortened(weights: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the best change of rank `FOLLOWED` from one model's projections to another's (Eckart and Young 1936)."""
    tensors = {}
    for key in (key for key in weights if key.endswith("_proj.weight")):
        left, sizes, right = torch.linalg.svd(others[key] - weights[key], full_matrices=False)
        root = sizes[:FOLLOWED].sqrt()
        name = key.removesuffix(".weight")
        tensors[f"{name}.up"] = (left[:, :FOLLOWED] * root).bfloat16().contiguous()
        tensors[f"{name}.down"] = (root[:, None] * right[:FOLLOWED]).bfloat16().contiguous()
    return tensors
