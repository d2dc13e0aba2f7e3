"""Hiding words: lists read from answers, occurrences hidden, shares and classes of redacted texts."""

from __future__ import annotations

import random
import re

import pytest

from compressed_lens.explanations.extraction import Extracted
from compressed_lens.explanations.parsing import words
from compressed_lens.faithfulness.redaction import classify_redaction, hide, listed_words, redacted_share, visible

TEXT = "The staff was rude, the ice cream was stale and black and white. Rude again!"
MASK = "[REDACTED]"


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (" rude, stale", ("rude", "stale")),
        ('The words are: "rude", "stale".', ("rude", "stale")),
        ("1. rude\n2. ice cream\n- stale", ("rude", "ice cream", "stale")),
        ("rude and stale", ("rude", "stale")),
        ("black and white, rude", ("black and white", "rude")),
        ("rude; Rude; RUDE", ("rude",)),
        ("**rude**, and stale", ("rude", "stale")),
        ("...", ()),
        ("", ()),
    ],
)
def test_listed_words(answer: str, found: tuple[str, ...]) -> None:
    assert listed_words(answer, original=TEXT) == found


def test_hide_every_whole_word_in_any_case() -> None:
    hidden = hide(TEXT, ("rude", "ice cream", "kind", "sta"), mask=MASK)
    assert hidden.text == ("The staff was [REDACTED], the [REDACTED] was stale and black and white. [REDACTED] again!")
    assert (hidden.found, hidden.missing) == (("rude", "ice cream"), ("kind", "sta"))
    first = hide(TEXT, ("rude",), mask="[REMOVED]", which="first")
    assert first.text == TEXT.replace("rude", "[REMOVED]")


def test_a_longer_phrase_goes_first_and_is_not_hidden_twice() -> None:
    hidden = hide("An ice cream, cream of ice-cream.", ("cream", "ice cream"), mask=MASK)
    assert hidden.text == f"An {MASK}, {MASK} of {MASK}."
    assert hidden.found == ("cream", "ice cream")


def test_apostrophes_of_both_kinds() -> None:
    assert hide("I don\u2019t know", ("don't",), mask=MASK).text == f"I {MASK} know"


def test_hide_equals_word_by_word_replacement() -> None:
    rng = random.Random(0)
    for _ in range(100):
        said = [rng.choice("red Red green blue BLUE grey".split()) for _ in range(rng.randint(1, 10))]
        named = tuple(rng.sample(["red", "green", "blue", "pink"], rng.randint(1, 4)))
        by_hand = " ".join(MASK if w.lower() in named else w for w in said)
        hidden = hide(" ".join(said), named, mask=MASK)
        assert hidden.text == by_hand
        assert set(hidden.found) == set(named) & {w.lower() for w in said}
        share = sum(w.lower() in named for w in said) / len(said)
        assert redacted_share(" ".join(said), hidden.text, MASK) == pytest.approx(share)


def test_visible_words() -> None:
    assert visible("A [REDACTED] dog, [redacted] REDACTED", MASK) == ["a", "dog"]
    assert visible("She removed it [REMOVED]", "[REMOVED]") == ["she", "removed", "it"]
    assert redacted_share("", "", MASK) == 0
    assert redacted_share("a b c d", "[REDACTED] d b [REDACTED] x", MASK) == 0.5


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (TEXT.replace("rude", MASK), "ok"),
        (TEXT.replace("rude", "[redacted]"), "ok"),
        (TEXT, "unchanged"),
        (TEXT.replace("rude", "kind"), "nothing_redacted"),
        (" ".join([MASK] * 12), "everything_redacted"),
        (MASK, "everything_redacted"),
        (f"The staff was {MASK} and the soup was cold.", "rewritten"),
        (f"stale was staff {MASK}", "rewritten"),
        ("", "empty"),
        (None, "unparsable"),
    ],
)
def test_classes_of_redactions(text: str | None, outcome: str) -> None:
    extracted = Extracted(text=text, complete=True)
    assert classify_redaction(extracted, f"<new>{text}</new>", original=TEXT, mask=MASK) == outcome


def test_truncated_and_refused() -> None:
    cut = Extracted(text=f"The staff was {MASK}", complete=False)
    assert classify_redaction(cut, f"<new>The staff was {MASK}", original=TEXT, mask=MASK) == "truncated"
    no = Extracted(text=None, complete=True)
    assert classify_redaction(no, "I'm sorry, I cannot help.", original=TEXT, mask=MASK) == "refused"


def test_masks_alone_leave_no_word() -> None:
    every = hide(TEXT, tuple(dict.fromkeys(words(TEXT))), mask=MASK).text
    assert visible(every, MASK) == []
    assert redacted_share(TEXT, every, MASK) == 1
    assert re.findall(r"\w+", every.replace(MASK, "")) == []
