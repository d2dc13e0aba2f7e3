"""Semantic similarity: the cosine between a scorer's embeddings of two texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

from compressed_lens.analyses.base import Metric, Record, Steps
from compressed_lens.explanations.editing import Method
from compressed_lens.explanations.sources import Style, Unusable, to_model
from compressed_lens.lm.protocol import Embed, Embedding
from compressed_lens.quality.texts import UNSCORED, Of, Which, ask_written, check_scorer, check_text_settings
from compressed_lens.tasks.base import Item, Task, TaskKind


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """Compare an edit with the text before it, or an explanation with the reference closest to it.

    Values: those of `texts.Written`; `similarity`, the cosine of the two embeddings, -1 to 1, higher is closer; None
    for a text that is not scored and for an explanation without a reference.

    Attributes:
        scorer: Who embeds: "full" (the full-precision model) or a judge of the study, an encoder for instance.
        of: "counterfactual" (against the original) or "explanation" (against the closest reference).
        style: How explanations are asked for (see `explanations.sources.ask_explanation`).
        method: How edits are asked for (see `explanations.editing.ask_edit`).
        which: "usable": texts without fault are scored. "any": all that hold a word.
        text_tokens: Longest text, in tokens; None for 64 (explanations) or 128 (edits).
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

    scorer: str = "full"
    of: Of = "counterfactual"
    style: Style = "predict-then-explain"
    method: Method = "fizle-naive"
    which: Which = "usable"
    text_tokens: int | None = None

    def __post_init__(self) -> None:
        check_scorer(self.scorer)
        check_text_settings(
            of=self.of, style=self.style, method=self.method, which=self.which, text_tokens=self.text_tokens
        )

    @property
    def roles(self) -> tuple[str, ...]:
        """The scorer."""
        return (self.scorer,)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for a text, then for its embedding and those of what it is compared with."""
        written = yield from ask_written(
            task,
            item,
            of=self.of,
            style=self.style,
            method=self.method,
            which=self.which,
            text_tokens=self.text_tokens,
        )
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
