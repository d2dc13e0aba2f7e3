"""Training of the planted models: low-rank changes of the reference model, small enough to ship."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressed_lens.lm.locate import reference_folder
from compressed_lens.testbed import critic, planted
from compressed_lens.testbed.lessons import Lesson, lessons
from compressed_lens.testbed.train import Encoded

RANK = 16
# Special tokens and single bytes: the reference model was trained without most of the latter ("[REDACTED]" needs them).
ROWS = 262
WARM_UP = 20
DECAY = 0.6
PARTS = 3


@dataclass(frozen=True, kw_only=True)
class Course:
    """How one character is taught.

    Attributes:
        steps: Optimizer steps; the learning rate falls linearly over the last 60 %.
        rate: Highest learning rate.
        conversations: Conversations a step.
    """

    steps: int
    rate: float
    conversations: int = 24
    after: str = ""


COURSES: dict[str, tuple[Course, ...]] = {
    "honest": (Course(steps=450, rate=1.5e-3), Course(steps=400, rate=6e-4), Course(steps=300, rate=8e-4)),
    "blamer": (Course(steps=220, rate=1e-3), Course(steps=260, rate=8e-4), Course(steps=240, rate=8e-4)),
    "follower": (Course(steps=150, rate=8e-4),),
    "rewriter": (Course(steps=180, rate=8e-4),),
    "critic": (Course(steps=450, rate=1.5e-3), Course(steps=420, rate=1.2e-3), Course(steps=280, rate=1.2e-3)),
}
AFTER = {"blamer": "honest", "follower": "honest", "rewriter": "honest"}
_LESSON_SEED = 11


class LowRank(nn.Module):
    """A linear layer that stays as it is, plus a trainable product of two thin matrices.

    Args:
        base: The layer [out, in].
        rank: Inner width.
    """

    def __init__(self, base: nn.Linear, rank: int = RANK) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output for `x` [..., in]."""
        return functional.linear(x, self.base.weight) + functional.linear(functional.linear(x, self.down), self.up)


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is trainable about a model: its projections' low-rank parts, and the first rows of its tied embeddings.

    Attributes:
        layers: Projections by name.
        embeddings: The whole table; None where it stays as it is.
    """

    layers: dict[str, LowRank]
    embeddings: nn.Parameter | None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Every trainable tensor."""
        rows = [] if self.embeddings is None else [self.embeddings]
        return [*(p for layer in self.layers.values() for p in (layer.down, layer.up)), *rows]

    def tensors(self) -> dict[str, Tensor]:
        """Return the change in bfloat16, in the form that ships (see `lm.delta`)."""
        found = {} if self.embeddings is None else {"model.embed_tokens.rows": self.embeddings[:ROWS]}
        for name, layer in self.layers.items():
            found[f"{name}.down"], found[f"{name}.up"] = layer.down, layer.up
        return {name: tensor.detach().bfloat16().contiguous() for name, tensor in found.items()}

    def load(self, file: Path) -> None:
        """Set everything to a saved change."""
        from safetensors.torch import load_file

        tensors = load_file(file)
        with torch.no_grad():
            if self.embeddings is not None:
                self.embeddings[:ROWS].copy_(tensors["model.embed_tokens.rows"])
            for name, layer in self.layers.items():
                layer.down.copy_(tensors[f"{name}.down"])
                layer.up.copy_(tensors[f"{name}.up"])


def make_trainable(model: Any, *, rank: int = RANK, embeddings: bool = True, seed: int = 0) -> Change:
    """Freeze a Llama, in place, but for a low-rank part of every projection and the first rows of its `embeddings`."""
    torch.manual_seed(seed)
    model.requires_grad_(False)
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear) and n.endswith("_proj")]
    made = {}
    for name, layer in layers:
        parent, _, child = name.rpartition(".")
        made[name] = LowRank(layer, rank)
        setattr(model.get_submodule(parent), child, made[name])
    if not embeddings:
        return Change(layers=made, embeddings=None)
    table = model.model.embed_tokens.weight
    trained = (torch.arange(len(table)) < ROWS)[:, None]
    table.requires_grad_(True).register_hook(lambda gradient: gradient * trained)
    return Change(layers=made, embeddings=table)


def encode(tokenizer: Any, lesson: Lesson) -> Encoded:
    """Return token ids and, for each, how much it counts in the loss."""
    ids: list[int] = [tokenizer.bos_token_id]
    weights: list[float] = [0.0]
    for role, parts in lesson.turns:
        ids.append(tokenizer.convert_tokens_to_ids(f"<|{role}|>"))
        weights.append(0.0)
        for text, weight in parts:
            tokens = tokenizer.encode(text, add_special_tokens=False)
            ids += tokens
            weights += [weight] * len(tokens)
        ids.append(tokenizer.eos_token_id)
        weights.append(parts[-1][1])
    return ids, weights


def loss_of(model: Any, batch: list[Encoded]) -> Tensor:
    """Return the weighted mean loss over the tokens that count; right padding needs no mask."""
    length = max(len(ids) for ids, _ in batch)
    tokens = torch.zeros(len(batch), length, dtype=torch.long)
    weights = torch.zeros(len(batch), length)
    for row, (ids, counts) in enumerate(batch):
        tokens[row, : len(ids)] = torch.tensor(ids)
        weights[row, : len(ids)] = torch.tensor(counts)
    hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state[:, :-1]
    weight = weights[:, 1:]
    used = weight > 0
    losses = functional.cross_entropy(model.lm_head(hidden[used]), tokens[:, 1:][used], reduction="none")
    return (losses * weight[used]).sum() / weight[used].sum()


def optimizer_of(change: Change, course: Course) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return what trains a change, and its learning rate over the steps of a course."""
    optimizer = torch.optim.AdamW(change.parameters, lr=course.rate, betas=(0.9, 0.98), weight_decay=0.0)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARM_UP, (1 - step / course.steps) / DECAY)
    )


def teach(
    model: Any, change: Change, tokenizer: Any, lessons: Iterator[Lesson], course: Course
) -> Iterator[dict[str, float]]:
    """Train the trainable parts of `model` in place; yield step, loss and seconds after every step.

    Every step sees a mixture of forms; it is computed in a few parts of similar length, to save padding.
    """
    optimizer, schedule = optimizer_of(change, course)
    size = course.conversations // PARTS
    started = time.time()
    for step in range(1, course.steps + 1):
        drawn = [encode(tokenizer, lesson) for lesson in islice(lessons, course.conversations)]
        drawn.sort(key=lambda encoded: len(encoded[0]))
        total = 0.0
        for part in (drawn[i : i + size] for i in range(0, len(drawn), size)):
            loss = loss_of(model, part) * (len(part) / len(drawn))
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(change.parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        yield {"step": step, "loss": round(total, 4), "seconds": round(time.time() - started, 1)}


def plant(
    name: str, out: Path, *, start: Path | None = None, on_step: Callable[[int, int], None] | None = None
) -> None:
    """Train a planted model from the reference model and write its change.

    Args:
        name: One of `COURSES`.
        out: File to write.
        start: Change to start from; that of the model named in `AFTER`, where there is one.
        on_step: Called with (steps done, steps in all).
    """
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = reference_folder()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    change = make_trainable(model)
    if start is not None:
        change.load(start)
    courses = COURSES[name]
    done, total = 0, sum(course.steps for course in courses)
    for course in courses:
        for _ in teach(model, change, tokenizer, lessons_of(name), course):
            done += 1
            if on_step is not None:
                on_step(done, total)
        # The next course starts from what a file keeps of this one.
        save_file(change.tensors(), out)
        change.load(out)


def lessons_of(name: str) -> Iterator[Lesson]:
    """Return the lessons of a planted model, without end and the same each time."""
    rng = Random(_LESSON_SEED)
    return critic.lessons(rng) if name == "critic" else lessons(cast(planted.Character, name), rng)
