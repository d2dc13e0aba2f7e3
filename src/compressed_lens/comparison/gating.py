"""Variants held against a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compressed_lens.comparison.series import FULL, Variant
from compressed_lens.comparison.uses import USES, UseVerdict
from compressed_lens.errors import StudyError
from compressed_lens.registry import nearest
from compressed_lens.study.policy import EVERY_USE, Policy, Required

_RANK = {"worse": -1, "undecided": 0, "non-inferior": 1, "equivalent": 2}
_PATTERN = frozenset("*?[")
_LEAST: dict[Required, int] = {"not worse": 0, "non-inferior": 1, "equivalent": 2}


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """One use of one variant against the policy.

    Attributes:
        required: What the policy wants; None for the rulings on the variant as a whole, whose `use` is None, too.
        passed: Whether it holds.
        reason: What it rests on, in one sentence.
    """

    model: str
    variant: str
    use: UseVerdict | None
    required: Required | None
    passed: bool
    reason: str

    @property
    def name(self) -> str:
        """What was ruled on."""
        return "integrity" if self.use is None else USES[self.use.use]


def rulings(
    verdicts: Sequence[UseVerdict], variants: Sequence[Variant], policy: Policy | None = None
) -> tuple[Ruling, ...]:
    """Hold variants against a policy: for each its integrity, then its uses.

    Args:
        verdicts: What `use_verdicts` returns.
        variants: The run's variants. Full precision and placebos are no candidates.
        policy: The policy. By default every use that was measured must be non-inferior, one at least.

    Raises:
        StudyError: The policy chooses no variant of the run, or names one that it has not.
    """
    candidates = [v for v in variants if v.name != FULL and not v.placebo]
    chosen = [v for v in candidates if policy is None or policy.chooses(v.name)]
    names = dict.fromkeys(v.name for v in candidates)
    told = f"It has: {', '.join(names) or 'none'}."
    if not chosen:
        raise StudyError("The policy is for no variant of this run.", fix=told)
    # A misspelt name must not let its variant through unchecked; a pattern may be there for other runs.
    for name in () if policy is None else policy.variants:
        if not _PATTERN.intersection(name) and name not in names:
            raise StudyError(
                f"The run has no variant '{name}', which the policy names.", fix=nearest(name, names) or told
            )
    require = EVERY_USE if policy is None else policy.require
    found = []
    for variant in chosen:
        whole = _integrity(variant, variants)
        own = [use for use in verdicts if (use.model, use.variant) == (variant.model, variant.name)]
        measured = [use for use in own if use.verdict != "not measured"]
        # By default what was not measured is not required, but a variant of which nothing was does not pass for that.
        held = measured if policy is None and (measured or not whole.passed) else own
        found += [whole, *(_ruling(use, require[use.use]) for use in held if use.use in require)]
    return tuple(found)


def _integrity(variant: Variant, variants: Sequence[Variant]) -> Ruling:
    base = next((v for v in variants if v.model == variant.model and v.name == FULL), None)
    reason = ""
    if base is None or base.gate == "failed":
        reason = "Full precision failed the integrity gate." if base else "There is no full precision to compare with."
    elif variant.gate != "passed":
        told = " ".join(str(f["message"]) for f in variant.broken) or variant.reason
        reason = f"The variant {_STATES[variant.gate]}{': ' + told if told else '.'}"
    return Ruling(
        model=variant.model,
        variant=variant.name,
        use=None,
        required=None,
        passed=not reason,
        reason=reason or "The variant passed the integrity gate.",
    )


_STATES = {
    "failed": "failed the integrity gate",
    "unavailable": "could not be measured",
    "pending": "has not been run yet",
    "reference": "is full precision",
}


def _ruling(use: UseVerdict, required: Required) -> Ruling:
    passed = use.verdict in _RANK and _RANK[use.verdict] >= _LEAST[required]
    return Ruling(
        model=use.model, variant=use.variant, use=use, required=required, passed=passed, reason=_reason(use, required)
    )


def _reason(use: UseVerdict, required: Required) -> str:
    if use.verdict == "not measured":
        return f"{required} is required, and nothing of it was measured."
    counts = [f"{sum(f.verdict == word for f in use.figures)} {word}" for word in (*_RANK, "better")]
    told = ", ".join(count for count in counts if not count.startswith("0 "))
    more = f"; about {use.more:.1f} times the items would decide" if use.more else ""
    return f"{use.verdict} ({told}); {required} is required{more}."
