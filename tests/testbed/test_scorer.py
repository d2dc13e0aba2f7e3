"""The testbed's sequence-to-sequence scorer: its training pairs, its training, what the shipped weights can tell."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from compressed_lens.explanations import prompting
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Prompt, Trace
from compressed_lens.lm.seq2seq import Seq2SeqModel
from compressed_lens.tasks import load_task
from compressed_lens.testbed import corpus, pairs, reviews, scorer

ITEMS = 60


@pytest.mark.parametrize(
    ("said", "other"),
    [
        (
            "The review says that the room was dirty and the food was not fresh, which is negative.",
            "It is negative because the room was dirty and the food was not fresh.",
        ),
        (
            "The premise does not say whether the man is rich.",
            "Whether the man is rich is not in the premise.",
        ),
        (
            "The boy is in a field, so the boy is outdoors.",
            "The boy is outdoors, because the boy is in a field.",
        ),
    ],
)
def test_rewording(said: str, other: str) -> None:
    assert scorer.reworded(said) == other


def test_every_explanation_of_the_testbed_can_be_reworded() -> None:
    rng = Random(4)
    for generator in (reviews, pairs):
        for _ in range(50):
            example = corpus.draw(generator, rng, held_out=False)
            other = scorer.reworded(example.explanation)
            assert other != example.explanation
            assert all(word in other for word in example.evidence)


def test_noise_keeps_most_words_in_their_place() -> None:
    rng = Random(0)
    text = "one two three four five six seven eight nine ten"
    drawn = [scorer.noisy(text, rng).split() for _ in range(200)]
    assert all(set(words) <= {*text.split(), "_"} and words for words in drawn)
    kept = sum(word in words for words in drawn for word in text.split()) / 2000
    assert 0.75 < kept < 0.85
    assert any("_" in words for words in drawn)
    assert scorer.noisy("", rng) == "_"


def test_training_writes_a_model_that_can_trace(tmp_path: Path) -> None:
    scorer.train(tmp_path, reference=locate_model("reference"), steps=2, log_every=1)
    log = [json.loads(line) for line in (tmp_path / "training_log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 2]
    model = Seq2SeqModel.load(tmp_path, device="cpu")
    (traced,) = model.trace([Trace(prompt=Prompt(text="The man is rich."), continuation="The man is rich.")])
    ids = model.encode(Prompt(text="The man is rich."))
    assert (ids[0], ids[-1]) == (1, 2)
    assert len(traced.log_probabilities) == len(ids)


@pytest.mark.parametrize("name", ["testbed-reviews", "testbed-pairs"])
def test_the_shipped_scorer_tells_an_explanation_from_others(name: str) -> None:
    model = Seq2SeqModel.load(locate_model("testbed-scorer"), device="cpu")
    items = load_task(name, limit=ITEMS).items
    references = [item.references[0] for item in items]
    rng = Random(1)

    def scores(sources: list[str], targets: list[str]) -> list[float]:
        rows = zip(sources, targets, strict=True)
        asked = [Trace(prompt=Prompt(text=source), continuation=target) for source, target in rows]
        return [sum(t.log_probabilities) / len(t.log_probabilities) for t in model.trace(asked)]

    def bartscores(texts: list[str]) -> list[float]:
        """Mean of both directions between each text and the item's reference."""
        ways = (scores(references, texts), scores(texts, references))
        return [(a + b) / 2 for a, b in zip(*ways, strict=True)]

    def shuffled(text: str) -> str:
        words = text.split()
        return " ".join(rng.sample(words, len(words)))

    own, moved = bartscores(references), [*references[1:], references[0]]
    different = [a != b for a, b in zip(references, moved, strict=True)]
    for texts in ([shuffled(text) for text in references], moved):
        wins = [a > b for a, b in zip(own, bartscores(texts), strict=True)]
        assert sum(w for w, d in zip(wins, different, strict=True) if d) >= 0.98 * sum(different)
    reworded, others = bartscores([scorer.reworded(text) for text in references]), bartscores(moved)
    assert sum(a > b for a, b in zip(reworded, others, strict=True)) >= 0.98 * sum(different)
    shown = [prompting.shown(item) for item in items]
    pairs_of = zip(scores(shown, references), scores(shown, moved), strict=True)
    assert sum(a > b for a, b in pairs_of) >= 0.95 * sum(different)
