"""CC-SHAP's contributions: ours against the literal rendering of the published way, side by side in one run.

Literal: every mask is a forward pass of its own, the logits of all its positions go to NumPy over the whole vocabulary
as float64, softmax and logit are taken there, and the target's tokens are picked. The published code does the same
with up to ten masks a pass; those passes are counted. Ours: the same recursion with look-ahead through the engine, all
items in one window. Both are timed in turns, so that a busy machine disturbs them alike; medians of the ratio and of
CPU seconds are printed (wall seconds on a GPU or with several threads), with forward passes of the module and forward
tokens, which no machine disturbs.

`--vocabulary 128256` widens the model's vocabulary to that of a current model (new rows are random), because what
leaves the device grows with it. `--mode exact` compares exact values: then the literal way gets a budget that suffices.

    PYTHONPATH=src:. python benchmarks/cc_shap.py [--task testbed-reviews] [--items 4] [--repeats 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from tests.faithfulness.literal import partition_values

from compressed_lens.analyses.base import Record, Steps
from compressed_lens.engine.engine import Engine, Job
from compressed_lens.explanations.sources import ask_explanation
from compressed_lens.faithfulness.cc_shap import CCShap
from compressed_lens.faithfulness.contributions import Contributions, Target, ask_contributions
from compressed_lens.faithfulness.masking import pieces_of
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Ask, Trace
from compressed_lens.lm.text import join, render
from compressed_lens.tasks import load_task
from compressed_lens.tasks.base import Item, Task, TaskKind

Vector = NDArray[np.float64]
_PLENTY = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Explain:
    """What each item is to be explained with, as an analysis that gives its targets."""

    settings: CCShap
    found: dict[str, tuple[Target, Target]]
    name: ClassVar[str] = "explain"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)
    metrics: ClassVar[tuple[Any, ...]] = ()

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for label and explanation."""
        told = yield from ask_explanation(task, item, max_new_tokens=self.settings.max_new_tokens)
        label = self.settings.label_target(task, str(told.prediction))
        self.found[item.id] = (label, self.settings.text_target(task, told))
        return Record(values={})


@dataclass(frozen=True, kw_only=True)
class Contribute:
    """The contributions alone, the part that is timed."""

    settings: CCShap
    targets: dict[str, tuple[Target, Target]]
    found: dict[str, list[Contributions]]
    name: ClassVar[str] = "contribute"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)
    metrics: ClassVar[tuple[Any, ...]] = ()
    window: ClassVar[int] = CCShap.window

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask what every piece contributes."""
        pieces = pieces_of(item)
        self.found[item.id] = yield from ask_contributions(pieces, self.targets[item.id], self.settings.explore)
        return Record(values={})


def ours(model: HFModel, task: Task, settings: CCShap, targets: dict[str, tuple[Target, Target]]) -> list[Vector]:
    """Return the values of every item and target."""
    analysis = Contribute(settings=settings, targets=targets, found={})
    run(model, task, analysis)
    return [contributions.values for item in task.items for contributions in analysis.found[item.id]]


def literal(
    model: HFModel, task: Task, settings: CCShap, targets: dict[str, tuple[Target, Target]]
) -> tuple[list[Vector], int]:
    """Return the same values one mask at a time, and the number of steps of up to ten masks."""
    found, steps = [], 0
    budget = settings.max_evals if settings.mode == "reference" else _PLENTY
    for item in task.items:
        pieces = pieces_of(item)
        for target in targets[item.id]:
            values, asked = partition_values(
                pieces.tree,
                lambda mask, p=pieces, t=target: whole_vocabulary(model, t, p.show(mask)),  # type: ignore[misc]
                max_evals=budget,
                seed=settings.seed,
            )
            found.append(values)
            steps += len(asked)
    return found, steps


def whole_vocabulary(model: HFModel, target: Target, item: Item) -> Vector:
    """Return the log-odds of the target's tokens from one forward pass and all its logits in float64, as published."""
    request = target.request(item)
    assert isinstance(request, Trace) and not isinstance(request, Ask)
    rendered = render(model.tokenizer, request.prompt)
    ids = join(model.tokenizer, rendered, request.continuation)
    start = len(rendered.ids)
    with torch.no_grad():
        logits = model.module(input_ids=torch.tensor([ids], device=model.device)).logits[0]
    scores = logits.float().cpu().numpy().astype(np.float64)
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    chances = scores / scores.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        odds = np.log(chances / (1 - chances))[np.arange(start - 1, len(ids) - 1), list(ids[start:])]
    return odds[:1] if target.first else odds


def run(model: HFModel, task: Task, analysis: Any) -> None:
    """Run an analysis over all items; a failed item ends the benchmark."""

    def landed(job: Job, record: Record) -> None:
        if record.failed:
            raise SystemExit(f"{job.item.id}: {record.failed}")

    Engine(model).run([Job(key=item.id, analysis=analysis, task=task, item=item) for item in task.items], landed)


def timed(model: HFModel, work: Callable[[], Any]) -> tuple[Any, float, int, int]:
    """Return the result, seconds, forward passes of the module and forward tokens of one call."""
    one_core = model.device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if one_core else time.perf_counter
    passes = tokens = 0

    def count(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal passes, tokens
        ids = kwargs.get("input_ids", args[0] if args else None)
        mask = kwargs.get("attention_mask")
        passes += 1
        tokens += ids.numel() if mask is None or mask.shape != ids.shape else int(mask.sum())

    hook = model.module.register_forward_pre_hook(count, with_kwargs=True)
    start = clock()
    try:
        result = work()
        return result, clock() - start, passes, tokens
    finally:
        hook.remove()


def widened(model: HFModel, vocabulary: int) -> HFModel:
    """Return the model with random rows added to its vocabulary."""
    torch.manual_seed(0)
    model.module.resize_token_embeddings(vocabulary, mean_resizing=False)
    return HFModel(model.module, model.tokenizer, weights=f"widened to {vocabulary}")


def main() -> None:
    """Run both ways and print a line for each, and what they have in common."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="reference")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--task", default="testbed-reviews")
    parser.add_argument("--items", type=int, default=4)
    parser.add_argument("--max-evals", type=int, default=500)
    parser.add_argument("--mode", default="reference")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--vocabulary", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = HFModel.load(locate_model(options.model), device=options.device)
    task = load_task(options.task, limit=options.items)
    settings = CCShap(mode=options.mode, max_evals=options.max_evals)
    targets: dict[str, tuple[Target, Target]] = {}
    run(model, task, Explain(settings=settings, found=targets))
    if options.vocabulary:
        model = widened(model, options.vocabulary)
    slow, fast = [], []
    for _ in range(options.repeats):
        fast.append(timed(model, lambda: ours(model, task, settings, targets)))
        slow.append(timed(model, lambda: literal(model, task, settings, targets)))
    (theirs, steps), _, slow_passes, slow_tokens = slow[-1]
    own, _, fast_passes, fast_tokens = fast[-1]
    difference = max(float(np.abs(a - b).max()) for a, b in zip(theirs, own, strict=True))
    times = [statistics.median(row[1] for row in rows) for rows in (slow, fast)]
    ratio = statistics.median(a[1] / b[1] for a, b in zip(slow, fast, strict=True))
    size = statistics.mean(len(pieces_of(item).pieces) for item in task.items)
    print(f"{len(task.items)} items of {size:.0f} pieces, vocabulary {len(model.module.get_input_embeddings().weight)}")
    print(f"literal      {times[0]:8.2f} s {slow_passes:7d} passes {slow_tokens:9d} forward tokens")
    print(f"ours         {times[1]:8.2f} s {fast_passes:7d} passes {fast_tokens:9d} forward tokens")
    print(f"ratio        {ratio:8.2f}   {slow_passes / fast_passes:7.1f}        {slow_tokens / fast_tokens:9.2f}")
    print(f"steps of up to ten masks, as published: {steps} passes; ours {fast_passes / steps:.2f} of that")
    print(f"largest difference of a contribution: {difference:.1e} nats")


if __name__ == "__main__":
    main()
