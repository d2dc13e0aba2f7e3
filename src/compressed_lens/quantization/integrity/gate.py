"""Runs the checks in the order in which each makes sense, and gives the verdict."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from compressed_lens.lm.protocol import Prompt
from compressed_lens.quantization.integrity.findings import Finding, Integrity, Limits, finding

if TYPE_CHECKING:
    from torch import nn

    from compressed_lens.lm.hf import HFModel
    from compressed_lens.quantization.audit import Audit


def check(
    candidate: HFModel,
    base: HFModel | None,
    *,
    audit: Audit | None = None,
    full: bool = False,
    probes: Sequence[Prompt] | None = None,
    limits: Limits | None = None,
) -> Integrity:
    """Find out whether a variant is sound before anything is scored with it.

    Works on any device. Holds one dense copy of the candidate in memory while it runs, and for a variant that lost
    more than a little accuracy a rounded copy of the base. Both models are left as they were.

    Args:
        candidate: The loaded variant.
        base: The same model in full precision; None when it is not at hand, which leaves out the comparisons with it.
        audit: The quantizer's own account; with it, one layer left unquantized without being named is a failure.
        full: Whether the candidate has full-precision weights (a placebo has, too): nothing about kernels and bits is
            then asked.
        probes: Prompts of the study's tasks, to be tried next to the fixed ones.
        limits: Where sound ends.

    Returns:
        Every finding, passed or not. A broken one fails the gate; a degraded one is an honest loss of accuracy.
    """
    started = time.perf_counter()
    found = tuple(_findings(candidate, base, limits or Limits(), audit=audit, full=full, extra=tuple(probes or ())))
    passed = all(f.passed for f in found)
    return Integrity(passed=passed, findings=found, seconds=time.perf_counter() - started)


def _findings(
    candidate: HFModel,
    base: HFModel | None,
    limits: Limits,
    *,
    audit: Audit | None,
    full: bool,
    extra: tuple[Prompt, ...],
) -> Iterator[Finding]:
    from compressed_lens.lm.linear import dense_copy
    from compressed_lens.quantization.integrity import kernel, text, weights
    from compressed_lens.quantization.integrity.probes import build

    module = candidate.module
    if not full:
        yield weights.quantized_at_all(module, left_out(module), strict=audit is not None)
        if audit is not None and audit.base_bytes is not None:
            yield weights.smaller(audit.bytes_on_disk, audit.base_bytes, audit.bits_per_weight)
    reading = list(text.tokenizer(candidate, base))
    yield from reading
    numbers = weights.finite(module)
    yield numbers
    if not (numbers.passed and all(f.passed or f.check != "tokenizer fits the model" for f in reading)):
        yield _unasked("every check that runs the model")
        return
    asked = build(candidate, extra)
    answering, read = kernel.answers(module, asked)
    yield answering
    if not answering.passed:
        yield _unasked("every check on logits, gradients and text")
        return
    dense = None if full else dense_copy(module)
    if dense is not None:
        yield from kernel.agreement(module, dense, asked, limits)
    yield text.repetition(module, None if base is None else base.module, dense, asked, limits)
    yield from kernel.live_gradients(module, dense, asked, limits)
    if base is None:
        yield text.plain_loss(module, read, asked, limits)
        return
    del dense
    yield from weights.near_the_base(module, base.module, limits)
    yield from text.compared_with_base(module, base.module, asked, limits)


def _unasked(what: str) -> Finding:
    return finding(what, "skipped", "Not tried: what failed above already rules the variant out.")


def left_out(module: nn.Module) -> frozenset[str]:
    """Return the linear layers the checkpoint's own configuration says were left in full precision."""
    from compressed_lens.lm.linear import linear_layers

    config: Any = getattr(module.config, "quantization_config", None)
    if config is None:
        return frozenset()
    raw = config if isinstance(config, dict) else config.to_dict()
    raw = raw.get("quantization_config") or raw
    named = [
        entry
        for key in ("ignore", "modules_to_not_convert", "llm_int8_skip_modules")
        for entry in raw.get(key) or ()
        if isinstance(entry, str)
    ]
    return frozenset(n for n in linear_layers(module) if any(_names(entry, n) for entry in named))


def _names(entry: str, layer: str) -> bool:
    if entry.startswith("re:"):
        return re.match(entry[3:], layer) is not None
    return layer == entry or layer.startswith(f"{entry}.") or layer.endswith(f".{entry}") or f".{entry}." in layer
