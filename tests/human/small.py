"""A small blinded study, made by hand: what the store is given."""

from __future__ import annotations

from compressed_lens.human.design import KINDS, Dimension, Questionnaire, Shown
from compressed_lens.human.plan import Blinded, Planned
from compressed_lens.human.store import HumanStore

GOOD = {"trustworthiness": 4, "coherence": 5}
BAD = {"trustworthiness": 1, "coherence": 1}
EXPECTED = {"trustworthiness": 2, "coherence": 4}
PAGES = 6
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


def start(store: HumanStore, rater: str = "R01") -> None:
    for step, to in (("consent", "instructions"), ("instructions", "comprehension"), ("comprehension", "rating")):
        assert store.move(rater, step=step, to=to)  # type: ignore[arg-type]


def put(
    store: HumanStore, position: int, form: str, values: dict[str, int] = GOOD, *, comment: str = "", rater: str = "R01"
) -> str:
    return store.save(rater, position, values=values, comment=comment, seconds=10, form=form)


def fill(store: HumanStore, rater: str = "R01", pages: int = PAGES) -> None:
    start(store, rater)
    for position in range(1, pages + 1):
        assert put(store, position, f"f{position}", EXPECTED if position == CHECK else GOOD, rater=rater) == "saved"
