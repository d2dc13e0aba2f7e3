"""A model made of two functions, to drive an analysis by hand; and how to run one on a real model."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from compressed_lens.analyses.base import Analysis, Record
from compressed_lens.engine.engine import Engine, Job
from compressed_lens.lm.protocol import Ask, Generate, Generation, Prompt, Request, Response, Score, Scores
from compressed_lens.tasks.base import Item, Task

if TYPE_CHECKING:
    from compressed_lens.lm.protocol import Answering

Label = Callable[[str, Prompt], str]
Say = Callable[[str, Prompt], str]

REVIEW = Item(
    id="1",
    fields={"review": "The staff was rude and the food was stale."},
    answers=("negative",),
    extra={"evidence": ["rude", "stale"]},
)
REVIEWS = Task(
    name="reviews",
    kind="classification",
    items=(REVIEW,),
    labels=("positive", "negative"),
    instruction="Decide.",
    edit_field="review",
    targets={"positive": "negative", "negative": "positive"},
)


def converse(
    analysis: Analysis, *, label: Label, say: Say, task: Task = REVIEWS
) -> tuple[list[list[Request | Ask]], Record]:
    """Drive an analysis to its record: `label` answers scores, `say` answers texts; both get (role asked, prompt)."""
    steps = analysis.steps(task, task.items[0])
    asked = [next(steps)]
    while True:
        try:
            asked.append(steps.send([_answer(request, label, say) for request in asked[-1]]))
        except StopIteration as end:
            assert isinstance(end.value, Record)
            json.dumps(dict(end.value.values), allow_nan=False)
            assert {m.value for m in analysis.metrics} <= set(end.value.values)
            return asked, end.value


def _answer(request: Request | Ask, label: Label, say: Say) -> Response:
    to, asked = (request.to, request.request) if isinstance(request, Ask) else ("self", request)
    if isinstance(asked, Score):
        best = asked.continuations.index(label(to, asked.prompt))
        values = tuple(-0.1 if i == best else -3.0 for i in range(len(asked.continuations)))
        return Scores(log_probabilities=values, tokens=(1,) * len(values), greedy=(False,) * len(values))
    assert isinstance(asked, Generate)
    said = say(to, asked.prompt)
    return Generation(text=said, tokens=len(said.split()), finished=True)


def run(
    model: Answering, task: Task, analysis: Analysis, *, others: Callable[[str], Answering] | None = None
) -> dict[str, Record]:
    """Run an analysis over a task; return the records by item."""
    records: dict[str, Record] = {}
    jobs = [Job(key=item.id, analysis=analysis, task=task, item=item) for item in task.items]
    Engine(model, others=others).run(jobs, lambda job, record: records.update({job.item.id: record}))
    assert len(records) == len(task.items)
    return records
