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
from compressed_lens.quantization.integrity.forward import continuation, token_losses
from compressed_lens.quantization.integrity.probes import ProbeSet, paragraphs
from compressed_lens.quantization.integrity.weights import fake_quantized

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel

_CONTINUED = 6
_NEW_TOKENS = 24
_CYCLE = 3


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
        return finding(name, "degraded", f"{stuck}: the model can hardly write.", value=share, limit=limit)
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
    than = "" if normal is None else f" against {normal:.0%} at full precision"
    return finding(
        name,
        "degraded",
        f"{stuck}{than}. Its dequantized weights do the same ({honest:.0%}), so the bits were lost honestly: "
        "expect low scores.",
        value=share if normal is None else share - normal,
        limit=limit,
    )


def loss(module: nn.Module, texts: Sequence[Sequence[int]]) -> float:
    """Return the mean loss per token over `texts`, in nats; its exponential is the perplexity."""
    return float(torch.cat([token_losses(module, t) for t in texts]).mean())


def plain_loss(module: nn.Module, probes: ProbeSet, limits: Limits) -> Finding:
    """Judge a model with nothing to compare it to: it must read English in order better than shuffled.

    Loss alone says little (a model of another kind of text is worse than a uniform guess on English, and sound); a
    wrong tokenizer or scrambled weights make the order of the tokens worthless and the model confidently wrong.
    """
    ordered, shuffled = loss(module, probes.texts), loss(module, probes.shuffled)
    uniform = math.log(module.config.get_text_config().vocab_size)  # type: ignore[union-attr,operator]
    gain = shuffled - ordered
    said = f"Perplexity {_perplexity(ordered)} on the fixed text; its order saves {gain:.2f} nats per token"
    name = "perplexity"
    if gain >= limits.order_gain:
        return finding(name, "sound", f"{said}.", value=gain, limit=limits.order_gain)
    if ordered - uniform > limits.beyond_uniform or not math.isfinite(ordered):
        return finding(
            name,
            "broken",
            f"{said}, and it is worse than a uniform guess ({_perplexity(uniform)}): the model is confidently wrong "
            "about plain English, as with another model's tokenizer or damaged weights. Check the tokenizer files.",
            value=gain,
            limit=limits.order_gain,
        )
    return finding(
        name,
        "degraded",
        f"{said}: the model looks untrained, or does not know English.",
        value=gain,
        limit=limits.order_gain,
    )


def compared_loss(candidate: nn.Module, base: nn.Module, probes: ProbeSet, limits: Limits) -> Finding:
    """Hold the variant's loss against full precision's and, if it is higher, against honest rounding's.

    Honest rounding is the base with round-to-nearest weights at the bits and groups of the variant's own layers:
    what anybody gets without any skill. Only a variant clearly worse than that is broken.
    """
    ours, full = loss(candidate, probes.texts), loss(base, probes.texts)
    excess = ours - full
    name = "perplexity"
    said = f"Perplexity {_perplexity(ours)} on the fixed text, {_perplexity(full)} at full precision"
    if excess <= limits.degraded_loss:
        return finding(name, "sound", f"{said}.", value=excess, limit=limits.degraded_loss)
    rounded = loss(fake_quantized(copy.deepcopy(base), linear_layers(candidate)), probes.texts)
    allowed = limits.loss_slack + limits.loss_factor * max(0.0, rounded - full)
    said = f"{said}, {_perplexity(rounded)} with its weights plainly rounded to the same bits"
    if excess <= allowed:
        return finding(
            name,
            "degraded",
            f"{said}: an honest loss of accuracy at these bits; expect lower scores.",
            value=excess,
            limit=allowed,
        )
    return finding(
        name,
        "broken",
        f"{said}: far worse than these bits explain. The checkpoint or its kernel is damaged; quantize again, "
        "or load it dequantized.",
        value=excess,
        limit=allowed,
    )


def _perplexity(nats: float) -> str:
    return f"{math.exp(min(nats, 700.0)):.3g}" if math.isfinite(nats) else "not a number"
