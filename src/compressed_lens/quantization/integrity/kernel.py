"""Checks on the kernel: it computes what its dequantized weights say, forwards and backwards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compressed_lens.quantization.integrity.findings import Finding, Limits, finding
from compressed_lens.quantization.integrity.forward import Gradients, divergence, gradients, logits, losses_of
from compressed_lens.quantization.integrity.probes import Length, ProbeSet

_LENGTHS: tuple[Length, ...] = ("short", "long")
_KERNEL_ERRORS = (RuntimeError, AssertionError, ValueError, TypeError, IndexError)
_SAFE = (
    "load it with a safe kernel (bitsandbytes: support_avx512bf16_for_cpu = False on every Linear4bit; GPTQ and AWQ "
    "files: the torch backend), or dequantized"
)


def answers(module: nn.Module, probes: ProbeSet) -> tuple[Finding, float]:
    """Find out whether the model runs, with finite logits, on the fixed text and on one probe of each length.

    Returns:
        The finding, and the mean loss per token of the fixed text in nats (NaN if the model does not run).

    Raises:
        torch.OutOfMemoryError: Memory ran out, which says nothing about the variant.
    """
    sequences = [*(p.ids for length in _LENGTHS for p in probes.of(length)[:1]), *probes.texts]
    name = "finite logits"
    try:
        found = [_finite_and_loss(module, ids) for ids in sequences]
    except torch.OutOfMemoryError:
        raise
    except _KERNEL_ERRORS as error:
        return finding(name, "broken", f"The model cannot be run: {_said_by(error)}; {_SAFE}."), math.nan
    loss = float(torch.cat([losses for _, losses in found[-len(probes.texts) :]]).mean())
    bad = sum(not finite for finite, _ in found)
    if not bad:
        said = f"All logits of {len(sequences)} texts are finite."
        return finding(name, "sound", said, value=0, limit=0), loss
    said = (
        f"{bad} of {len(sequences)} texts give NaN or infinite logits: this variant cannot answer anything. "
        "If the weights are finite, load it with dtype float32 or bfloat16."
    )
    return finding(name, "broken", said, value=bad, limit=0), loss


def _finite_and_loss(module: nn.Module, ids: Sequence[int]) -> tuple[bool, Tensor]:
    given = logits(module, ids)
    return bool(given.isfinite().all()), losses_of(given, ids)


def agreement(module: nn.Module, dense: nn.Module, probes: ProbeSet, limits: Limits) -> Iterator[Finding]:
    """Yield, for short and long probes apart, how far the variant's logits are from its dense weights'."""
    rough = rounds_activations(module) or computes_in_half(module)
    for length in _LENGTHS:
        asked = probes.of(length)
        if not asked:
            yield finding(
                f"kernel logits, {length} prompts", "skipped", f"The model's context holds no {length} prompt."
            )
            continue
        pairs = [(logits(module, p.ids), logits(dense, p.ids)) for p in asked]
        distance = max(float(((a - b).abs().amax(-1) / b.std(-1).clamp_min(1e-6)).max()) for a, b in pairs)
        apart = float(torch.cat([divergence(b, a) for a, b in pairs]).mean())
        yield _kernel(
            f"kernel logits, {length} prompts",
            f"On {length} prompts a logit of the packed kernel is up to {distance:.3g} standard deviations from what "
            "its dequantized weights give",
            distance,
            limits.kernel_logits_half if rough else limits.kernel_logits,
        )
        yield _kernel(
            f"kernel divergence, {length} prompts",
            f"On {length} prompts the packed kernel's predictions differ from its dequantized weights' by "
            f"{apart:.3g} nats (KL)",
            apart,
            limits.kernel_divergence_half if rough else limits.kernel_divergence,
        )


def _kernel(check: str, said: str, value: float, limit: float) -> Finding:
    if value <= limit:
        return finding(check, "sound", f"{said}.", value=value, limit=limit)
    return finding(check, "broken", f"{said}: the kernel is wrong, not the weights; {_SAFE}.", value=value, limit=limit)


def live_gradients(module: nn.Module, dense: nn.Module | None, probes: ProbeSet, limits: Limits) -> Iterator[Finding]:
    """Yield findings on gradients, taken after no-grad forwards: some kernels repack then and lose them.

    Without `dense` (a full-precision model) they are only checked for being alive.
    """
    asked = [p for length in _LENGTHS for p in probes.of(length)[2:4]]
    targets = [int(logits(dense or module, p.ids)[-1].argmax()) for p in asked]
    try:
        ours = [gradients(module, p.ids, t) for p, t in zip(asked, targets, strict=True)]
    except torch.OutOfMemoryError:
        raise
    except _KERNEL_ERRORS as error:
        yield finding("live gradients", "broken", f"The model cannot be differentiated: {_said_by(error)}; {_SAFE}.")
        return
    change = min(_smallest_change(g) for g in ours)
    alive = change > limits.gradient_change
    yield finding(
        "live gradients",
        "sound" if alive else "broken",
        f"Going back through a layer changes the gradient by at least {change:.2g} of its size."
        if alive
        else f"The gradient goes back through a layer unchanged ({change:.2g}): its attention and MLP paths are dead, "
        f"and only the residual stream is seen by analyses that need gradients; {_SAFE}.",
        value=change,
        limit=limits.gradient_change,
    )
    if dense is None:
        return
    rough = rounds_activations(module) or computes_in_half(module)
    truth = [gradients(dense, p.ids, t) for p, t in zip(asked, targets, strict=True)]
    pairs = [(a.embeddings, b.embeddings) for a, b in zip(ours, truth, strict=True)]
    norms = [(float(a.norm()), float(b.norm())) for a, b in pairs]
    worst = max(norms, key=lambda n: abs(n[0] / max(n[1], 1e-30) - 1.0))
    off = abs(worst[0] / max(worst[1], 1e-30) - 1.0)
    yield _kernel(
        "gradient norm",
        f"The kernel gives gradients of norm {worst[0]:.3g} at the embeddings where its dequantized weights give "
        f"{worst[1]:.3g}",
        off,
        limits.gradient_ratio_half if rough else limits.gradient_ratio,
    )
    turned = 1.0 - min(float(torch.cosine_similarity(a.flatten(), b.flatten(), dim=0)) for a, b in pairs)
    cosine = limits.gradient_cosine_half if rough else limits.gradient_cosine
    yield _kernel(
        "gradient direction",
        f"The kernel's gradient and its dequantized weights' have a cosine of {1.0 - turned:.5f}",
        turned,
        1.0 - cosine,
    )


def _smallest_change(found: Gradients) -> float:
    stages = [found.embeddings, *found.layers]
    changes = [
        float((below - above).norm() / below.norm().clamp_min(1e-30))
        for below, above in zip(stages, stages[1:], strict=False)
        if below.shape == above.shape
    ]
    return min(changes, default=1.0)


def computes_in_half(module: nn.Module) -> bool:
    """Return whether the model computes in float16 or bfloat16."""
    dtype: Any = next(p.dtype for p in module.parameters() if p.is_floating_point() and p.element_size() > 1)
    return dtype in (torch.float16, torch.bfloat16)


def rounds_activations(module: nn.Module) -> bool:
    """Return whether the layers round their inputs: W8A8, FP8, and LLM.int8() (in float16, or int8 on a GPU)."""
    schemes = (getattr(m, "quantization_scheme", None) for m in module.modules())
    return any(s is not None and s.input_activations is not None for s in schemes) or any(
        type(m).__name__ == "Linear8bitLt" for m in module.modules()
    )


def _said_by(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
