"""Checks that the parts of a model add up to what it computes, on a short text of arbitrary tokens."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from compressed_lens.lm.forward import Passes
from compressed_lens.lm.inside.anatomy import Anatomy
from compressed_lens.lm.inside.suffix import Entry, Suffix
from compressed_lens.lm.inside.writers import ffn_output, heads_output

_TOKENS = 6
_ROUNDING = {torch.float32: 2e-3, torch.float64: 1e-5}
_COARSE = 0.05


def prove(anatomy: Anatomy, passes: Passes) -> str:
    """Return what does not hold for this model, or "" when all of it does."""
    return next(_faults(anatomy, passes), "")


def _faults(anatomy: Anatomy, passes: Passes) -> Iterator[str]:
    row = [(7 * n + 3) % passes.vocabulary for n in range(_TOKENS)]
    logits, _ = passes.start([row])
    one = Suffix.of(anatomy, passes, [row], look=("attention", "ffn", "neurons", "weights"))
    near = _Near(_ROUNDING.get(one.states[0].dtype, _COARSE))
    own = anatomy.logits(one.states[-1])
    if not near(own[:, -1], logits[:, -1]):
        yield "final norm and unembedding do not give the model's logits"
    frozen = anatomy.frozen(one.states[-1][:, -1])
    read = anatomy.final_norm(one.states[-1][:, -1])
    if not near(frozen.linear(one.states[-1][:, -1].float()) + frozen.bias, read):
        yield "the final norm is not an affine map with a scale"
    again = one.run([Entry(block=0, prompts=torch.zeros(1, dtype=torch.long), states=one.states[0])])
    if not near(again.states, one.states[-1]):
        yield "its blocks give something else when they are run again"
    if not len(one.attention) == len(one.ffn) == len(one.weights) == len(anatomy.blocks):
        yield "a sub-layer is not called once"
        return
    for block in anatomy.blocks:
        n = block.index
        if not near(one.states[n] + one.attention[n] + one.ffn[n], one.states[n + 1]):
            yield f"block {n} does more than add what attention and feed-forward part write"
        if one.weights[n] is None or not near(heads_output(anatomy, one, n).sum(dim=1), one.attention[n][:, -1]):
            yield f"the attention of block {n} is not the sum of its heads"
        if block.down is not None and not near(ffn_output(anatomy, one, n), one.ffn[n][:, -1]):
            yield f"the feed-forward part of block {n} is not the sum of its neurons"


class _Near:
    """Equality up to a share of the largest number."""

    def __init__(self, share: float) -> None:
        self._share = share

    def __call__(self, a: Tensor, b: Tensor) -> bool:
        a, b = a.detach().float(), b.detach().float()
        return bool((a - b).abs().max() <= self._share * b.abs().max().clamp(min=1e-3))
