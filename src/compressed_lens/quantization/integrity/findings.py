"""What the gate says: findings, their limits, and the verdict. No torch here, so that a report can read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Literal

Severity = Literal["sound", "degraded", "broken", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Where sound ends. The defaults are justified, with measured margins, in docs/integrity.md.

    Limits named `..._half` replace their namesake where the model computes in float16 or bfloat16, or
    where its layers round activations: such kernels honestly differ from the dense weights a little.

    Attributes:
        kernel_logits: Largest |logit of the variant - logit of its dense weights|, over the standard deviation
            of the dense logits over the vocabulary at that position.
        kernel_divergence: Mean KL(dense weights || variant) per position, in nats.
        gradient_ratio: Largest |norm of the variant's gradient / norm of the dense one - 1|.
        gradient_cosine: Smallest cosine between the two.
        gradient_change: Smallest relative change of the gradient between a middle layer and the embeddings.
        weight_error: Largest layer error, as a multiple of round-to-nearest's at the same bits and group.
        group_error: Largest error of one group of weights, in the same unit.
        weight_cosine: Smallest cosine between a layer's dense weight and the base's.
        repetition_excess: Largest share of degenerate continuations beyond the reference's.
        divergence_factor: Largest mean KL(full precision || variant) per token of the fixed text, as a multiple of
            what round-to-nearest weights give.
        divergence_slack: KL, in nats, that is never called broken, and from which a variant is called degraded.
        excess_loss: Loss beyond full precision's, in nats per token, from which a variant is called degraded.
        order_gain: Loss, in nats per token, that a model should save by reading tokens in their order.
    """

    kernel_logits: float = 0.2
    kernel_logits_half: float = 0.5
    kernel_divergence: float = 0.001
    kernel_divergence_half: float = 0.02
    gradient_ratio: float = 0.05
    gradient_ratio_half: float = 0.15
    gradient_cosine: float = 0.99
    gradient_cosine_half: float = 0.95
    gradient_change: float = 1e-6
    weight_error: float = 5.0
    group_error: float = 12.0
    weight_cosine: float = 0.4
    repetition_excess: float = 0.25
    divergence_factor: float = 3.0
    divergence_slack: float = 0.1
    excess_loss: float = 0.1
    order_gain: float = 0.05


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: Name of the check, e.g. "kernel logits, short prompts".
        passed: False exactly when `severity` is "broken".
        value: What was measured; None when there is no number (or it was not finite).
        limit: The limit it was held against; None when there is none.
        message: One or two plain sentences: what was found and, if it is bad, what to do.
        severity: "sound"; "degraded": an honest loss of accuracy, or something a reader should know;
            "broken": scores of this variant would not be about its weights; "skipped": could not be judged.
    """

    check: str
    passed: bool
    value: float | None
    limit: float | None
    message: str
    severity: Severity


def finding(
    check: str, severity: Severity, message: str, *, value: float | None = None, limit: float | None = None
) -> Finding:
    """Return a finding whose `passed` follows from its severity and whose value JSON can express."""
    kept = None if value is None or not isfinite(value) else float(value)
    return Finding(
        check=check, passed=severity != "broken", value=kept, limit=limit, message=message, severity=severity
    )


@dataclass(frozen=True, kw_only=True)
class Integrity:
    """The verdict on one variant.

    Attributes:
        passed: No finding is broken.
        findings: Every check, in the order made, the passed ones included.
        seconds: Wall time of the whole gate.
    """

    passed: bool
    findings: tuple[Finding, ...]
    seconds: float = 0.0

    @property
    def broken(self) -> tuple[Finding, ...]:
        """Findings that fail the gate."""
        return tuple(f for f in self.findings if f.severity == "broken")

    @property
    def degraded(self) -> tuple[Finding, ...]:
        """Findings that pass, with something a reader should know."""
        return tuple(f for f in self.findings if f.severity == "degraded")

    def summary(self) -> str:
        """Return the verdict in one line for a table: "sound", "degraded: ...", or "failed: ..."."""
        for word, group in (("failed", self.broken), ("degraded", self.degraded)):
            if group:
                return f"{word}: {'; '.join(f.check for f in group)}"
        return "sound"

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary of JSON types."""
        return {"passed": self.passed, "findings": [asdict(f) for f in self.findings], "seconds": self.seconds}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Integrity:
        """Return the verdict `to_json` wrote."""
        return cls(
            passed=value["passed"],
            findings=tuple(Finding(**f) for f in value["findings"]),
            seconds=value.get("seconds", 0.0),
        )
