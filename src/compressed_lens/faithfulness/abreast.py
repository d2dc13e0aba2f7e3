"""Several parts of a generator side by side: their requests become one list, which the engine answers at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from compressed_lens.explanations.sources import Asking
from compressed_lens.lm.protocol import Ask, Request, Response

T = TypeVar("T")


def abreast(parts: Sequence[Asking[T]]) -> Asking[list[T]]:
    """Advance every part by one step a turn and return their results in order.

    Raises:
        Exception: Whatever a part raises; it ends all of them.
    """
    results: dict[int, T] = {}
    answers: list[list[Response] | None] = [None] * len(parts)
    while len(results) < len(parts):
        asked: dict[int, list[Request | Ask]] = {}
        for i, part in enumerate(parts):
            if i in results:
                continue
            try:
                given = answers[i]
                asked[i] = next(part) if given is None else part.send(given)
            except StopIteration as end:
                results[i] = end.value
        if not asked:
            break
        responses = yield [request for requests in asked.values() for request in requests]
        start = 0
        for i, requests in asked.items():
            answers[i] = list(responses[start : start + len(requests)])
            start += len(requests)
    return [results[i] for i in range(len(parts))]
