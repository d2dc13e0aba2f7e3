"""Random one-word insertions: an adjective into a noun phrase, an adverb behind an auxiliary or a form of "be".

Slots are found by rules on a closed list of determiners and auxiliaries, so nothing has to be parsed or downloaded.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal, TypeVar

from compressed_lens.explanations.prompting import with_field
from compressed_lens.explanations.sources import Unusable
from compressed_lens.faithfulness import words as wordlists
from compressed_lens.faithfulness.mentions import bases
from compressed_lens.ids import digest
from compressed_lens.tasks.base import Item, Task

T = TypeVar("T")
Part = Literal["adjectives", "adverbs"]
PARTS: tuple[Part, ...] = ("adjectives", "adverbs")
TESTBED = "testbed"

_TOKEN = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_DETERMINERS = frozenset(
    "a an the this my your his her its our their each every another any one these those several many few some both all "
    "other two three four five six seven eight nine ten eleven twelve".split()
)
_BE = frozenset("am is are was were be been being isn't aren't wasn't weren't".split())
_MODAL = frozenset(
    "will would can could may might shall should must won't wouldn't can't cannot couldn't shouldn't".split()
)
_HAVE = frozenset("has have had hasn't haven't hadn't".split())
_PREPOSITIONS = frozenset(
    "about above across after against along among around at before behind below beside between by down during for from "
    "in inside into like near of off on onto out outside over past through to toward towards under until up upon with "
    "within without".split()
)
_NO_NOUN = frozenset(
    "i you he she it we they me him us them who whom whose which what that there here and or but nor so yet if "
    "because as than while when where let do does did done not no never very quite too more most less least rather "
    "only just also even still almost enough such same lot bit couple".split()
).union(_DETERMINERS, _BE, _MODAL, _HAVE, _PREPOSITIONS)
_NO_PARTICIPLE = frozenset("men women children".split())
_LIKE_YOU = re.compile(r"uni(?!m|n)|us[aeu]|uti|eu|one(?!r)|once")
_SILENT_H = re.compile(r"hour|hono|honest|heir")


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place where a word can be put.

    Attributes:
        field: Field of the item.
        position: Index, among the words of that field, of the word it goes before.
        start: Character it goes before.
        part: What kind of word.
        article: Half-open character span of the "a" or "an" directly before, whose form depends on the word.
    """

    field: str
    position: int
    start: int
    part: Part
    article: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Insertion:
    """An item with one word more.

    Attributes:
        item: The edited item; its id is that of the original.
        word: The inserted word, as it stands in the word list.
        position: Index, among the words of the original field, of the word it stands before.
        field: The edited field.
    """

    item: Item
    word: str
    position: int
    field: str


@cache
def word_lists(path: str = "") -> wordlists.WordFile:
    """Return the adjectives and adverbs that can be inserted, the shipped ones or those of a user's file.

    "testbed" stands for adjectives that the embedded reference model knows, most of which decide its reviews. A file
    has one word a line; "[adverbs]" on a line of its own begins the adverbs, all before are adjectives. A part without
    a word has no slots.

    Raises:
        StudyError: The file cannot be read or has no word.
    """
    if path == TESTBED:
        known = wordlists.parse(wordlists.shipped(path), default="adjectives")
        return wordlists.WordFile(lists=known, digest=digest(known))
    if path:
        return wordlists.load(path, names=PARTS, default="adjectives")
    lists: wordlists.Lists = {part: tuple(wordlists.shipped(part).split()) for part in PARTS}
    return wordlists.WordFile(lists=lists, digest=digest(lists))


def slots(text: str, *, field: str) -> tuple[Slot, ...]:
    """Return the slots of a text, in order.

    An adjective goes before the word behind a determiner, a possessive or a number (the light | their red coat |
    the boy's dog | two men), unless that word is no part of the noun phrase (another determiner, a preposition,
    pronoun, auxiliary, conjunction, "very", "most"...). An adverb goes before the word behind a form of "be" or a
    modal verb, and behind "have" where a participle in -ed or -en follows, with "not" in between or without
    (was | not rude), unless that word is a determiner, pronoun, number or conjunction. The two words must stand next
    to each other, with nothing but a blank between.
    """
    tokens = list(_TOKEN.finditer(text))
    found = []
    for i in range(1, len(tokens)):
        before, after = tokens[i - 1], tokens[i]
        if text[before.end() : after.start()] != " ":
            continue
        left, right = _plain(before), _plain(after)
        adverb = _takes_adverb(left, _plain(tokens[i - 2]) if i > 1 else "", right)
        if not adverb and not _takes_adjective(left, right):
            continue
        article = before.span() if not adverb and left in {"a", "an"} else None
        part: Part = "adverbs" if adverb else "adjectives"
        found.append(Slot(field=field, position=i, start=after.start(), part=part, article=article))
    return tuple(found)


def insert(text: str, slot: Slot, word: str) -> str:
    """Return `text` with `word` in `slot` and the article before it made to fit."""
    head, tail = text[: slot.start], text[slot.start :]
    if slot.article is not None:
        start, end = slot.article
        head = f"{text[: start + 1]}{'n' if needs_an(word) else ''}{text[end : slot.start]}"
    return f"{head}{word} {tail}"


def needs_an(word: str) -> bool:
    """Return whether the article before `word` is "an": by its first sound, as far as spelling tells."""
    plain = word.casefold()
    return bool(_SILENT_H.match(plain)) or (plain.startswith(tuple("aeiou")) and not _LIKE_YOU.match(plain))


def insertions(
    task: Task,
    item: Item,
    *,
    words_per_position: int = 8,
    positions: int = 8,
    seed: int = 0,
    fields: Sequence[str] = (),
    words: str = "",
) -> tuple[Insertion, ...]:
    """Return random insertions into `item`, all words of the first position, then of the second, and so on.

    They depend on the text of the item, its id and `seed` alone, never on other items or on order. No word is taken
    of which the field already holds a form, or which is a form of a label's word. Only the fields' own
    text is edited, never the words of a prompt.

    Args:
        task: The task; gives the field to edit.
        item: The item.
        words_per_position: Words tried at each position; fewer where the list is shorter.
        positions: Positions tried, drawn from all slots of the fields; all of them where there are fewer.
        seed: Which draw.
        fields: Fields to edit; the task's edit field when empty.
        words: Path of a word file (see `word_lists`); the shipped words when empty.

    Returns:
        At most `positions` * `words_per_position` insertions; none where the text has no slot.

    Raises:
        Unusable: The item has no field of that name.
    """
    lists = word_lists(words).lists
    open_slots: list[Slot] = []
    for field in fields or (task.edit_field,):
        if field not in item.fields:
            raise Unusable(f"The item has no field '{field}'; it has {', '.join(item.fields)}.")
        open_slots += [slot for slot in slots(item.fields[field], field=field) if lists.get(slot.part)]
    named = frozenset().union(*(bases(word) for label in task.labels_of(item) for word in label.split()))
    found = []
    # Shuffled whole, so that a setting with more positions or words holds the insertions of one with fewer.
    for slot in _shuffled(open_slots, f"{seed}/{item.id}")[:positions]:
        text = item.fields[slot.field]
        taken = named.union(*(bases(match.group()) for match in _TOKEN.finditer(text)))
        free = [word for word in lists[slot.part] if bases(word).isdisjoint(taken)]
        for word in _shuffled(free, f"{seed}/{item.id}/{slot.field}/{slot.position}")[:words_per_position]:
            edited = with_field(item, slot.field, insert(text, slot, word))
            found.append(Insertion(item=edited, word=word, position=slot.position, field=slot.field))
    return tuple(found)


def spread(edits: Sequence[Insertion], count: int) -> tuple[Insertion, ...]:
    """Return `count` of the edits, over as many positions as there are: the first word of each, then the second..."""
    seen: Counter[tuple[str, int]] = Counter()
    ranked = []
    for edit in edits:
        ranked.append(seen[edit.field, edit.position])
        seen[edit.field, edit.position] += 1
    order = sorted(range(len(edits)), key=ranked.__getitem__)
    return tuple(edits[i] for i in order[:count])


def _shuffled(values: Sequence[T], seed: str) -> list[T]:
    return Random(seed).sample(values, len(values))


def _plain(token: re.Match[str]) -> str:
    return token.group().replace("\u2019", "'").casefold()


def _takes_adjective(left: str, right: str) -> bool:
    owner = left.endswith("'s") and left[:-2] not in _NO_NOUN
    opens = left in _DETERMINERS or left.isdecimal() or owner
    return opens and right.removesuffix("'s").replace("-", "").isalpha() and right not in _NO_NOUN


def _takes_adverb(left: str, before: str, right: str) -> bool:
    if left == "not":
        left = before
    if left in _HAVE:
        participle = right.endswith("ed") or (right.endswith("en") and right not in _NO_PARTICIPLE)
        return right == "been" or (participle and len(bases(right)) > 1)
    if left not in _BE and left not in _MODAL:
        return False
    return right[:1].isalpha() and (right not in _NO_NOUN or right in _PREPOSITIONS | _BE | _HAVE)
