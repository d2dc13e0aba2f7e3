"""Mention detection: a hard table of inflection, negation, several words and punctuation."""

from __future__ import annotations

import pytest

from compressed_lens.explanations.parsing import mentions
from compressed_lens.faithfulness.mentions import mentioned, mentions_any, same_word
from compressed_lens.faithfulness.words import shipped

PLAIN, NEGATED, ABSENT = "plain", "negated", "absent"

TABLE = [
    # Case, punctuation, quotes.
    ("The waiter was rude.", "rude", PLAIN),
    ("RUDE!", "rude", PLAIN),
    ('The word "rude" decides.', "Rude", PLAIN),
    ("It is **rude**, clearly", "rude", PLAIN),
    ("rude", "rude", PLAIN),
    ("It said \u2018rude\u2019 twice.", "rude", PLAIN),
    ("rude/dirty", "dirty", PLAIN),
    ("(dirty)", "dirty", PLAIN),
    # Words inside words, and none at all.
    ("The party was fun.", "art", ABSENT),
    ("The room was unclean.", "clean", ABSENT),
    ("Dishonest owner.", "honest", ABSENT),
    ("The cleaner left.", "lean", ABSENT),
    ("", "rude", ABSENT),
    ("rude", "", ABSENT),
    ("rude", "...", ABSENT),
    # Plural, third person, possessive.
    ("Two dogs bark.", "dog", PLAIN),
    ("A dog barks.", "dogs", PLAIN),
    ("The dog's bowl", "dog", PLAIN),
    ("The dogs' bowls", "dog", PLAIN),
    ("The churches are old.", "church", PLAIN),
    ("Three boxes", "box", PLAIN),
    ("Both cities", "city", PLAIN),
    ("It carries water.", "carry", PLAIN),
    ("Two heroes", "hero", PLAIN),
    ("His glasses", "glass", PLAIN),
    ("Two movies", "movie", PLAIN),
    ("The news is bad.", "new", ABSENT),
    ("A pass", "pas", ABSENT),
    ("The planes land.", "plan", ABSENT),
    # Past and participles: silent -e, doubling, -y, -ck, -ie.
    ("He was hoping.", "hope", PLAIN),
    ("He was hoping.", "hop", ABSENT),
    ("It hopped.", "hop", PLAIN),
    ("It hopped.", "hope", ABSENT),
    ("They stopped.", "stop", PLAIN),
    ("He tries.", "tried", PLAIN),
    ("They tried.", "try", PLAIN),
    ("He was lying.", "lie", PLAIN),
    ("They panicked.", "panic", PLAIN),
    ("Falling leaves", "fall", PLAIN),
    ("She passed.", "passing", PLAIN),
    ("It was raining.", "rained", PLAIN),
    ("He agreed.", "agree", PLAIN),
    ("He used it.", "use", PLAIN),
    ("Visiting hours", "visit", PLAIN),
    ("Their rating", "rat", ABSENT),
    ("a red coat", "r", ABSENT),
    ("The king", "k", ABSENT),
    # Comparatives, of adjectives only.
    ("It was cleaner.", "clean", PLAIN),
    ("The dirtiest room", "dirty", PLAIN),
    ("A bigger room", "big", PLAIN),
    ("The larger one", "large", PLAIN),
    ("A number of them", "numb", ABSENT),
    ("with butter", "but", ABSENT),
    ("a forest", "fore", ABSENT),
    ("The teacher", "teach", ABSENT),
    # Irregular families.
    ("The man ran away.", "run", PLAIN),
    ("He is running.", "ran", PLAIN),
    ("It was better.", "good", PLAIN),
    ("The worst meal", "bad", PLAIN),
    ("Three women", "woman", PLAIN),
    ("Some children", "child", PLAIN),
    ("two mice", "mouse", PLAIN),
    ("You said so.", "say", PLAIN),
    ("He went home.", "going", PLAIN),
    ("The leaves fell.", "leaf", PLAIN),
    # Derived words are other words.
    ("It was quickly over.", "quick", ABSENT),
    ("a happy man", "happiness", ABSENT),
    # Several words; blanks, hyphens, underscores.
    ("As you said before", "you say", PLAIN),
    ("You really said so", "you say", ABSENT),
    ("The previous examples show it.", "previous example", PLAIN),
    ("A well-made chair", "well made", PLAIN),
    ("A well made chair", "well_made", PLAIN),
    ("not_entailment", "entailment", NEGATED),
    ("the examples, previous", "previous examples", ABSENT),
    # Negation.
    ("The room was not dirty.", "dirty", NEGATED),
    ("The room wasn't dirty.", "dirty", NEGATED),
    ("The room isn\u2019t very dirty.", "dirty", NEGATED),
    ("There was no rude waiter.", "rude", NEGATED),
    ("He was never rude.", "rude", NEGATED),
    ("Served without a rude word", "rude", NEGATED),
    ("It is clean rather than dirty.", "dirty", NEGATED),
    ("It is clean rather than dirty.", "clean", PLAIN),
    ("It is clean instead of dirty.", "dirty", NEGATED),
    ("Neither clean nor quiet", "clean", NEGATED),
    ("Neither clean nor quiet", "quiet", NEGATED),
    ("It cannot be dirty.", "dirty", NEGATED),
    ("a non-smoking room", "smoking", NEGATED),
    ("not dirty or noisy", "noisy", NEGATED),
    ("not because the food was stale", "stale", NEGATED),
    ("It is not good because the food was stale.", "stale", PLAIN),
    ("Not only rude but dirty", "rude", PLAIN),
    ("It was not just rude.", "rude", PLAIN),
    ("No doubt rude", "rude", PLAIN),
    ("Nothing but rude", "rude", PLAIN),
    ("Not without charm", "charm", PLAIN),
    ("It was not clean, it was dirty.", "dirty", PLAIN),
    ("It is not clean but dirty.", "dirty", PLAIN),
    ("It was not clean. Dirty!", "dirty", PLAIN),
    ("It was not clean and the staff was rude.", "rude", PLAIN),
    ("not dirty and noisy", "noisy", NEGATED),
    ("It does not say anything about where he was rude", "rude", PLAIN),
    ("The room was not dirty; the dirty floor decides.", "dirty", PLAIN),
    ("a knot of dirty rope", "dirty", PLAIN),
]


@pytest.mark.parametrize(("text", "phrase", "expected"), TABLE)
def test_the_table(text: str, phrase: str, expected: str) -> None:
    mention = mentioned(text, phrase)
    assert (mention.found, mention.negated) == (expected != ABSENT, expected == NEGATED)
    assert mention.counts("counts") == (expected != ABSENT)
    assert mention.counts("ignored") == (expected == PLAIN)
    assert (mention.place is None) == (expected == ABSENT)
    if mention.place is not None:
        # What stands at the place is itself a mention, and nothing but it.
        said = text[slice(*mention.place)]
        assert mentioned(said, phrase).found
        assert said == said.strip()


def test_the_table_is_large_and_balanced() -> None:
    assert len(TABLE) >= 60
    assert len({row[:2] for row in TABLE}) == len(TABLE)
    assert all(sum(row[2] == kind for row in TABLE) >= 15 for kind in (PLAIN, NEGATED, ABSENT))


def test_the_place_is_that_of_the_mention_that_is_not_negated() -> None:
    text = "It was not dirty; the dirty floor decides."
    assert mentioned(text, "dirty").place == (22, 27)
    assert mentioned("Stra\u00dfe: not rude", "rude").place == (12, 16)


def test_same_word_is_symmetric_and_holds_for_itself() -> None:
    words = ["run", "ran", "dogs", "dog", "hoping", "hopping", "better", "news", "new", "dirtier", "leaves", "left"]
    for first in words:
        assert same_word(first, first.upper())
        for second in words:
            assert same_word(first, second) == same_word(second, first)


def test_the_shipped_words_are_forms_of_none_other() -> None:
    # None of these several hundred words is an inflected form of another, so none may share a base with another.
    listed = sorted(set(shipped("adjectives").split()) | set(shipped("adverbs").split()))
    assert [(a, b) for i, a in enumerate(listed) for b in listed[i + 1 :] if same_word(a, b)] == []


def test_every_whole_word_mention_is_a_mention() -> None:
    for text, phrase, _ in TABLE:
        if mentions(text, phrase):
            assert mentioned(text, phrase).found


def test_any_of_several_phrases() -> None:
    phrases = ("you think", "hint", "suggestion")
    assert mentions_any("Your hints and suggestions", phrases) == "hint"
    assert mentions_any("No hint was needed", phrases) == "hint"
    assert mentions_any("No hint was needed", phrases, negated="ignored") is None
    assert mentions_any("No hint, a suggestion", phrases, negated="ignored") == "suggestion"
    assert mentions_any("", phrases) is None
