"""Chain-of-thought curves: the engine against the one-by-one rendering, side by side in one run.

The one-by-one way is that of the published scripts: every text comes from `generate` on one row, and every label is
scored by its own forward pass over the prompt, the reasoning and the label. Both ways ask the very same questions, are
timed in turns, and must give the same answer at every point of every curve. Printed are forward calls, tokens run and
the median ratio of CPU seconds.

    python benchmarks/cot_curve.py [--model reference] [--items 8] [--repeats 3] [--corruptions early filler]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from compressed_lens.analyses.base import Record
from compressed_lens.engine.engine import Engine, Job
from compressed_lens.faithfulness.cot_curve import CORRUPTIONS, ChainOfThoughtCurve
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Generate, Generation, Response, Score, Scores
from compressed_lens.lm.text import join
from compressed_lens.tasks import Task, load_task


@dataclass
class Counter:
    """Forward calls of the module and the tokens of them, padding included."""

    calls: int = 0
    tokens: int = 0

    def __call__(self, _module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        """Count one call."""
        self.calls += 1
        self.tokens += kwargs["input_ids"].numel()


def one_by_one(model: HFModel, request: Any) -> Response:
    """Answer one request alone, as a script would."""
    rendered = model.render(request.prompt)
    size = len(rendered.ids)
    with torch.no_grad():
        if isinstance(request, Generate):
            ids = torch.tensor([rendered.ids])
            new = model.module.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=request.max_new_tokens,
                do_sample=False,
                pad_token_id=model.tokenizer.eos_token_id,
            )[0, size:].tolist()
            finished = model.tokenizer.eos_token_id in new
            whole = model.tokenizer.decode([*rendered.ids, *new], skip_special_tokens=True)
            start = model.tokenizer.decode(rendered.ids, skip_special_tokens=True)
            return Generation(text=whole[len(start) :], tokens=len(new), finished=finished)
        assert isinstance(request, Score)
        values = []
        for option in request.continuations:
            row = join(model.tokenizer, rendered, option)
            logits = model.module(input_ids=torch.tensor([row]), use_cache=False).logits[0].float().log_softmax(-1)
            values.append(sum(float(logits[i - 1, row[i]]) for i in range(size, len(row))))
        count = len(values)
        return Scores(log_probabilities=tuple(values), tokens=(1,) * count, greedy=(False,) * count)


def plain(model: HFModel, task: Task, analysis: ChainOfThoughtCurve) -> list[Record]:
    """Return the records, asking one thing at a time."""
    records = []
    for item in task.items:
        steps = analysis.steps(task, item)
        requests = next(steps)
        while True:
            try:
                requests = steps.send([one_by_one(model, request) for request in requests])
            except StopIteration as end:
                records.append(end.value)
                break
    return records


def ours(model: HFModel, task: Task, analysis: ChainOfThoughtCurve) -> list[Record]:
    """Return the records from the engine, with nothing cached before."""
    found: dict[str, Record] = {}
    jobs = [Job(key=item.id, analysis=analysis, task=task, item=item) for item in task.items]
    Engine(model).run(jobs, lambda job, record: found.update({job.item.id: record}))
    return [found[item.id] for item in task.items]


def measured(work: Callable[[], list[Record]], model: HFModel) -> tuple[list[Record], float, Counter]:
    """Return the records of one run, its CPU seconds, and its calls and tokens."""
    counter = Counter()
    hook = model.module.register_forward_pre_hook(counter, with_kwargs=True)
    start = time.process_time()
    records = work()
    seconds = time.process_time() - start
    hook.remove()
    return records, seconds, counter


def main() -> None:
    """Run the benchmark and print one line a way, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="reference")
    parser.add_argument("--task", default="testbed-reviews")
    parser.add_argument("--items", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--points", type=int, default=8)
    parser.add_argument("--corruptions", nargs="+", default=list(CORRUPTIONS), choices=CORRUPTIONS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = HFModel.load(locate_model(options.model), device="cpu")
    task = load_task(options.task, limit=options.items)
    analysis = ChainOfThoughtCurve(points=options.points, corruptions=tuple(options.corruptions))
    slow, fast = [], []
    for _ in range(options.repeats):
        theirs, seconds, plain_count = measured(lambda: plain(model, task, analysis), model)
        slow.append(seconds)
        own, seconds, own_count = measured(lambda: ours(model, task, analysis), model)
        fast.append(seconds)
    names = [f"curve_{name}" for name in analysis.corruptions]
    answers = [[[r.values[n] for n in names] for r in records] for records in (theirs, own)]
    verdicts = [[[r.values[f"faithful_{n}"] for n in analysis.corruptions] for r in x] for x in (theirs, own)]
    same = sum(a == b for a, b in zip(*answers, strict=True))
    tested = sum(bool(record.values["tested"]) for record in own)
    print(f"{len(own)} items, {tested} with reasoning; corruptions: {', '.join(analysis.corruptions)}")
    print(
        f"one by one  {statistics.median(slow):8.3f} CPU s {plain_count.calls:7d} calls {plain_count.tokens:9d} tokens"
    )
    print(f"engine      {statistics.median(fast):8.3f} CPU s {own_count.calls:7d} calls {own_count.tokens:9d} tokens")
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    print(f"ratio       {statistics.median(ratios):8.2f} (smallest {min(ratios):.2f})", end="")
    print(f" {plain_count.calls / own_count.calls:11.2f} {plain_count.tokens / own_count.tokens:14.2f}")
    print(f"same curves: {same} of {len(own)}; same verdicts: {verdicts[0] == verdicts[1]}")


if __name__ == "__main__":
    main()
