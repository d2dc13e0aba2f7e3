"""Log-probability increase of vectors added to the residual stream (Yu & Ananiadou 2024), exact and as an upper bound.

With the final norm's scale held at what it is for the last block's output, the read-out is linear: a vector v moves the
logits by a = l(v), whatever it is added to. For a target w and p = softmax(l(x)),

    increase(v) = log softmax(l(x + v))_w - log softmax(l(x))_w = -log sum_t p_t exp(a_t - a_w).

All terms of the sum are positive, so nothing cancels. By Jensen's inequality over the tokens other than w,

    increase(v) <= -log(p_w + (1 - p_w) exp(c)),  c = sum_{t != w} p_t (a_t - a_w) / (1 - p_w),

and c is one dot product of v with a vector that depends on x alone: only neurons whose bound is high are projected to
the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import torch
from torch import Tensor

from compressed_lens.lm.inside.anatomy import Anatomy

_ROWS = 128
_ELEMENTS = 1 << 22
_SMALL = 0.5
_LARGE = 1e6
# The bound is rounded, too: what it is raised by, relative and absolute.
_SLACK = (1e-5, 1e-6)


@dataclass(frozen=True, kw_only=True)
class Base:
    """States that vectors are added to, read out.

    Attributes:
        prompts: Whose state it is [states].
        log_probabilities: Of every token under the frozen read-out [states, vocabulary].
        target: Of the prompt's target [states].
        others: Log of the probability of all other tokens together [states].
        away: Vector u with u @ v = c of the bound [states, width].
    """

    prompts: Tensor
    log_probabilities: Tensor
    target: Tensor
    others: Tensor
    away: Tensor

    def bound(self, moves: Tensor, states: slice) -> Tensor:
        """Return what no increase over the given states exceeds, for c = `moves` [states, n]."""
        others, target = self.others[states, None], self.target[states, None]
        near = others.exp() * torch.expm1(moves)
        bound = torch.where(near > -_SMALL, -torch.log1p(near), -torch.logaddexp(target, others + moves))
        return bound + _SLACK[0] * bound.abs() + _SLACK[1]


class ReadOut:
    """The frozen read-out of a batch of prompts.

    Args:
        anatomy: The model's parts.
        last: What leaves the last block at each prompt's last token [prompts, width].
        targets: Token each prompt is asked about.
        scales: What the final norm divides by, for each prompt; None for what it divides `last` by.

    Attributes:
        targets: Token each prompt is asked about [prompts].
        scale: What the final norm divides by [prompts].
    """

    def __init__(
        self,
        anatomy: Anatomy,
        last: Tensor,
        targets: Sequence[int],
        *,
        scales: Sequence[float | None] = (),
    ) -> None:
        frozen = anatomy.frozen(last.float())
        told = [scale or own for scale, own in zip_longest(scales, frozen.scale.tolist())]
        self.scale = torch.tensor(told, device=last.device)
        self._frozen = replace(frozen, scale=self.scale)
        self._matrix = anatomy.unembedding
        bias = anatomy.unembedding_bias
        self._shift = self._matrix @ self._frozen.bias + (0.0 if bias is None else bias)
        self.targets = torch.tensor(list(targets), device=last.device)

    @property
    def room(self) -> int:
        """How many vectors are read out at a time: enough for a fast matrix product, few enough to be held."""
        return max(1, min(_ROWS, _ELEMENTS // len(self._matrix)))

    def select(self, prompts: Tensor) -> ReadOut:
        """Return the read-out of some of the prompts."""
        part = object.__new__(ReadOut)
        part._matrix, part._shift = self._matrix, self._shift
        part.targets, part.scale = self.targets[prompts], self.scale[prompts]
        part._frozen = replace(self._frozen, scale=part.scale)
        return part

    def base(self, states: Tensor, prompts: Tensor) -> Base:
        """Read states [states, width] of prompts [states] out."""
        logs = (self._frozen.linear(states.float(), prompts) @ self._matrix.T).add_(self._shift)
        logs.sub_(logs.logsumexp(dim=-1, keepdim=True))
        targets = self.targets[prompts]
        places = targets[:, None]
        target = logs.gather(1, places)
        # 1 - p of a likely target has lost its digits: the others are summed without it.
        others = logs.scatter_(1, places, -torch.inf).logsumexp(dim=-1, keepdim=True)
        away = self._frozen.adjoint((logs - others).exp_() @ self._matrix - self._matrix[targets], prompts)
        logs.scatter_(1, places, target)
        return Base(prompts=prompts, log_probabilities=logs, target=target[:, 0], others=others[:, 0], away=away)

    def increases(self, base: Base, vectors: Tensor, states: Tensor) -> Tensor:
        """Return the exact increase [n] of vectors [n, width], each added to one of the states [n].

        States in order make it fast.
        """
        parts = zip(torch.split(vectors, self.room), torch.split(states, self.room), strict=True)
        return torch.cat([self._some(base, some, rows) for some, rows in parts])

    def _some(self, base: Base, vectors: Tensor, states: Tensor) -> Tensor:
        moved = self._moved(vectors, base.prompts[states]).expm1_()
        found = torch.empty(len(vectors), device=vectors.device)
        start = 0
        runs, sizes = torch.unique_consecutive(states, return_counts=True)
        for state, size in zip(runs.tolist(), sizes.tolist(), strict=True):
            found[start : start + size] = moved[start : start + size] @ base.log_probabilities[state].exp()
            start += size
        # 1 + a sum near -1 has lost its digits, and a huge one has overflowed: take those by logarithms.
        hard = ~((found > -_SMALL) & (found < _LARGE))
        found = -torch.log1p(found)
        if hard.any():
            rows = states[hard]
            del moved
            found[hard] = -(
                self._moved(vectors[hard], base.prompts[rows]).add_(base.log_probabilities[rows]).logsumexp(dim=-1)
            )
        return found

    def _moved(self, vectors: Tensor, prompts: Tensor) -> Tensor:
        """Return how far each vector moves every token's logit past the target's [n, vocabulary]."""
        logits = self._frozen.linear(vectors, prompts) @ self._matrix.T
        own = logits.gather(1, self.targets[prompts][:, None])
        return logits.sub_(own)
