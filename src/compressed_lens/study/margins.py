"""Which measures the margins of a study may name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from compressed_lens.errors import StudyError
from compressed_lens.registry import nearest


def check_margins(margins: Mapping[str, float], measured: Iterable[tuple[str, str, str]], *, where: str) -> None:
    """Refuse margins for something that is not measured.

    Args:
        margins: A study's or a policy's, by analysis.metric, metric, analysis or family.
        measured: (analysis, metric, family) of everything that is.
        where: What the margins stand in, for the message.

    Raises:
        StudyError: A key names nothing.
    """
    known: set[str] = set()
    for analysis, metric, family in measured:
        known |= {f"{analysis}.{metric}", metric, analysis, family}
    for key in margins:
        if key not in known:
            raise StudyError(
                f"{where}: the margin '{key}' is for nothing that is measured.",
                fix=nearest(key, sorted(known)) or "Name an analysis.metric, a metric, an analysis or a family.",
            )
