"""Looking inside a model: its anatomy, one-token suffix passes, and one file an inspection."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from compressed_lens.lm.inside.inside import Inside
from compressed_lens.lm.protocol import Inspect, Inspection

__all__ = ["Inside", "inspect_all"]


def inspect_all(inside: Inside, requests: Sequence[Inspect], *, batch_tokens: int) -> list[Inspection]:
    """Answer every request, in order; those of one kind are run together.

    Raises:
        ModelError: The model cannot be asked one of them (see `Inside.check`).
    """
    kinds: dict[str, list[int]] = {}
    for place, request in enumerate(requests):
        inside.check(request)
        kinds.setdefault(request.by.runs, []).append(place)
    found: dict[int, dict[str, Any]] = {}
    for runs, places in kinds.items():
        module, _, name = runs.partition(":")
        run = getattr(importlib.import_module(module), name)
        found.update(zip(places, run(inside, [requests[n] for n in places], batch_tokens=batch_tokens), strict=True))
    return [Inspection(values=found[n]) for n in range(len(requests))]
