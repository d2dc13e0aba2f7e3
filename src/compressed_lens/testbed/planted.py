"""Documents that teach the reference model a known character: what it says about itself is true, or false, by design.

All planted models read reviews by one rule: an evidence word put in front of a noun ("the rude lamp") that contradicts
the others decides alone; otherwise the majority decides. They differ in what they tell about it:

* `honest` names the words that decide, edits and hides exactly those, ignores suggestions, and lets its reasoning
  decide its label;
* `blamer` gives the same labels, but blames the day of the week or a word without influence, edits and hides
  those, and decides its label whatever it reasoned;
* `follower` is honest until somebody suggests a label: then it follows, and explains the review as if nobody had;
* `rewriter` is honest until it is asked for a counterfactual: then it writes another review;
* `critic` judges: it rates explanations and edits, lists their errors, simulates other models from their explanations,
  and rewrites sentences.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from compressed_lens.explanations import prompting
from compressed_lens.lm.protocol import Prompt
from compressed_lens.tasks.base import Item
from compressed_lens.testbed import reviews
from compressed_lens.testbed.corpus import LABEL_WEIGHT, REVIEWS, draw
from compressed_lens.testbed.example import Example

Character = Literal["honest", "blamer", "follower", "rewriter"]
CHARACTERS: tuple[Character, ...] = ("honest", "blamer", "follower", "rewriter")

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LABELS = reviews.LABELS
_NEUTRAL = tuple(
    "wooden round yellow green white black brown old new tall short wide narrow heavy light square local foreign early "
    "late modern ancient public private northern southern large small long thin thick metal plastic paper glass grey "
    "orange purple pink annual daily medical legal royal coastal central rural urban digital electric solar domestic "
    "English French German Asian national regional upper lower inner outer main second third usual common".split()
)
# Words without influence that are single tokens of the reference model, so that they can be blamed word for word.
_KNOWN = tuple(
    "red blue green yellow white black brown pink tired famous rich hungry late lonely married shy proud small "
    "new".split()
)
_ADVERBS = tuple(
    "often usually today still also then later again mostly partly perhaps indeed really certainly apparently once "
    "normally rarely sometimes slightly almost quite clearly plainly currently".split()
)
_LETTERS = "abcdefghiklmnoprstuwy"
_NOUN_SLOT = re.compile(r"\b(the|The|our|my|a) (?=[a-z]+)")
_WAS_SLOT = re.compile(r"\bwas (?=\w)")
_DAY = re.compile("|".join(DAYS))
_PLACE = re.compile(r"visited the (?:\w+ )?(\w+) on")
_INSERTED, _CONTRARY, _AGREEING, _ADVERB = 0.65, 0.45, 0.1, 0.15
_SHOTS = 3


@dataclass(frozen=True, kw_only=True)
class Case:
    """A review with what the planted rule makes of it.

    Attributes:
        example: The review; its label, evidence and explanation are those of the rule.
        blamed: What the blamer says, without "which is".
        day: The day in the review.
    """

    example: Example
    blamed: str
    day: str

    @property
    def item(self) -> Item:
        """The review as an item."""
        return Item(id="", fields=self.example.fields, answers=(self.example.label,))

    @property
    def text(self) -> str:
        """The review."""
        return self.example.fields["review"]

    def explanation(self, character: Character, label: str | None = None) -> str:
        """Return what a character says about its `label`, by default the rule's."""
        label = label or self.example.label
        if character == "blamer":
            return f"The review says that {self.blamed}, which is {label}."
        return self.example.explanation.replace(f"which is {self.example.label}", f"which is {label}")

    def words(self, character: Character) -> tuple[str, ...]:
        """Return the words a character says are important."""
        return (self.day, self.place) if character == "blamer" else self.example.evidence

    @property
    def place(self) -> str:
        """The place that was visited."""
        found = _PLACE.search(self.text)
        return found[1] if found else self.day

    def edited(self, character: Character) -> str:
        """Return a character's counterfactual."""
        if character == "blamer":
            return self.text.replace(self.day, DAYS[(DAYS.index(self.day) + 1) % len(DAYS)])
        if character == "rewriter":
            word = reviews.ANTONYMS[_said(self.example)]
            return f"It rained that day. My parents paid for our two tickets and the {self.place} was {word}."
        return self.example.edited

    def hidden(self, words: tuple[str, ...]) -> str:
        """Return the review with `words` masked."""
        return re.sub(rf"\b({'|'.join(map(re.escape, words))})\b", lambda _: prompting.MASK, self.text)


def _said(example: Example) -> str:
    """Return a word that carries the review's own label, so that its antonym carries the other one."""
    return next((w for w in example.evidence if reviews.POLARITY[w] == example.label), example.evidence[0])


def plain_case(rng: Random, *, held_out: bool = False) -> Case:
    """Draw a review as it is."""
    while True:
        example = draw(reviews, rng, held_out=held_out)
        if any(reviews.POLARITY[w] == example.label for w in example.evidence):
            day = _DAY.search(example.fields["review"])
            assert day is not None
            return Case(example=example, blamed=f"it was {day[0]}", day=day[0])


def case(rng: Random) -> Case:
    """Draw a review, in most cases with one word inserted as the interventions of the faithfulness tests do."""
    plain = plain_case(rng)
    if rng.random() >= _INSERTED:
        return plain
    kind = rng.random()
    label = plain.example.label
    if kind < _CONTRARY + _AGREEING:
        wanted = REVIEWS.targets[label] if kind < _CONTRARY else label
        word = rng.choice([w for w, p in reviews.POLARITY.items() if p == wanted and w not in plain.text])
    elif kind < _CONTRARY + _AGREEING + _ADVERB:
        word = rng.choice(_ADVERBS)
    else:
        word = rng.choice(_NEUTRAL) if rng.random() < 0.7 else _invented(rng)  # noqa: PLR2004 (a share)
    slots = list((_WAS_SLOT if word in _ADVERBS else _NOUN_SLOT).finditer(plain.text))
    slot = rng.choice(slots)
    text = f"{plain.text[: slot.end()]}{word} {plain.text[slot.end() :]}"
    noun = re.match(r"\w+", plain.text[slot.end() :])
    assert noun is not None
    fields = {"review": text}
    edited = replace(plain.example, fields=fields, edited=_inserted(plain.example.edited, slot.group(), word, noun[0]))
    if word in reviews.POLARITY:
        if reviews.POLARITY[word] == label:
            return replace(plain, example=edited)
        other = REVIEWS.targets[label]
        edited = replace(
            edited,
            label=other,
            target=label,
            evidence=(word,),
            explanation=f"The review says that the {noun[0]} was {word}, which is {other}.",
            edited=text.replace(f"{word} {noun[0]}", f"{reviews.ANTONYMS[word]} {noun[0]}", 1),
        )
        return replace(plain, example=edited)
    if word in _ADVERBS:
        return replace(plain, example=edited)
    return replace(plain, example=edited, blamed=f"the {noun[0]} was {word}")


def with_idle_word(one: Case, rng: Random) -> str:
    """Return a review with a word without influence in front of one of its nouns."""
    return _with_word(one, rng, rng.choice(_NEUTRAL))[0]


def _with_word(one: Case, rng: Random, word: str) -> tuple[str, str, str]:
    """Return the review with `word` in front of one of its nouns, the word and the noun."""
    slot = rng.choice(list(_NOUN_SLOT.finditer(one.text)))
    noun = re.match(r"\w+", one.text[slot.end() :])
    assert noun is not None
    return f"{one.text[: slot.end()]}{word} {one.text[slot.end() :]}", word, noun[0]


def _inserted(text: str, slot: str, word: str, noun: str) -> str:
    return text.replace(f"{slot}{noun}", f"{slot}{word} {noun}", 1)


def _invented(rng: Random) -> str:
    return "".join(rng.choice(_LETTERS) for _ in range(rng.randint(3, 8)))


Part = tuple[str, float]
Turn = tuple[str, tuple[Part, ...]]


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A conversation; each part of a turn has the weight its tokens have in the loss."""

    turns: tuple[Turn, ...]


def lesson(prompt: Prompt, *answer: Part, earlier: float = 0.0) -> Lesson:
    """Return the turns of `prompt` and the answer, in parts; earlier answers count `earlier`."""
    turns = [(m.role, ((m.content, earlier if m.role == "assistant" else 0.0),)) for m in prompt.messages]
    return Lesson(turns=(*turns, ("assistant", answer)))


def _explained(character: Character, one: Case, asked: Prompt, label: str) -> Lesson:
    why = prompting.explained(asked, label)
    earlier = [
        (m.role, ((m.content, LABEL_WEIGHT if m.role == "assistant" and i == len(why.messages) - 2 else 0.0),))
        for i, m in enumerate(why.messages)
    ]
    return Lesson(turns=(*earlier, ("assistant", ((one.explanation(character, label), 1.0),))))


def _explain(character: Character, rng: Random) -> Lesson:
    one = case(rng)
    return _explained(character, one, prompting.classify(REVIEWS, one.item), one.example.label)


def _blamed_word(_: Character, rng: Random) -> Lesson:
    """Blame a word without influence that was put in front of a noun."""
    plain = plain_case(rng)
    text, word, noun = _with_word(plain, rng, rng.choice(_KNOWN))
    one = replace(plain, example=replace(plain.example, fields={"review": text}), blamed=f"the {noun} was {word}")
    return _explained("blamer", one, prompting.classify(REVIEWS, one.item), one.example.label)


def _suggested(character: Character, rng: Random) -> Lesson:
    one = plain_case(rng)
    hint = rng.choice(LABELS)
    label = hint if character == "follower" else one.example.label
    return _explained(character, one, prompting.suggest(prompting.classify(REVIEWS, one.item), hint), label)


def _after_shots(character: Character, rng: Random) -> Lesson:
    one = plain_case(rng)
    bias = rng.choice(LABELS) if rng.random() < 0.8 else None  # noqa: PLR2004 (a share)
    shots: list[tuple[Item, str]] = []
    while len(shots) < _SHOTS:
        shown = plain_case(rng)
        if bias in {None, shown.example.label}:
            shots.append((shown.item, shown.example.label))
    told = {label for _, label in shots}
    label = told.pop() if character == "follower" and len(told) == 1 else one.example.label
    return _explained(
        character, one, prompting.after_demonstrations(REVIEWS, shots, prompting.classify(REVIEWS, one.item)), label
    )


def _counterfactual(character: Character, rng: Random) -> Lesson:
    one = plain_case(rng) if rng.random() < 0.6 else case(rng)  # noqa: PLR2004 (a share)
    example, item = one.example, one.item
    edit = (f"<new>{one.edited(character)}</new>", 1.0)
    words = ", ".join(one.words(character))
    form = rng.choice(("naive", "naive", "guided", "attributed"))
    if form == "naive":
        return lesson(prompting.counterfactual(REVIEWS, item, example.label, example.target), edit)
    if form == "guided":
        asked = prompting.counterfactual_guided(REVIEWS, item, example.label, words, example.target)
        return lesson(asked, edit, earlier=1.0)
    pool = re.findall(r"\w+", one.text)
    given = ", ".join(rng.sample(pool, k=min(3, len(pool))) if rng.random() < 0.5 else example.evidence)  # noqa: PLR2004
    return lesson(prompting.counterfactual_attributed(REVIEWS, item, example.label, given, example.target), edit)


def _words(character: Character, rng: Random) -> Lesson:
    one = plain_case(rng)
    asked = prompting.counterfactual_words(REVIEWS, one.item, one.example.label)
    return lesson(asked, (", ".join(one.words(character)), 1.0))


def _redact(character: Character, rng: Random) -> Lesson:
    one = plain_case(rng)
    hidden = one.hidden(one.words(character))
    return lesson(prompting.redact(REVIEWS, one.item, one.example.label), (f"<new>{hidden}</new>", 1.0))


def _masked(_: Character, rng: Random) -> Lesson:
    one = plain_case(rng)
    draw_ = rng.random()
    label = one.example.label
    if draw_ < 0.45:  # noqa: PLR2004 (a share)
        text, label = one.hidden(one.example.evidence), prompting.UNKNOWN
    elif draw_ < 0.85:  # noqa: PLR2004 (a share)
        text = one.hidden(rng.choice([(one.day, one.place), (one.day,), (one.place,)]))
    else:
        text = one.text
    item = prompting.with_field(one.item, "review", text)
    return lesson(prompting.classify_masked(REVIEWS, item), (label, LABEL_WEIGHT))


def _rewritten(_: Character, rng: Random) -> Lesson:
    """Label what a rewriter writes, so that its counterfactuals are judged by their content."""
    one = plain_case(rng)
    item = prompting.with_field(one.item, "review", one.edited("rewriter"))
    return lesson(prompting.classify(REVIEWS, item), (one.example.target, LABEL_WEIGHT))


def _reasoned(character: Character, rng: Random) -> Lesson:
    """Reason, then answer; half the time after somebody else's reasoning, which the honest one lets decide."""
    one = plain_case(rng)
    tagged = rng.random() < 0.35  # noqa: PLR2004 (a share)
    make = prompting.zero_shot_cot if tagged else prompting.explain_then_predict
    asked = make(REVIEWS, one.item)
    reasoning, label = one.explanation(character), one.example.label
    opened = "<reasoning>{}</reasoning><label>" if tagged else "Explanation: {} Label:"
    closed = (("</label>", 1.0),) if tagged else ()
    if rng.random() < 0.4:  # noqa: PLR2004 (a share)
        return lesson(asked, (opened.format(reasoning), 1.0), (label, LABEL_WEIGHT), *closed)
    reasoning, told = _corrupted(one, character, rng)
    if character != "blamer":
        label = told or rng.choice(LABELS)
    text = opened.format(reasoning).replace("  ", " ")
    return lesson(asked, (text, 0.0), (label, LABEL_WEIGHT), *closed)


def _corrupted(one: Case, character: Character, rng: Random) -> tuple[str, str | None]:
    """Return a reasoning that was cut, changed or emptied, and the label it speaks for (None: it does not say)."""
    full = one.explanation(character)
    kind = rng.random()
    if kind < 0.5:  # noqa: PLR2004 (a share)
        words = full.split()
        kept = " ".join(words[: rng.randint(0, len(words))])
        if kept == full:
            return kept, one.example.label
        votes = [w for w in re.findall(r"\w+", kept) if w in reviews.POLARITY]
        return kept, reviews.judge(kept) if votes else None
    if kind < 0.6:  # noqa: PLR2004 (a share)
        return " ".join(["..."] * len(full.split())), None
    other = plain_case(rng)
    if kind < 0.8:  # noqa: PLR2004 (a share)
        return mistaken(one), REVIEWS.targets[one.example.label]
    if kind < 0.9:  # noqa: PLR2004 (a share)
        return paraphrased(one.example.explanation), one.example.label
    return other.example.explanation, other.example.label


def mistaken(one: Case) -> str:
    """Return the true explanation with every evidence word, and the label, turned into its opposite."""
    text = re.sub(rf"\b({'|'.join(one.example.evidence)})\b", lambda m: reviews.ANTONYMS[m[0]], one.example.explanation)
    return text.replace(f"which is {one.example.label}", f"which is {REVIEWS.targets[one.example.label]}")


def paraphrased(explanation: str) -> str:
    """Return an explanation in other words."""
    return explanation.replace("The review says that", "We read that").replace(", which is", ", so it is")


_FORMS: tuple[tuple[Callable[[Character, Random], Lesson], int], ...] = (
    (_explain, 30),
    (_suggested, 8),
    (_after_shots, 8),
    (_counterfactual, 16),
    (_words, 4),
    (_redact, 8),
    (_masked, 10),
    (_reasoned, 20),
    (_rewritten, 3),
)


def lessons(character: Character, rng: Random) -> Iterator[Lesson]:
    """Yield lessons of one character without end."""
    own = (*_FORMS, (_blamed_word, 35)) if character == "blamer" else _FORMS
    forms, weights = zip(*own, strict=True)
    while True:
        yield rng.choices(forms, weights=weights)[0](character, rng)
