"""Reading a list of errors, each with a reduction of the score, in the form TIGERScore's checkpoints write.

The model-generated output contains 2 errors, with a total score reduction of 4.5.
Error location 1: "..."
Error aspect 1: ...
Explanation 1: ...
Severity 1: Major
Score reduction 1: 4.0
...
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = r"[-\u2212]?\d+(?:\.\d+)?"
_FIELDS = {
    "location": r"error\s+location",
    "aspect": r"(?:error\s+)?aspect",
    "explanation": r"(?:error\s+)?explanation",
    "severity": r"(?:error\s+)?severity",
    "reduction": r"score\s+reduction|reduction(?:\s+of\s+(?:the\s+)?score)?",
}
_HEADING = re.compile(
    r"(?:^|(?<=[,;|]))[\s*_#>\-\u2022]*(?:\d+[.)][\s*_]*)?(?:"
    + "|".join(f"(?P<{name}>{pattern})" for name, pattern in _FIELDS.items())
    + r")[\s*_#]*\d*[\s*_]*:[ \t*_]*",
    re.IGNORECASE | re.MULTILINE,
)
_AMOUNT = re.compile(rf"[\s\"'(]*({_NUMBER})")
_TOTAL = re.compile(
    rf"total\s+(?:score\s+)?reduction(?:\s+of\s+(?:the\s+)?score)?[\s*_]*(?:of|is|[:=])[\s*_]*({_NUMBER})",
    re.IGNORECASE,
)
_COUNT = re.compile(r"\bcontains?\s+(\d+|no|zero)\s+(?:\w+\s+)?errors?\b", re.IGNORECASE)
_NONE = re.compile(
    r"\b(?:no|zero|0)\s+(?:\w+\s+)?errors?\b|\bno\s+mistakes?\b|\b(?:free of|without(?: any)?)\s+errors?\b",
    re.IGNORECASE,
)
_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class ListedError:
    """One error of the list; a part that is not there is "".

    Attributes:
        reduction: Points taken off, at least 0, as written (a minus sign in front is notation); None where no number
            follows.
    """

    location: str
    aspect: str
    explanation: str
    severity: str
    reduction: float | None


@dataclass(frozen=True, kw_only=True)
class ErrorList:
    """What an answer says.

    Attributes:
        errors: The errors, in order.
        stated_errors: How many it says there are; None where it does not say.
        stated_total: The total it says; None where it does not say.
        broken_off: Whether errors, or reductions of errors, are missing.
    """

    errors: tuple[ListedError, ...]
    stated_errors: int | None
    stated_total: float | None
    broken_off: bool

    @property
    def itemized(self) -> float:
        """Sum of the reductions that are listed; 0 without errors."""
        return sum(error.reduction or 0.0 for error in self.errors)

    @property
    def reduction(self) -> float | None:
        """Points taken off: the itemized sum; of a list that is broken off the stated total, or None."""
        return self.stated_total if self.broken_off else self.itemized

    @property
    def total_differs(self) -> bool | None:
        """Whether the stated total is another than the itemized sum; None where none is stated."""
        return None if self.stated_total is None else abs(self.stated_total - self.itemized) > _TOLERANCE


def read_errors(answer: str) -> ErrorList | None:
    """Return the errors an answer lists, or None when it neither lists errors nor says that there are none.

    Fractions are kept, and no reduction is cut to the range that was asked for. Only the answer is read, never the
    prompt.
    """
    headings = list(_HEADING.finditer(answer))
    blocks: list[dict[str, str]] = []
    for place, heading in enumerate(headings):
        name = heading.lastgroup or ""
        end = headings[place + 1].start() if place + 1 < len(headings) else len(answer)
        if not blocks or name in blocks[-1]:
            blocks.append({})
        blocks[-1][name] = answer[heading.end() : end].strip(" \t\r\n,;|*_")
    errors = tuple(_error(block) for block in blocks)
    count, total = _COUNT.search(answer), _TOTAL.search(answer)
    stated_errors = None if count is None else int(count[1]) if count[1].isdigit() else 0
    stated_total = None if total is None else _points(total[1])
    missing = any(error.reduction is None for error in errors) or len(errors) < (stated_errors or 0)
    if not errors:
        missing = missing or bool(stated_total)
        if not missing and stated_errors is None and stated_total is None and not _NONE.search(answer):
            return None
    return ErrorList(errors=errors, stated_errors=stated_errors, stated_total=stated_total, broken_off=missing)


def _error(block: dict[str, str]) -> ListedError:
    amount = _AMOUNT.match(block.get("reduction", ""))
    return ListedError(
        location=block.get("location", ""),
        aspect=block.get("aspect", ""),
        explanation=block.get("explanation", ""),
        severity=block.get("severity", ""),
        reduction=None if amount is None else _points(amount[1]),
    )


def _points(number: str) -> float:
    return abs(float(number.replace("\u2212", "-")))
