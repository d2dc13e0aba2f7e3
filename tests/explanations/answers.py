"""Driving a part of a generator with a function that answers its requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from compressed_lens.explanations.sources import Asking
from compressed_lens.lm.protocol import Ask, Generate, Generation, Request, Response, Score, Scores

T = TypeVar("T")
Step = list[Request | Ask]


def drive(asking: Asking[T], answer: Callable[[Request | Ask], Response]) -> tuple[T, list[Step]]:
    """Return what a part returns and what it asked at each step."""
    asked: list[Step] = []
    try:
        requests = next(asking)
        while True:
            asked.append(list(requests))
            requests = asking.send([answer(request) for request in requests])
    except StopIteration as end:
        return end.value, asked


def text(said: str, *, finished: bool = True) -> Generation:
    return Generation(text=said, tokens=len(said.split()), finished=finished)


def sure(labels: tuple[str, ...], label: str) -> Scores:
    """Scores under which `label` wins."""
    return Scores(
        log_probabilities=tuple(-0.1 if name == label else -3.0 for name in labels),
        tokens=(1,) * len(labels),
        greedy=tuple(name == label for name in labels),
    )


def conversation(request: Request | Ask) -> str:
    """All turns of a request, one a line."""
    inner = request.request if isinstance(request, Ask) else request
    assert isinstance(inner, Generate | Score)
    return "\n".join(message.content for message in inner.prompt.messages)
