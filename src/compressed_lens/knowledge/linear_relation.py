"""Linear relations: is what a model does with a subject, to recall a fact about it, an affine map?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, cast

from compressed_lens.analyses.base import Metric, Record, Steps
from compressed_lens.analyses.settings import at_least_one, at_least_zero, truth_value
from compressed_lens.errors import StudyError
from compressed_lens.ids import digest
from compressed_lens.knowledge.facts import check_token, subject_of
from compressed_lens.knowledge.matching import first_token_right
from compressed_lens.knowledge.recall import asking
from compressed_lens.lm.inspections import Example, LinearRelation
from compressed_lens.lm.protocol import Inspect, Inspection, Prompt
from compressed_lens.tasks.base import Item, Task, TaskKind


def training_pairs(task: Task, item: Item, *, count: int, seed: int) -> tuple[Item, ...]:
    """Return facts of the item's relation about other subjects, one a subject, in an order that `seed` decides alone.

    So nearly all items of a relation share their training pairs.
    """
    ranked = sorted(
        filter(subject_of, task.by_group.get(item.group, ())),
        key=lambda other: _place(other.id, seed),
    )
    chosen: dict[str, Item] = {}
    for other in ranked:
        subject = subject_of(other)
        if subject != item.extra.get("subject"):
            chosen.setdefault(subject, other)
    return tuple(chosen.values())[:count]


@dataclass(frozen=True, kw_only=True)
class LinearRelations:
    """Predict the object by the relation's affine map (LRE, Hernandez et al. 2024), estimated on other subjects.

    Values: `faithful` and `agrees` (at the first of `betas`; `faithful_by_beta`, `agrees_by_beta` for all), `known`,
    `faithful_known` (None where the model does not know the fact), `top` [betas], `predicted` (the model's own token),
    `rank` and `log_probability` of the object's first token under the map at the first of `betas`, `layer`, `pairs`
    (subjects of the training pairs).

    Attributes:
        layer: State of the subject's last token the map starts from: a whole number is the number of the state (0 is
            the embeddings, negative ones count from the last), a fraction is one of the model's depth.
        betas: Factors of the linear part; the metrics are those of the first.
        pairs: Training pairs of a relation; 5 in the published code, 8 in the paper.
        few_shot: Put the other training pairs in front of every prompt, one a line, as the paper does.
        seed: Which training pairs.
    """

    name: ClassVar[str] = "linear_relation"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("recall",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="faithfulness",
            value="faithful_known",
            direction="higher",
            unit="rate",
            summary="Share of the facts the model knows whose object's first token the affine map gives",
        ),
        Metric(
            name="faithfulness_all",
            value="faithful",
            direction="higher",
            unit="rate",
            summary="The same share of all facts, known or not",
        ),
        Metric(
            name="agreement",
            value="agrees",
            direction="higher",
            unit="rate",
            summary="Share of facts where the affine map gives the model's own token, right or wrong",
        ),
        Metric(
            name="known",
            value="known",
            direction="higher",
            unit="rate",
            summary="Share of facts whose first token the model gets right after the same prompt",
        ),
        Metric(
            name="rank",
            value="rank",
            direction="lower",
            unit="ranks",
            summary="Median rank of the object's first token under the affine map (1 is best)",
            statistic="median",
        ),
        Metric(
            name="log_probability",
            value="log_probability",
            direction="higher",
            unit="nats",
            summary="Log-probability of the object's first token under the affine map",
        ),
    )

    layer: int | float = 0.5
    betas: tuple[float, ...] = (1.0,)
    pairs: int = 5
    few_shot: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        at_least_one("pairs", self.pairs)
        at_least_zero("seed", self.seed)
        truth_value("few_shot", self.few_shot)
        fraction = isinstance(self.layer, float) and 0 <= self.layer <= 1
        if isinstance(self.layer, bool) or not (isinstance(self.layer, int) or fraction):
            raise StudyError(
                f"The setting layer cannot be {self.layer!r}.",
                fix="Give the number of a state, or a fraction of the depth between 0.0 and 1.0.",
            )
        if not isinstance(self.betas, tuple):
            raise StudyError(f"The setting betas cannot be {self.betas!r}.", fix="Give a list of factors: [1.0].")
        if not self.betas:
            raise StudyError("The setting betas is empty.", fix="Give at least one factor, such as 1.0.")
        for beta in self.betas:
            at_least_zero("betas", beta)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask once: the map is estimated and applied inside the model."""
        subject = subject_of(item)
        if not subject:
            return Record(values={}, failed="the prompt does not hold the subject")
        pairs = training_pairs(task, item, count=self.pairs, seed=self.seed)
        if len(pairs) < self.pairs:
            reason = f"the relation has {len(pairs)} other subjects to learn from, {self.pairs} are needed"
            return Record(values={}, failed=reason)
        examples = tuple(
            Example(
                prompt=self._prompt([other for other in pairs if other is not pair], pair),
                mention=subject_of(pair),
                target=pair.answers[0],
            )
            for pair in pairs
        )
        by = LinearRelation(
            target=item.answers[0],
            mention=subject,
            examples=examples,
            layer=self.layer,
            betas=tuple(map(float, self.betas)),
        )
        (answer,) = yield [Inspect(prompt=self._prompt(pairs, item), by=by)]
        found = cast(Inspection, answer).values
        check_token(found["token"])
        if not all(map(math.isfinite, found["log_probability"])):
            return Record(values={}, failed="the affine map leaves the range of numbers")
        faithful = [bool(first_token_right(top, item.answers[:1])) for top in found["top"]]
        known = bool(found["known"])
        return Record(
            values={
                "faithful": faithful[0],
                "faithful_known": faithful[0] if known else None,
                "faithful_by_beta": [*faithful],
                "agrees": found["agrees"][0],
                "agrees_by_beta": found["agrees"],
                "known": known,
                "top": found["top"],
                "predicted": found["predicted"],
                "object": item.answers[0],
                "rank": found["rank"][0],
                "log_probability": found["log_probability"][0],
                "layer": found["layer"],
                "pairs": [subject_of(pair) for pair in pairs],
            }
        )

    def _prompt(self, shots: Sequence[Item], item: Item) -> Prompt:
        return asking("continue", item.fields["prompt"], shots if self.few_shot else ())


@lru_cache(maxsize=1 << 16)
def _place(identity: str, seed: int) -> str:
    return digest([identity, seed])
