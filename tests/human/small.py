"""A small blinded study, made by hand: what the store is given."""

from __future__ import annotations

from compressed_lens.human.plan import Blinded, Planned

from compressed_lens.human.design import KINDS, Dimension, Questionnaire, Shown

GOOD = {"trustworthiness": 4, "coherence": 5}
EXPECTED = {"trustworthiness": 2, "coherence": 4}
CHECK = 3
"""Position of the attention check."""


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def questionnaire(*, comments: bool = True, session_hours: float = 12, attempts: int = 2) -> Questionnaire:
    both = {"en": "words", "de": "Worte"}
    return Questionnaire(
        title=both,
        consent=both,
        instructions=both,
        end=both,
        dimensions=tuple(
            Dimension(name=name, title=both, questions=dict.fromkeys(KINDS, both), anchors=(both,) * 5) for name in GOOD
        ),
        comments=comments,
        session_hours=session_hours,
        comprehension_attempts=attempts,
    )


def blinded(*, raters: int = 4, pages: int = 6, asked: Questionnaire | None = None) -> Blinded:
    """Raters `R01`... of `pages` pages each; page 3 is the attention check."""
    texts = [f"t{n:03}" for n in range(1, raters * pages + 1)]
    orders = {}
    for r in range(raters):
        own = iter(texts[r * pages :])
        orders[f"R{r + 1:02}"] = tuple(
            Planned(position=p, text=None, expected=EXPECTED)
            if p == CHECK
            else Planned(position=p, text=next(own), expected=None)
            for p in range(1, pages + 1)
        )
    return Blinded(
        questionnaire=asked or questionnaire(),
        texts={
            text: (
                f"C{n % 4 + 1:02}",
                Shown(kind=KINDS[n % 2], fields=(("premise", f"item {n}"),), label="neutral", text=f"because {n}"),
            )
            for n, text in enumerate(texts)
        },
        pages=orders,
    )
