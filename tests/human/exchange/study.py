"""The small blinded study that was rated in real tools; `data/` holds what they wrote."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from compressed_lens.human.design import Shown
from compressed_lens.human.plan import Blinded, Planned
from compressed_lens.human.reading import default_design

DATA = Path(__file__).parent / "data"
ASKED = "Decide whether the premise entails the hypothesis."
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> {{ 7*7 }} & <b>bold</b>"
    "\n\nSecond paragraph, line one\nline two"
)
FORMULA = '=HYPERLINK("http://x") He may cook, "or" not; ünïcode'


def _explanation(premise: str, hypothesis: str, label: str, text: str) -> Shown:
    fields = (("Premise", premise), ("Hypothesis", hypothesis))
    return Shown(kind="explanation", instruction=ASKED, fields=fields, label=label, text=text)


def _edit(premise: str, hypothesis: str, label: str, text: str) -> Shown:
    fields = (("Premise", premise), ("Hypothesis", hypothesis))
    return Shown(kind="counterfactual", instruction=ASKED, fields=fields, label=label, text=text, edited="Hypothesis")


def _pages(*pages: str | dict[str, int]) -> tuple[Planned, ...]:
    return tuple(
        Planned(position=position, text=page, expected=None)
        if isinstance(page, str)
        else Planned(position=position, text=None, expected=page)
        for position, page in enumerate(pages, 1)
    )


@cache
def study() -> Blinded:
    """Three raters, four texts, two attention checks."""
    return Blinded(
        questionnaire=default_design().questionnaire,
        texts={
            "t001": (
                "C02",
                _explanation(
                    "A man swims in a lake.",
                    "A man is in the water.",
                    "entailment",
                    "Who swims in a lake is in the water.",
                ),
            ),
            "t002": ("C01", _edit("A girl sings.", "She makes music.", "contradiction", "She sits in silence.")),
            "t003": ("C01", _explanation("Two boys wait.", "They drive.", "contradiction", HOSTILE)),
            "t004": ("C02", _edit("A chef cuts.", "He cooks.", "neutral", FORMULA)),
        },
        pages={
            "R01": _pages("t002", {"trustworthiness": 4, "coherence": 2}, "t001", "t003"),
            "R02": _pages("t003", "t004", {"trustworthiness": 1, "coherence": 5}, "t002"),
            "R03": _pages("t004", "t001"),
        },
    )
