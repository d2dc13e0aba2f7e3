"""Reviews whose sentiment rests on one to three evidence words, some of them negated."""

from __future__ import annotations

import re
from random import Random

from compressed_lens.testbed.example import Example

LABELS = ("positive", "negative")
INSTRUCTION = "Decide whether the review is positive or negative."
TARGETS = {"positive": "negative", "negative": "positive"}

_PAIRS = (
    ("clean", "dirty"), ("friendly", "rude"), ("fresh", "stale"), ("cheerful", "gloomy"), ("quick", "slow"),
    ("funny", "boring"), ("clever", "stupid"), ("sturdy", "flimsy"), ("comfortable", "cramped"), ("quiet", "noisy"),
    ("generous", "greedy"), ("helpful", "useless"), ("charming", "ugly"), ("honest", "dishonest"),
    ("reliable", "unreliable"), ("tasty", "bland"), ("elegant", "shabby"), ("safe", "dangerous"),
)  # fmt: skip
ANTONYMS = {a: b for a, b in _PAIRS} | {b: a for a, b in _PAIRS}
POLARITY = {a: "positive" for a, _ in _PAIRS} | {b: "negative" for _, b in _PAIRS}

_PLACES = tuple("hotel restaurant museum theatre cafe shop school garden market station library cinema".split())
_COMPANIONS = ("with my brother", "with my sister", "with two friends", "with my parents", "alone", "with our dog")
_DAYS = tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
_NOUNS = tuple("room staff food service guide music chair waiter tour owner door light ticket driver menu lamp".split())
_NEUTRAL = (
    "The walls were painted blue.", "We paid with a card.", "It opened at noon.", "There were two small windows.",
    "A bus stops near the entrance.", "We stayed for an hour.", "The floor was made of wood.", "It rained that day.",
)  # fmt: skip

NEGATED = 0.15
WITH_NEUTRAL = 0.5
_COUNTS = (1, 2, 3)
_COUNT_WEIGHTS = (3, 4, 2)

_EVIDENCE = re.compile(rf"\b(not )?({'|'.join(sorted(POLARITY, key=len, reverse=True))})\b")


def judge(text: str) -> str | None:
    """Return the true label of any review-like text: the majority of its evidence; None when there is none or a tie."""
    votes = 0
    for negation, word in _EVIDENCE.findall(text):
        votes += 1 if (POLARITY[word] == "positive") != bool(negation) else -1
    return None if votes == 0 else LABELS[0] if votes > 0 else LABELS[1]


def generate(rng: Random) -> Example:
    """Draw one review."""
    label = rng.choice(LABELS)
    count = rng.choices(_COUNTS, weights=_COUNT_WEIGHTS)[0]
    nouns = rng.sample(_NOUNS, count)
    words: list[str] = []
    negated: list[bool] = []
    for _ in range(count):
        flip = rng.random() < NEGATED
        polarity = TARGETS[label] if flip else label
        words.append(rng.choice([w for w, p in POLARITY.items() if p == polarity and w not in words]))
        negated.append(flip)
    said = [f"{'not ' if n else ''}{w}" for w, n in zip(words, negated, strict=True)]
    opposite = [w if n else ANTONYMS[w] for w, n in zip(words, negated, strict=True)]
    opening = f"We visited the {rng.choice(_PLACES)} on {rng.choice(_DAYS)} {rng.choice(_COMPANIONS)}."
    clauses = [f"the {noun} was {{}}" for noun in nouns]
    body = " and ".join([", ".join(clauses[:-1]), clauses[-1]] if count > 1 else clauses)
    verdict = body[:1].upper() + body[1:] + "."
    parts = [opening, verdict]
    if rng.random() < WITH_NEUTRAL:
        parts.insert(rng.choice((1, 2)), rng.choice(_NEUTRAL))
    pattern = " ".join(parts)
    clause = " and ".join(f"the {noun} was {what}" for noun, what in zip(nouns, said, strict=True))
    return Example(
        fields={"review": pattern.format(*said)},
        label=label,
        evidence=tuple(words),
        explanation=f"The review says that {clause}, which is {label}.",
        target=TARGETS[label],
        edited=pattern.format(*opposite),
    )
