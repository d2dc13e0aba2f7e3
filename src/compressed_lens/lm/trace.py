"""Log-probability and log-odds of every token of a continuation, teacher-forced after its prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from compressed_lens.lm.batching import pack, run_halving
from compressed_lens.lm.forward import Passes
from compressed_lens.lm.protocol import Traced
from compressed_lens.lm.tree import Branch, Places, Tree, Unit, plant, read_trees, tree_batches

Ids = tuple[int, ...]
Row = tuple[Ids, Ids]


def trace_rows(passes: Passes, rows: Sequence[Row], *, batch_tokens: int, strict: bool) -> list[Traced]:
    """Trace the continuation of each (prompt, continuation) of ids, in order.

    Equal rows are computed once, and rows that begin alike share the computation (see `tree`).
    """
    found: dict[Row, Traced] = {row: traced([], []) for row in rows if not row[1]}
    todo = list(dict.fromkeys(row for row in rows if row[1]))
    # The last token of a continuation is only predicted, never read.
    fed = [prompt + continuation[:-1] for prompt, continuation in todo]
    units = [
        Unit(branches=(Branch(ids=ids, start=len(prompt) - 1),), plain=len(ids))
        for ids, (prompt, _) in zip(fed, todo, strict=True)
    ]
    trees, rest = plant(passes, units, batch_tokens=batch_tokens, strict=strict)

    def keep_values(batch: Sequence[int], logits: Tensor, places: Mapping[int, Places]) -> None:
        wanted = [(*place, token) for i in batch for place, token in zip(places[i], todo[i][1], strict=True)]
        values = iter(log_odds(logits, wanted))
        for i in batch:
            found[todo[i]] = traced(*zip(*(next(values) for _ in todo[i][1]), strict=True))

    def work_trees(batch: Sequence[Tree]) -> None:
        logits, places = read_trees(passes, batch)
        keep_values([i for tree in batch for i in tree.units], logits, {i: own for (i, _), own in places.items()})

    def work(batch: Sequence[int]) -> None:
        keep = max(len(todo[i][1]) for i in batch)
        logits = passes.read([fed[i] for i in batch], keep=keep)
        places = {i: [(row, n) for n in range(keep - len(todo[i][1]), keep)] for row, i in enumerate(batch)}
        keep_values(batch, logits, places)

    for planted in tree_batches(passes, trees, batch_tokens=batch_tokens):
        run_halving(planted, work_trees)
    for rough in pack([len(fed[i]) for i in rest], 1 if strict else batch_tokens):
        for exact in pack([len(todo[rest[i]][1]) for i in rough], passes.logit_budget(batch_tokens)):
            run_halving([rest[rough[i]] for i in exact], work)
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
