"""Linear relations: what the Jacobian of a relation makes of a state, by products of one vector each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad as _forward_ad
from transformers.pytorch_utils import Conv1D

from compressed_lens.errors import ModelError
from compressed_lens.lm.inside.inside import Inside
from compressed_lens.lm.inside.suffix import Entry, Suffix
from compressed_lens.lm.inspections import LinearRelation
from compressed_lens.lm.linear import linear_layers
from compressed_lens.lm.protocol import Inspect, Prompt

forward_ad: Any = _forward_ad  # untyped


@dataclass(frozen=True, kw_only=True)
class _Spot:
    """A prompt, the place of its subject's last token, and the number of that token's state."""

    ids: tuple[int, ...]
    place: int
    layer: int

    @property
    def tokens(self) -> int:
        """Number of tokens from the subject's last on."""
        return len(self.ids) - self.place


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """One request, read: the spot of the test subject, those of the training pairs, and the target's first token."""

    by: LinearRelation
    spot: _Spot
    examples: tuple[_Spot, ...]
    token: int


@dataclass(kw_only=True)
class _Found:
    """What is known of the spots so far, on the CPU.

    Attributes:
        states: State of the subject's last token [width].
        ends: What leaves the last block at the prompt's last token [width].
        tops: The model's own likeliest next token.
        products: Jacobian of the end of a training pair (first) times the state of a spot (second) [width].
    """

    states: dict[_Spot, Tensor] = field(default_factory=dict)
    ends: dict[_Spot, Tensor] = field(default_factory=dict)
    tops: dict[_Spot, int] = field(default_factory=dict)
    products: dict[tuple[_Spot, _Spot], Tensor] = field(default_factory=dict)


def run(inside: Inside, requests: Sequence[Inspect], *, batch_tokens: int) -> list[dict[str, Any]]:
    """Answer `LinearRelation` requests; training pairs they share are run once."""
    asked = [_read(inside, request) for request in requests]
    found = _Found()
    # Each pair's Jacobian is needed at every test subject's state, and at its own for the constant.
    wanted = list(dict.fromkeys((pair, spot) for one in asked for pair in one.examples for spot in (pair, one.spot)))
    spots = list(dict.fromkeys(spot for one in asked for spot in (one.spot, *one.examples)))
    # Only this way of attention has a forward derivative, and the derivative should be that of what is run.
    with inside.anatomy.eager():
        _look(inside, spots, found, batch_tokens)
        _multiply(inside, wanted, found, batch_tokens)
    return [_values(inside, one, found) for one in asked]


def check(inside: Inside, request: Inspect) -> None:
    """Check that a `LinearRelation` has training pairs and starts from a state of the model.

    Raises:
        ModelError: It does not.
    """
    _read(inside, request)


def product(one: Suffix, entry: Entry, vectors: Tensor, columns: Tensor, *, forward: bool) -> Tensor:
    """Return, for every row, the Jacobian of what leaves the last block at the last token times a vector [rows, width].

    Args:
        one: The prompts, run with eager attention.
        entry: Rows and what enters their block.
        vectors: What the state at `columns` is moved along [rows, width].
        columns: The token, among the suffix's, whose state is moved [rows].
        forward: By one forward derivative; else by two backward ones, for kernels that have no forward derivative.
    """
    rows = torch.arange(len(vectors), device=vectors.device)
    tangent = torch.zeros_like(entry.states)
    tangent[rows, columns] = vectors.to(tangent.dtype)
    if forward:
        with torch.no_grad(), forward_ad.dual_level():
            moved = Entry(block=entry.block, prompts=entry.prompts, states=forward_ad.make_dual(entry.states, tangent))
            found = forward_ad.unpack_dual(one.run([moved]).states[:, -1]).tangent
            # A state that nothing reads on the way moves nothing.
            return torch.zeros_like(vectors) if found is None else found
    with torch.enable_grad():
        states = entry.states.detach().requires_grad_(True)
        ends = one.run([Entry(block=entry.block, prompts=entry.prompts, states=states)]).states[:, -1]
        # The first backward pass is linear in `along`, so its own derivative by `along` is the product.
        along = torch.zeros_like(ends, requires_grad=True)
        (back,) = torch.autograd.grad(ends, states, along, create_graph=True)
        (there,) = torch.autograd.grad(back, along, tangent)
    return there


def takes_forward(module: nn.Module) -> bool:
    """Return whether every linear layer is one that forward derivatives pass as they should.

    Packed kernels have none, and rounded activations would stop them.
    """
    for layer in linear_layers(module).values():
        scheme = getattr(layer, "quantization_scheme", None)
        rounds = scheme is not None and (scheme.input_activations is not None or scheme.output_activations is not None)
        if rounds or type(layer) not in (nn.Linear, Conv1D):
            return False
    return True


def _read(inside: Inside, request: Inspect) -> _Asked:
    by = request.by
    assert isinstance(by, LinearRelation)
    if not by.examples:
        raise ModelError("A linear relation has no training pairs.", fix="Give at least one example.")
    blocks = len(inside.anatomy.blocks)
    layer = by.layer + (blocks + 1 if by.layer < 0 else 0) if isinstance(by.layer, int) else round(by.layer * blocks)
    if not 0 <= layer <= blocks:
        raise ModelError(f"There is no layer {by.layer}.", fix=f"The states of this model have numbers 0 to {blocks}.")

    def spot(prompt: Prompt, mention: str) -> _Spot:
        return _Spot(ids=inside.reader.prompt(prompt), place=inside.reader.place(prompt, mention), layer=layer)

    return _Asked(
        by=by,
        spot=spot(request.prompt, by.mention),
        examples=tuple(spot(example.prompt, example.mention) for example in by.examples),
        token=inside.reader.first(request.prompt, by.target),
    )


def _suffix(inside: Inside, spots: Sequence[_Spot]) -> Suffix:
    tokens = max(spot.tokens for spot in spots)
    return Suffix.of(inside.anatomy, inside.passes, [spot.ids for spot in spots], tokens=tokens)


def _look(inside: Inside, spots: Sequence[_Spot], found: _Found, batch_tokens: int) -> None:
    """Run every prompt once as it is."""

    def work(batch: Sequence[int]) -> None:
        own = [spots[n] for n in batch]
        one = _suffix(inside, own)
        ends = one.states[-1][:, -1]
        with torch.no_grad():
            tops = inside.anatomy.logits(ends).argmax(dim=-1).tolist()
        for row, spot in enumerate(own):
            found.states[spot] = one.states[spot.layer][row, one.tokens - spot.tokens].float().cpu()
            found.ends[spot], found.tops[spot] = ends[row].float().cpu(), tops[row]

    lengths = [len(spot.ids) for spot in spots]
    longest = max(lengths)
    inside.each(lengths, work, min(batch_tokens, longest * inside.passes.logit_budget(batch_tokens)))


def _multiply(inside: Inside, wanted: Sequence[tuple[_Spot, _Spot]], found: _Found, batch_tokens: int) -> None:
    """Find the product of every pair's Jacobian with the state it is wanted for."""
    forward = takes_forward(inside.passes.module)

    def work(batch: Sequence[int]) -> None:
        own = [wanted[n] for n in batch]
        pairs = list(dict.fromkeys(pair for pair, _ in own))
        one = _suffix(inside, pairs)
        device = one.states[0].device
        for layer in sorted({pair.layer for pair in pairs}):
            rows = [(pair, spot) for pair, spot in own if pair.layer == layer]
            prompts = torch.tensor([pairs.index(pair) for pair, _ in rows], device=device)
            entry = Entry(block=layer, prompts=prompts, states=one.states[layer][prompts])
            vectors = torch.stack([found.states[spot] for _, spot in rows]).to(device)
            columns = torch.tensor([one.tokens - pair.tokens for pair, _ in rows], device=device)
            made = product(one, entry, vectors, columns, forward=forward).float().cpu()
            found.products.update(zip(rows, made, strict=True))

    inside.each([len(pair.ids) for pair, _ in wanted], work, batch_tokens)


def _values(inside: Inside, one: _Asked, found: _Found) -> dict[str, Any]:
    linear = torch.stack([found.products[pair, one.spot] for pair in one.examples]).mean(dim=0)
    constant = torch.stack([found.ends[pair] - found.products[pair, pair] for pair in one.examples]).mean(dim=0)
    mapped = torch.tensor(one.by.betas)[:, None] * linear + constant
    anatomy = inside.anatomy
    weight = next(anatomy.final_norm.parameters(), None)
    ready = mapped.to(inside.passes.device) if weight is None else mapped.to(weight)
    with torch.no_grad():
        logits = anatomy.logits(ready)
    own = logits[:, one.token]
    tops = logits.argmax(dim=-1).tolist()
    return {
        "top": [inside.text(top) for top in tops],
        "agrees": [top == found.tops[one.spot] for top in tops],
        "rank": [int(n) for n in (1 + (logits > own[:, None]).sum(dim=-1)).tolist()],
        "log_probability": (own - logits.logsumexp(dim=-1)).tolist(),
        "predicted": inside.text(found.tops[one.spot]),
        "known": found.tops[one.spot] == one.token,
        "layer": one.spot.layer,
        "token": inside.text(one.token),
    }
