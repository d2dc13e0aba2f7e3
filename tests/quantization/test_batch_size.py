"""One prompt at a time or 32 in a batch: the same labels, texts and log-probabilities, for every variant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from compressed_lens.explanations import prompting
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.protocol import Generate, Score
from compressed_lens.quantization import RECIPES, Prepared
from compressed_lens.tasks.base import Item
from compressed_lens.testbed import corpus, pairs

ROWS = 32
TOLERANCE = 1e-4
ONE_BY_ONE = 1
ALL_TOGETHER = 1 << 20


@pytest.mark.parametrize("name", ["full", *RECIPES.names()])
def test_batch_size_changes_nothing(name: str, prepared: Callable[[str], Prepared], own_stories: Path) -> None:
    model = HFModel.load(own_stories if name == "full" else prepared(name).folder)
    rng = Random(11)
    examples = [pairs.generate(rng) for _ in range(ROWS)]
    prompts = [
        prompting.classify(corpus.PAIRS, Item(id=str(i), fields=example.fields, answers=(example.label,)))
        for i, example in enumerate(examples)
    ]
    assert len({len(model.encode(prompt)) for prompt in prompts}) > 1
    asked = [Score(prompt=prompt, continuations=pairs.LABELS) for prompt in prompts]
    alone, together = (model.score(asked, batch_tokens=size) for size in (ONE_BY_ONE, ALL_TOGETHER))
    for one, many in zip(alone, together, strict=True):
        assert many.log_probabilities == pytest.approx(one.log_probabilities, abs=TOLERANCE)
        best = [max(range(3), key=scores.log_probabilities.__getitem__) for scores in (one, many)]
        assert best[0] == best[1]
        assert one.greedy == many.greedy
    texts = [
        [g.text for g in model.generate([Generate(prompt=p, max_new_tokens=8) for p in prompts], batch_tokens=size)]
        for size in (ONE_BY_ONE, ALL_TOGETHER)
    ]
    assert texts[0] == texts[1]
