"""Log-probabilities of several continuations of each prompt; the prompt is computed once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from compressed_lens.lm.batching import pack, run_halving
from compressed_lens.lm.forward import Passes, Prefix
from compressed_lens.lm.protocol import Scores
from compressed_lens.lm.tree import Branch, Tree, Unit, plant, read_trees, tree_batches

Ids = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Summed log-probability in nats (at most 0) and whether greedy decoding would give the continuation."""

    log_probability: float
    greedy: bool


@dataclass(kw_only=True)
class Scoring:
    """One prompt with the continuations asked after it, and their scores once computed."""

    prompt: Ids
    options: dict[Ids, Scored | None] = field(default_factory=dict)

    def scores(self, options: Sequence[Ids]) -> Scores:
        """Return the response for `options`, all of them computed."""
        found: list[Scored] = [scored for option in options if (scored := self.options[option]) is not None]
        return Scores(
            log_probabilities=tuple(s.log_probability for s in found),
            tokens=tuple(len(option) for option in options),
            greedy=tuple(s.greedy for s in found),
        )


def score_groups(passes: Passes, groups: Sequence[Scoring], *, batch_tokens: int, strict: bool) -> None:
    """Fill in the scores of every group; prompts that begin alike share the computation (see `tree`)."""
    trees, rest = plant(passes, [_unit(group) for group in groups], batch_tokens=batch_tokens, strict=strict)
    for planted in tree_batches(passes, trees, batch_tokens=batch_tokens):
        run_halving(planted, lambda part: _score_trees(passes, groups, part))
    for batch in pack([len(groups[i].prompt) for i in rest], batch_tokens):
        run_halving(
            [groups[rest[i]] for i in batch],
            lambda part: _score_batch(passes, part, batch_tokens=batch_tokens, strict=strict),
        )


def _unit(group: Scoring) -> Unit:
    size = len(group.prompt)
    fed = dict.fromkeys(option[:-1] for option in group.options)
    return Unit(
        branches=tuple(Branch(ids=group.prompt + feed, start=size - 1) for feed in fed),
        plain=size + sum(len(feed) for _, feed, _ in _rows([group])),
    )


def _score_trees(passes: Passes, groups: Sequence[Scoring], trees: Sequence[Tree]) -> None:
    logits, places = read_trees(passes, trees)
    keep = logits.shape[1]
    found: list[tuple[Scoring, Ids, list[tuple[int, int]]]] = []
    for index in (index for tree in trees for index in tree.units):
        group = groups[index]
        branches = {option: n for n, option in enumerate(dict.fromkeys(option[:-1] for option in group.options))}
        for option in group.options:
            read = places[index, branches[option[:-1]]]
            own = [(row * keep + place, token) for (row, place), token in zip(read, option, strict=False)]
            found.append((group, option, own))
    values = iter(_gather(logits.flatten(0, 1), [place for _, _, own in found for place in own]))
    for group, option, own in found:
        group.options[option] = _total([next(values) for _ in own])


def _score_batch(passes: Passes, groups: Sequence[Scoring], *, batch_tokens: int, strict: bool) -> None:
    """Fill in the scores of groups that share nothing.

    One pass over the prompts scores every first token. What is left of longer continuations branches off the
    prompts' keys and values; continuations that start with the same tokens share a row.
    """
    if not strict:
        first, prefix = passes.start([group.prompt for group in groups])
        if prefix is not None:
            _branch(passes, groups, first[:, -1], prefix, batch_tokens)
            return
    for group in groups:
        for option in group.options:
            logits, _ = passes.start([[*group.prompt, *option[:-1]]], keep=max(1, len(option)))
            group.options[option] = _total(_gather(logits[0, -len(option) :], list(enumerate(option))))


def _branch(passes: Passes, groups: Sequence[Scoring], first: Tensor, prefix: Prefix, batch_tokens: int) -> None:
    pairs = [(g, option) for g, group in enumerate(groups) for option in group.options if option]
    starts = _gather(first, [(g, option[0]) for g, option in pairs])
    heads = dict(zip(pairs, starts, strict=True))
    rows = _rows(groups)
    width = prefix.mask.shape[1]
    budget = passes.logit_budget(batch_tokens)
    tails: dict[tuple[int, Ids], list[tuple[float, bool]]] = {}
    lengths = [len(feed) for _, feed, _ in rows]
    # A row costs its share of the copied prefix in memory, and its own tokens in logits.
    for rough in pack([width + n for n in lengths], batch_tokens):
        for exact in pack([lengths[i] for i in rough], budget):
            chosen = [rows[rough[i]] for i in exact]
            run_halving(chosen, lambda part: tails.update(_score_rows(passes, prefix, part)))
    for g, group in enumerate(groups):
        for option in group.options:
            parts = [heads[g, option], *tails.get((g, option), [])] if option else []
            group.options[option] = _total(parts)


_Row = tuple[int, Ids, list[Ids]]


def _rows(groups: Sequence[Scoring]) -> list[_Row]:
    """Return (group, tokens fed, continuations read off) for every row that must branch off a prompt."""
    rows: list[_Row] = []
    for g, group in enumerate(groups):
        own: list[_Row] = []
        for option in sorted((o for o in group.options if len(o) > 1), key=len, reverse=True):
            feed = option[:-1]
            home = next((row for row in own if row[1][: len(feed)] == feed), None)
            if home is None:
                own.append((g, feed, [option]))
            else:
                home[2].append(option)
        rows.extend(own)
    return rows


def _score_rows(
    passes: Passes, prefix: Prefix, rows: Sequence[_Row]
) -> dict[tuple[int, Ids], list[tuple[float, bool]]]:
    """Return (log-probability, is the greedy choice) of every token after the first, by continuation."""
    logits, _ = passes.extend(prefix.select([g for g, _, _ in rows]), [feed for _, feed, _ in rows])
    places = [(r, i, t) for r, (_, _, options) in enumerate(rows) for o in options for i, t in enumerate(o[1:])]
    flat = _gather(logits.flatten(0, 1), [(r * logits.shape[1] + i, t) for r, i, t in places])
    found = iter(flat)
    return {(g, o): [next(found) for _ in o[1:]] for g, _, options in rows for o in options}


def _gather(logits: Tensor, places: Sequence[tuple[int, int]]) -> list[tuple[float, bool]]:
    """Return (log-probability, is the greedy choice) of (row, token) places in `logits` [rows, vocabulary]."""
    if not places:
        return []
    row, token = (torch.tensor(column, device=logits.device) for column in zip(*places, strict=True))
    normalizer = logits.logsumexp(dim=-1)
    best = logits.argmax(dim=-1)
    values = (logits[row, token] - normalizer[row]).clamp(max=0.0)
    return list(zip(values.tolist(), (best[row] == token).tolist(), strict=True))


def _total(parts: Sequence[tuple[float, bool]]) -> Scored:
    return Scored(log_probability=sum(value for value, _ in parts), greedy=all(best for _, best in parts))
