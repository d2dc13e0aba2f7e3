"""How far the records of two cells agree, value by value."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from compressed_lens.comparison.sides import Side, outcomes_of, shared_items

_RELATIVE = 1e-4
_ABSOLUTE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Records:
    """How far the records of two cells agree; the counts add up to `shared`.

    Attributes:
        shared: Records of items that both cells have.
        same: Every value that both record is exactly the same, and so is the reason of a failure.
        close: The same but for numbers that differ by less than 1e-4 of their size (or 1e-6).
        different: Anything else.
        missing: Not recorded on at least one side.
        only_first: Records of items that only the first cell has; not in `shared`.
        only_second: The same for the second.
        unlike: Names of values that differ (more than closely), most frequent first.
        one_sided: Names of values that only one side records; not compared.
    """

    shared: int
    same: int
    close: int
    different: int
    missing: int
    only_first: int
    only_second: int
    unlike: tuple[str, ...]
    one_sided: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.same + self.close + self.different + self.missing == self.shared, "records do not add up"


def reproduced(first: Side, second: Side) -> Records:
    """Compare every record of two cells over the items they share."""
    items = set(shared_items(first, second))
    mine, theirs = outcomes_of(first), outcomes_of(second)
    counts: Counter[str] = Counter()
    unlike: Counter[str] = Counter()
    keys: list[set[str]] = [set(), set()]
    rows = [row for row in dict.fromkeys([*mine, *theirs]) if row[0] in items]
    for row in rows:
        a, b = mine.get(row), theirs.get(row)
        if a is None or b is None:
            counts["missing"] += 1
            continue
        keys[0] |= a.values.keys()
        keys[1] |= b.values.keys()
        shared = a.values.keys() & b.values.keys()
        changed = {key for key in shared if a.values[key] != b.values[key]} | (
            {"failed"} if a.failed != b.failed else set()
        )
        far = {key for key in changed if key == "failed" or not _close(a.values[key], b.values[key])}
        unlike.update(far)
        counts["different" if far else "close" if changed else "same"] += 1
    return Records(
        shared=len(rows),
        **{name: counts[name] for name in ("same", "close", "different", "missing")},
        only_first=sum(row[0] not in items for row in mine),
        only_second=sum(row[0] not in items for row in theirs),
        unlike=tuple(name for name, _ in unlike.most_common()),
        one_sided=tuple(sorted(keys[0] ^ keys[1])) if keys[0] and keys[1] else (),
    )


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_close(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_close(a[key], b[key]) for key in a)
    return bool(a == b)
