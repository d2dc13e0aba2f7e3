"""Log-probability and log-odds of every token of a continuation, teacher-forced after its prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from compressed_lens.lm.batching import pack, run_halving
from compressed_lens.lm.forward import Passes
from compressed_lens.lm.protocol import Traced

Ids = tuple[int, ...]
Row = tuple[Ids, Ids]


def trace_rows(passes: Passes, rows: Sequence[Row], *, batch_tokens: int, strict: bool) -> list[Traced]:
    """Trace the continuation of each (prompt, continuation) of ids, in order; equal rows are computed once."""
    found: dict[Row, Traced] = {row: traced([], []) for row in rows if not row[1]}
    todo = list(dict.fromkeys(row for row in rows if row[1]))

    def work(batch: Sequence[Row]) -> None:
        keep = max(len(continuation) for _, continuation in batch)
        # The last token of a continuation is only predicted, never read.
        logits = passes.read([[*prompt, *continuation[:-1]] for prompt, continuation in batch], keep=keep)
        places = [
            (row, keep - len(ids) + i, token) for row, (_, ids) in enumerate(batch) for i, token in enumerate(ids)
        ]
        values = iter(log_odds(logits, places))
        found.update({row: traced(*zip(*(next(values) for _ in row[1]), strict=True)) for row in batch})

    for batch in _batches(passes, todo, 1 if strict else batch_tokens):
        run_halving(batch, work)
    return [found[row] for row in rows]


def log_odds(logits: Tensor, places: Sequence[tuple[int, int, int]]) -> list[tuple[float, float]]:
    """Return (log-probability, log-odds) of tokens, in nats, from float32 logits [rows, positions, vocabulary].

    The log-odds are the token's logit minus the log-sum-exp of all others, which loses nothing where p is near 1; the
    log-probability is the log-sigmoid of that. Only two numbers a place leave the device.

    Args:
        logits: Of every kept position.
        places: (row, position, token).
    """
    row, position, token = (torch.tensor(column, device=logits.device) for column in zip(*places, strict=True))
    chosen = logits[row, position]
    own = chosen.gather(1, token[:, None])
    odds = own[:, 0] - chosen.scatter_(1, token[:, None], -torch.inf).logsumexp(dim=-1)
    return list(zip(torch.nn.functional.logsigmoid(odds).tolist(), odds.tolist(), strict=True))


def traced(log_probabilities: Sequence[float], odds: Sequence[float]) -> Traced:
    """Return a response of plain numbers."""
    return Traced(log_probabilities=tuple(log_probabilities), log_odds=tuple(odds))


def _batches(passes: Passes, rows: Sequence[Row], budget: int) -> Iterator[list[Row]]:
    """Yield batches within the budget of tokens and, of what they keep, within that of logits."""
    for rough in pack([len(prompt) + len(ids) for prompt, ids in rows], budget):
        for exact in pack([len(rows[i][1]) for i in rough], passes.logit_budget(budget)):
            yield [rows[rough[i]] for i in exact]
