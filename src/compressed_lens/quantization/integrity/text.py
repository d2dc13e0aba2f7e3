"""Checks on what the variant writes and reads: its tokenizer, degenerate repetition, loss on the fixed text."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from compressed_lens.ids import digest
from compressed_lens.lm.linear import linear_layers
from compressed_lens.quantization.integrity.findings import Finding, Limits, finding
from compressed_lens.quantization.integrity.forward import continuation, divergence, logits, losses_of, token_losses
from compressed_lens.quantization.integrity.probes import ProbeSet, paragraphs
from compressed_lens.quantization.integrity.weights import fake_quantized

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel

_CONTINUED = 5
_NEW_TOKENS = 20
_CYCLE = 3
_ALMOST_ALL = 0.9


def tokenizer(candidate: HFModel, base: HFModel | None) -> Iterator[Finding]:
    """Yield findings on the tokenizer: the same as the base's, and able to give back what it read."""
    own: Any = candidate.tokenizer
    rows = candidate.module.get_input_embeddings().weight.shape[0]
    vocabulary = own.get_vocab()
    highest = max(vocabulary.values())
    if highest >= rows and max(own(t).input_ids and max(own(t).input_ids) for t in paragraphs()) >= rows:
        yield finding(
            "tokenizer fits the model",
            "broken",
            f"The tokenizer gives ids up to {highest}, but the model has {rows} embeddings: this is another model's "
            "tokenizer. Put the base model's tokenizer files into the variant's folder.",
            value=highest,
            limit=rows - 1,
        )
        return
    if base is not None:
        yield _same_tokenizer(own, base.tokenizer)
    lost = [t for t in paragraphs() if _plain(own.decode(own(t).input_ids, skip_special_tokens=True)) != _plain(t)]
    share = len(lost) / len(paragraphs())
    yield finding(
        "tokenizer round trip",
        "degraded" if lost else "sound",
        f"{len(lost)} of {len(paragraphs())} paragraphs of plain English come back changed from the tokenizer"
        + (": texts shown to this model lose characters." if lost else "."),
        value=share,
        limit=0.0,
    )


def _same_tokenizer(own: Any, other: Any) -> Finding:
    ours, theirs = own.get_vocab(), other.get_vocab()
    if ours != theirs:
        moved = sorted(t for t in ours.keys() | theirs.keys() if ours.get(t) != theirs.get(t))
        differs = f"{len(moved)} vocabulary entries differ, for instance {moved[:2]}"
    elif (a := _special(own)) != (b := _special(other)):
        differs = f"the special tokens are {a}, the base model's are {b}"
    elif own.chat_template != other.chat_template:
        differs = "the chat templates differ"
    elif any(own(t).input_ids != other(t).input_ids for t in paragraphs()):
        differs = "the same text is cut into other tokens"
    else:
        return finding(
            "tokenizer is the base's", "sound", f"Same vocabulary ({digest(ours)}), special tokens and chat template."
        )
    return finding(
        "tokenizer is the base's",
        "broken",
        f"The variant's tokenizer is not the base model's: {differs}. Copy the base model's tokenizer files into the "
        "variant's folder.",
    )


def _special(tokenizer: Any) -> dict[str, int | None]:
    return {name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "unk")}


def _plain(text: str) -> str:
    return "".join(text.casefold().split())


def degenerate(ids: Sequence[int]) -> bool:
    """Return whether a continuation is stuck: id 0 half of the time, or its second half a cycle of 1 to 3 tokens.

    Example: "!!!!!!!!", or "the the the the the".
    """
    if len(ids) < 4 * _CYCLE:
        return False
    if sum(i == 0 for i in ids) * 2 >= len(ids):
        return True
    tail = ids[len(ids) // 2 :]
    return any(all(a == b for a, b in zip(tail, tail[period:], strict=False)) for period in range(1, _CYCLE + 1))


def degenerate_share(module: nn.Module, probes: ProbeSet) -> float:
    """Return the share of greedy continuations of short and long probes that are stuck."""
    asked = [p for length in ("short", "long") for p in probes.of(length)[:_CONTINUED]]
    return sum(degenerate(continuation(module, p.ids, _NEW_TOKENS)) for p in asked) / max(1, len(asked))


def repetition(
    module: nn.Module, base: nn.Module | None, dense: nn.Module | None, probes: ProbeSet, limits: Limits
) -> Finding:
    """Hold the share of stuck continuations against the base's; if it is higher, against the dense weights' own.

    Args:
        module: The variant.
        base: The full-precision model, if known.
        dense: The variant with dense weights; None for a full-precision model.
        probes: What is continued.
        limits: Where sound ends.
    """
    share = degenerate_share(module, probes)
    limit = limits.repetition_excess
    name = "degenerate repetition"
    stuck = f"{share:.0%} of greedy continuations are one token or a short cycle over and over"
    if share <= limit:
        return finding(name, "sound", f"{stuck}.", value=share, limit=limit)
    normal = degenerate_share(base, probes) if base is not None else None
    if normal is not None and share - normal <= limit:
        return finding(name, "sound", f"{stuck}; at full precision {normal:.0%}.", value=share - normal, limit=limit)
    if dense is None:
        return _by_itself(name, stuck, share)
    honest = degenerate_share(dense, probes)
    if share - honest > limit:
        return finding(
            name,
            "broken",
            f"{stuck}, but only {honest:.0%} with the same weights dequantized: the packed kernel is at fault. "
            "Load the variant with another kernel, or dequantized.",
            value=share - honest,
            limit=limit,
        )
    if normal is None:
        return _by_itself(name, stuck, share)
    return finding(
        name,
        "degraded",
        f"{stuck} against {normal:.0%} at full precision. Its dequantized weights do the same ({honest:.0%}), so the "
        "bits were lost honestly: expect low scores.",
        value=share - normal,
        limit=limit,
    )


def _by_itself(name: str, stuck: str, share: float) -> Finding:
    """Judge repetition with nothing to compare it to: small models repeat themselves on texts they do not know."""
    able = share < _ALMOST_ALL
    said = f"{stuck}." if able else f"{stuck}: the model can hardly write."
    return finding(name, "sound" if able else "degraded", said, value=share, limit=_ALMOST_ALL)


def loss(module: nn.Module, texts: Sequence[Sequence[int]]) -> float:
    """Return the mean loss per token over `texts`, in nats; its exponential is the perplexity."""
    return float(torch.cat([token_losses(module, t) for t in texts]).mean())


def plain_loss(module: nn.Module, ordered: float, probes: ProbeSet, limits: Limits) -> Finding:
    """Judge a model with nothing to compare it to: it should read English in order better than shuffled.

    Loss alone says little: a model of another kind of text is worse than a uniform guess on English, and sound. A wrong
    tokenizer or scrambled weights make the order worthless, but so does a lack of English, so this only warns.
    `ordered` is the loss on the fixed text, from `kernel.answers`.
    """
    gain = loss(module, probes.shuffled) - ordered
    said = f"Perplexity {_perplexity(ordered)} on the fixed text; its order saves {gain:.2f} nats per token"
    if gain >= limits.order_gain:
        return finding("perplexity", "sound", f"{said}.", value=gain, limit=limits.order_gain)
    return finding(
        "perplexity",
        "degraded",
        f"{said}: the model knows no English, is untrained, or has another model's tokenizer.",
        value=gain,
        limit=limits.order_gain,
    )


def compared_with_base(module: nn.Module, base: nn.Module, probes: ProbeSet, limits: Limits) -> Iterator[Finding]:
    """Yield the variant's loss and its divergence from full precision, held against honest rounding's.

    Honest rounding is the base with round-to-nearest weights at the bits and groups of the variant's own layers:
    what anybody gets without any skill. Only a variant clearly farther from the base than that is broken. The judge
    is the divergence, not the loss: on text a model does not know, noise can lower the loss.
    """
    full, ours, divergence = _against(base, module, probes.texts)
    excess = ours - full
    worse = excess > limits.excess_loss
    yield finding(
        "perplexity",
        "degraded" if worse else "sound",
        f"Perplexity {_perplexity(ours)} on the fixed text, {_perplexity(full)} at full precision"
        + (": expect lower scores." if worse else "."),
        value=excess,
        limit=limits.excess_loss,
    )
    name = "divergence from full precision"
    said = f"Predictions are {divergence:.3g} nats (KL) from full precision's"
    allowed = limits.divergence_slack
    if divergence <= allowed:
        yield finding(name, "sound", f"{said}.", value=divergence, limit=allowed)
        return
    rounded = fake_quantized(copy.deepcopy(base), linear_layers(module))
    *_, honest = _against(base, rounded, probes.texts)
    allowed += limits.divergence_factor * honest
    said = f"{said}, plainly rounded weights' {honest:.3g}"
    if divergence <= allowed:
        yield finding(
            name,
            "degraded",
            f"{said}: an honest loss of accuracy at these bits; expect lower scores.",
            value=divergence,
            limit=allowed,
        )
        return
    yield finding(
        name,
        "broken",
        f"{said}: far worse than these bits explain. The checkpoint or its kernel is damaged; quantize again, "
        "or load it dequantized.",
        value=divergence,
        limit=allowed,
    )


def _against(base: nn.Module, other: nn.Module, texts: Sequence[Sequence[int]]) -> tuple[float, float, float]:
    """Return the loss of both models and the mean KL(base || other) per token, in nats."""
    rows = []
    for ids in texts:
        ours, theirs = logits(base, ids), logits(other, ids)
        rows.append(torch.stack([losses_of(ours, ids), losses_of(theirs, ids), divergence(ours, theirs)[:-1]]))
    full, found, apart = torch.cat(rows, dim=1).mean(1).tolist()
    return full, found, apart


def _perplexity(nats: float) -> str:
    return f"{math.exp(min(nats, 700.0)):.3g}" if math.isfinite(nats) else "not a number"
