"""Semantic similarity: the cosine between a scorer's embeddings of two texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

from compressed_lens.analyses.base import Metric, Record, Steps
from compressed_lens.explanations.sources import Unusable, to_model
from compressed_lens.lm.protocol import Embed, Embedding
from compressed_lens.quality.texts import UNSCORED, TextScore
from compressed_lens.tasks.base import Item, Task, TaskKind


@dataclass(frozen=True, kw_only=True)
class Similarity(TextScore):
    """Compare an edit with the text before it, or an explanation with the reference closest to it.

    Values: those of `texts.Written`; `similarity`, the cosine of the two embeddings, -1 to 1, higher is closer; None
    for a text that is not scored and for an explanation without a reference.

    The settings that are not listed here are those of `texts.TextScore`.

    Attributes:
        scorer: Who embeds: "full" (the full-precision model) or a judge of the study, an encoder for instance.
        of: "counterfactual" (against the original) or "explanation" (against the closest reference).
    """

    name: ClassVar[str] = "similarity"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="similarity",
            value="similarity",
            direction="higher",
            unit="cosine",
            summary="Mean cosine of embeddings with the original text (edits) or the closest reference (explanations)",
        ),
        UNSCORED,
    )

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for a text, then for its embedding and those of what it is compared with."""
        written = yield from self.ask_text(task, item)
        others = item.references if self.of == "explanation" else (written.original,)
        if written.text is None or not others:
            return Record(values={**written.values, "similarity": None})
        answers = yield [to_model(self.scorer, Embed(text=text)) for text in (written.text, *others)]
        own, *rest = (cast(Embedding, answer).vector for answer in answers)
        return Record(values={**written.values, "similarity": max(cosine(own, other) for other in rest)})


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the cosine of the angle between two vectors of the same length, -1 to 1.

    Raises:
        Unusable: One of them is zero or not finite.
    """
    product = math.fsum(x * y for x, y in zip(a, b, strict=True))
    size = math.hypot(*a) * math.hypot(*b)
    if not math.isfinite(product) or not math.isfinite(size) or size == 0:
        raise Unusable("The scorer's embedding of a text is zero or not finite.")
    return min(1.0, max(-1.0, product / size))
