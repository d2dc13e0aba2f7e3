"""Generated reviews and pairs carry the truth they claim."""

from __future__ import annotations

import re
from random import Random

import pytest

from compressed_lens.testbed import corpus, pairs, reviews
from compressed_lens.testbed.evaluate import names_all

DRAWS = 500


def test_review_labels_edits_and_explanations_are_true() -> None:
    rng = Random(3)
    for _ in range(DRAWS):
        example = reviews.generate(rng)
        text = example.fields["review"]
        assert reviews.judge(text) == example.label
        assert reviews.judge(example.edited) == example.target == reviews.TARGETS[example.label]
        assert names_all(example.explanation, example.evidence)
        without = re.sub(rf"\b(not )?({'|'.join(example.evidence)})\b", "there", text)
        assert reviews.judge(without) is None


def test_a_review_edit_touches_evidence_only() -> None:
    rng = Random(4)
    for _ in range(DRAWS):
        example = reviews.generate(rng)
        changed = set(re.findall(r"\w+", example.fields["review"])) ^ set(re.findall(r"\w+", example.edited))
        assert changed <= set(reviews.POLARITY) | {"not"}


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("The room was not dirty.", "positive"),
        ("The room was clean and the staff was rude.", None),
        ("The room was clean, the staff was rude and the food was bland.", "negative"),
        ("We paid with a card.", None),
        ("The seller was dishonest.", "negative"),
    ],
)
def test_review_judge(text: str, label: str | None) -> None:
    assert reviews.judge(text) == label


def test_pair_labels_and_edits_are_true() -> None:
    rng = Random(5)
    seen = set()
    for _ in range(DRAWS):
        example = pairs.generate(rng)
        premise = example.fields["premise"]
        assert pairs.judge(premise, example.fields["hypothesis"]) == example.label
        assert pairs.judge(premise, example.edited) == example.target == pairs.TARGETS[example.label]
        assert names_all(example.explanation, example.evidence)
        seen.add(example.label)
    assert seen == set(pairs.LABELS)


@pytest.mark.parametrize(
    ("hypothesis", "label"),
    [
        ("The coat is red.", "entailment"),
        ("The coat is blue.", "contradiction"),
        ("The hat is red.", None),
        ("The man is outdoors.", "entailment"),
        ("The man is in the kitchen.", "contradiction"),
        ("The man is making music.", "entailment"),
        ("The man is cooking.", "contradiction"),
        ("The man is tired.", "neutral"),
        ("The woman is tired.", None),
        ("The man is blorbing.", None),
    ],
)
def test_pair_judge(hypothesis: str, label: str | None) -> None:
    assert pairs.judge("A man in a red coat is playing a guitar in the park.", hypothesis) == label


def test_pair_judge_knows_no_other_premise() -> None:
    assert pairs.judge("Two dogs run.", "The man is tired.") is None


def test_held_out_examples_are_kept_from_training() -> None:
    rng = Random(6)
    for generator in (reviews, pairs):
        for _ in range(50):
            assert corpus.is_held_out(corpus.draw(generator, rng, held_out=True))
            assert not corpus.is_held_out(corpus.draw(generator, rng, held_out=False))
