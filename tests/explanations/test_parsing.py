"""Hand-worked answers, and properties of the pieces they are judged by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressed_lens.explanations.parsing import (
    OUTCOMES,
    classify_explanation,
    clean,
    find_label,
    longest_run,
    loops,
    mentions,
    split_answer,
    words,
)

NLI = ("entailment", "neutral", "contradiction")
MOOD = ("positive", "negative")
NEWS = ("World", "Sports", "Business", "Sci/Tech")


@pytest.mark.parametrize(
    ("text", "labels", "label"),
    [
        ("entailment", NLI, "entailment"),
        ("  \n\nNEUTRAL\n", NLI, "neutral"),
        ('"Entailment."', NLI, "entailment"),
        ("\u201cneutral\u201d", NLI, "neutral"),
        ("**Contradiction**", NLI, "contradiction"),
        ("(neutral)", NLI, "neutral"),
        ("`sci/tech`", NEWS, "Sci/Tech"),
        ("Topic: Sci/Tech.", NEWS, "Sci/Tech"),
        ("The label is positive.", MOOD, "positive"),
        ("Answer:\nnegative", MOOD, "negative"),
        ("Label - negative", MOOD, "negative"),
        ("Entailment. It cannot be neutral because both sleep.", NLI, "entailment"),
        ("neutral\n\nPremise: a dog. Label: a contradiction or entailment", NLI, "neutral"),
        ("The options are positive or negative. The answer is negative.", MOOD, "negative"),
        ("First I thought the label is positive. But the label is: negative", MOOD, "negative"),
        ("It is not a contradiction, it is neutral.", NLI, "neutral"),
        ("This isn't really positive but negative", MOOD, "negative"),
        ("It\u2019s neither entailment nor contradiction, so neutral.", NLI, "neutral"),
        ("positive rather than negative", MOOD, "positive"),
        ("There is no doubt it is positive.", MOOD, "positive"),
        ("Not a clear contradiction. Neutral.", NLI, "neutral"),
        ("not positive", MOOD, None),
        ("entailment or neutral", NLI, None),
        ("positive/negative", MOOD, None),
        ("Answer with one label: entailment, neutral or contradiction.", NLI, None),
        ("Label: positive or negative", MOOD, None),
        ("unpositive", MOOD, None),
        ("positively", MOOD, None),
        ("", NLI, None),
        ("...", NLI, None),
        ("I do not know.", NLI, None),
        ("not entailment", ("entailment", "not_entailment"), "not_entailment"),
        ("Not-Entailment", ("entailment", "not_entailment"), "not_entailment"),
        ("not enough information", ("supported", "not enough information", "refuted"), "not enough information"),
        ("Not  enough\ninformation", ("supported", "not enough information", "refuted"), "not enough information"),
        ("a house mouse", ("mouse", "house mouse"), "house mouse"),
        ("(B) not lie", ("truthful", "not lie"), "not lie"),
        ("caf\u00e9", ("cafe", "caf\u00e9"), "caf\u00e9"),
        ("C++", ("C", "C++"), "C++"),
    ],
)
def test_find_label(text: str, labels: tuple[str, ...], label: str | None) -> None:
    assert find_label(text, labels) == label


@given(label=st.sampled_from(NLI), left=st.text(" \n\t\"'*.([", max_size=4), right=st.text(" \n\t\"'*.)]!", max_size=4))
def test_a_bare_label_is_found_whatever_surrounds_it(label: str, left: str, right: str) -> None:
    assert find_label(left + label.upper() + right, NLI) == label


@given(text=st.text(max_size=80))
def test_any_text_has_a_label_or_none(text: str) -> None:
    assert find_label(text, NEWS) in {*NEWS, None}
    assert classify_explanation(clean(text), labels=NEWS, inputs=[text], finished=True) in OUTCOMES
    split_answer(text)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  It is\n so.  ", "It is so."),
        ("Explanation: it is so.", "it is so."),
        ("**Explanation:** it is so.", "it is so."),
        ('"It is so."', "It is so."),
        ('"A" is not "B"', '"A" is not "B"'),
        ("'tis so", "'tis so"),
        ("", ""),
        ('"', '"'),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Explanation: both run. Label: neutral", ("both run.", "neutral")),
        ("Explanation: both run.\n**Label:** neutral.", ("both run.", "neutral.")),
        ("Explanation: the label is unclear. LABEL: neutral\n", ("the label is unclear.", "neutral")),
        ("Both run, hence neutral.", ("Both run, hence neutral.", None)),
        ("Label: neutral Explanation: both run.", ("both run.", "neutral")),
        ("Label: neutral", ("", "neutral")),
        (
            "Explanation: a. Label: positive Explanation: b. Label: negative",
            ("a. Label: positive Explanation: b.", "negative"),
        ),
    ],
)
def test_split_answer(text: str, parts: tuple[str, str | None]) -> None:
    assert split_answer(text) == parts


PREMISE = "A man in a red coat is walking his dog in the park."


@pytest.mark.parametrize(
    ("text", "finished", "outcome"),
    [
        ("The man is outside because he is in the park.", True, "ok"),
        ("I cannot tell from the premise whether the dog is old.", True, "ok"),
        ("It is very very very very good.", True, "ok"),
        ("", True, "empty"),
        (" .\n", True, "empty"),
        ("?!", False, "empty"),
        ("I'm sorry, but I can't judge this.", True, "refused"),
        ("I\u2019m sorry, no.", True, "refused"),
        ("As an AI language model, I have no opinion.", True, "refused"),
        ("I cannot provide an explanation.", True, "refused"),
        ("neutral", True, "label_only"),
        ("The label is neutral.", True, "label_only"),
        ("It is a contradiction because it is a contradiction.", True, "label_only"),
        ("the dog the dog the dog the dog", True, "repetitive"),
        ("He walks. yes yes yes yes yes yes yes yes", False, "repetitive"),
        ("!!!!!!!!!!!!!!!!!!!!", False, "repetitive"),
        ("abababababababab", False, "repetitive"),
        (PREMISE, True, "copied"),
        (PREMISE.upper().replace(".", "!"), True, "copied"),
        ("walking his dog in the park", True, "copied"),
        ("A cat.", True, "ok"),
        ("The man is outside because he is in", False, "truncated"),
    ],
)
def test_classify_explanation(text: str, finished: bool, outcome: str) -> None:
    assert classify_explanation(text, labels=NLI, inputs=[PREMISE, "A cat sleeps."], finished=finished) == outcome


@pytest.mark.parametrize(
    ("text", "phrase", "named"),
    [
        ("The room was NOT clean.", "clean", True),
        ("The cleaner came.", "clean", False),
        ("It is well-known, sci/tech", "sci tech", True),
        ("in new\nYork!", "New York", True),
        ("York is new", "new york", False),
        ("don\u2019t", "don't", True),
        ("anything", "", False),
    ],
)
def test_mentions(text: str, phrase: str, named: bool) -> None:
    assert mentions(text, phrase) is named


def test_words() -> None:
    assert words("Don\u2019t STOP: it's 3.5, na\u00efve!") == ["don't", "stop", "it's", "3", "5", "na\u00efve"]


small = st.lists(st.sampled_from("abc"), max_size=12)


@given(a=small, b=small)
def test_longest_run_is_the_longest_shared_stretch(a: list[str], b: list[str]) -> None:
    stretches = {tuple(b[i:j]) for i in range(len(b)) for j in range(i + 1, len(b) + 1)}
    shared = (j - i for i in range(len(a)) for j in range(i + 1, len(a) + 1) if tuple(a[i:j]) in stretches)
    assert longest_run(a, b) == max(shared, default=0)


@given(pieces=st.lists(st.sampled_from("ab"), max_size=14), least=st.integers(3, 8))
def test_loops_finds_cycles_of_three_that_fill_half(pieces: list[str], least: int) -> None:
    size = len(pieces)
    stretches = (pieces[i:j] for i in range(size) for j in range(i + least, size + 1) if 2 * (j - i) >= size)
    cyclic = any(
        len(s) >= 3 * p and all(s[k] == s[k - p] for k in range(p, len(s)))
        for s in stretches
        for p in range(1, len(s) // 3 + 1)
    )
    assert loops(pieces, least) == cyclic
