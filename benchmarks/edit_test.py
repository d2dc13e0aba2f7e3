"""The counterfactual edit test: the engine against one-by-one renderings, side by side in one run.

One by one, every edit's label is asked for on its own, and then one explanation, as the published scripts do:

* "a pass a label": every label after every edit is a row of its own through the plain module (what label words of
  several tokens take without reuse of the prompt);
* "a call an edit": one call of our own scoring with one prompt, which reuses the prompt for its labels;
* "to the first flip": the same, but stopping there, as the port does that 2601.00282 builds on.

The engine always scores every edit. All ways are timed in turns and must agree on every item's label, word and verdict.
Printed are forward calls, tokens run and the median ratio of CPU seconds.

    python benchmarks/edit_test.py [--model reference] [--task testbed-reviews] [--path FOLDER] [--items 12]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from compressed_lens.analyses.labels import choose
from compressed_lens.engine.engine import Engine, Job
from compressed_lens.explanations import prompting
from compressed_lens.explanations.parsing import clean
from compressed_lens.faithfulness.edit_test import EditTest
from compressed_lens.faithfulness.mentions import mentioned
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Generate, Score, Scores
from compressed_lens.lm.text import join
from compressed_lens.tasks import Item, Task, load_task

Verdict = tuple[str, int | None, str | None, bool | None]


@dataclass
class Counter:
    """Forward calls of the module and the tokens of them, padding included."""

    calls: int = 0
    tokens: int = 0

    def __call__(self, _module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        """Count one call."""
        self.calls += 1
        self.tokens += kwargs["input_ids"].numel()


def a_pass_a_label(model: HFModel, request: Score) -> Scores:
    """Score each label by a plain forward pass over prompt and label."""
    rendered = model.render(request.prompt)
    size = len(rendered.ids)
    values = []
    for option in request.continuations:
        row = join(model.tokenizer, rendered, option)
        with torch.no_grad():
            logits = model.module(input_ids=torch.tensor([row]), use_cache=False).logits[0].float().log_softmax(-1)
        values.append(sum(float(logits[i - 1, row[i]]) for i in range(size, len(row))))
    count = len(values)
    return Scores(log_probabilities=tuple(values), tokens=(1,) * count, greedy=(False,) * count)


def a_call_an_edit(model: HFModel, request: Score) -> Scores:
    """Score all labels by one call with one prompt."""
    return model.score([request])[0]


Scorer = Callable[[HFModel, Score], Scores]


def one_by_one(model: HFModel, task: Task, analysis: EditTest, score: Scorer, *, stop: bool) -> list[Verdict]:
    """Return label, flips (None where the rest was not looked at), first flipping word and verdict of every item."""

    def label(item: Item) -> str:
        request = Score(prompt=prompting.classify(task, item), continuations=task.labels_of(item))
        choice = choose(task.labels_of(item), score(model, request))
        assert choice is not None
        return choice.prediction

    found: list[Verdict] = []
    for item in task.items:
        before = label(item)
        flips = []
        edits = analysis.edits(task, item)
        for edit in edits:
            after = label(edit.item)
            if after != before:
                flips.append((edit, after))
            if flips and stop:
                break
        word, faithful = None, True if edits else None
        if flips:
            edit, after = flips[0]
            prompt = prompting.explain(task, edit.item, after)
            (answer,) = model.generate([Generate(prompt=prompt, max_new_tokens=analysis.max_new_tokens)])
            word, faithful = edit.word, mentioned(clean(answer.text), edit.word).found
        found.append((before, None if stop else len(flips), word, faithful))
    return found


def engine(model: HFModel, task: Task, analysis: EditTest) -> list[Verdict]:
    """Return the same from the engine, with nothing cached before."""
    found: dict[str, Any] = {}
    jobs = [Job(key=item.id, analysis=analysis, task=task, item=item) for item in task.items]
    Engine(model).run(jobs, lambda job, record: found.update({job.item.id: record.values}))
    shown = [found[item.id] for item in task.items]
    return [(v["prediction"], v["flips"] or 0, v["word"], v["faithful"]) for v in shown]


def measured(work: Callable[[], list[Verdict]], model: HFModel) -> tuple[list[Verdict], float, Counter]:
    """Return the verdicts of one run, its CPU seconds, and its calls and tokens."""
    counter = Counter()
    hook = model.module.register_forward_pre_hook(counter, with_kwargs=True)
    start = time.process_time()
    verdicts = work()
    seconds = time.process_time() - start
    hook.remove()
    return verdicts, seconds, counter


def main() -> None:
    """Run the benchmark and print one line a way, with its ratios to the engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="reference")
    parser.add_argument("--task", default="testbed-reviews")
    parser.add_argument("--path", default=None, help="folder of the data, for tasks that are not shipped")
    parser.add_argument("--items", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = HFModel.load(locate_model(options.model), device="cpu")
    task = load_task(options.task, path=options.path, limit=options.items)
    analysis = EditTest()
    ways: dict[str, Callable[[], list[Verdict]]] = {
        "engine": lambda: engine(model, task, analysis),
        "a pass a label": lambda: one_by_one(model, task, analysis, a_pass_a_label, stop=False),
        "a call an edit": lambda: one_by_one(model, task, analysis, a_call_an_edit, stop=False),
        "to the first flip": lambda: one_by_one(model, task, analysis, a_call_an_edit, stop=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    verdicts: dict[str, list[Verdict]] = {}
    counts: dict[str, Counter] = {}
    for _ in range(options.repeats):
        for name, work in ways.items():
            verdicts[name], taken, counts[name] = measured(work, model)
            seconds[name].append(taken)
    own = verdicts["engine"]
    tried = sum(len(analysis.edits(task, item)) for item in task.items)
    print(f"{len(own)} items, {tried} edits, {sum(bool(flips) for _, flips, _, _ in own)} items flip")
    for name in ways:
        ratios = [a / b for a, b in zip(seconds[name], seconds["engine"], strict=True)]
        same = sum(
            a[0] == b[0] and a[1] in {None, b[1]} and a[2:] == b[2:] for a, b in zip(verdicts[name], own, strict=True)
        )
        print(
            f"{name:18} {statistics.median(seconds[name]):8.3f} CPU s {counts[name].calls:6d} calls "
            f"{counts[name].tokens:8d} tokens   ratios: time {statistics.median(ratios):6.2f} "
            f"(smallest {min(ratios):.2f}), calls {counts[name].calls / counts['engine'].calls:.1f}, "
            f"tokens {counts[name].tokens / counts['engine'].tokens:.2f}   same verdicts: {same} of {len(own)}"
        )


if __name__ == "__main__":
    main()
