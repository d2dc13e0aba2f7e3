"""Token-level divergence: how far a variant's next-token distributions are from full precision's, over one text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

from compressed_lens.analyses.base import Curve, Family, Metric, Picture, Record, Steps, Value
from compressed_lens.analyses.labels import choose
from compressed_lens.analyses.settings import at_least_one
from compressed_lens.explanations import prompting
from compressed_lens.lm.distributions import ROUNDING, Against, Likeliest
from compressed_lens.lm.protocol import Ask, Generate, Generation, Inspect, Inspection, Prompt, Score, Scores
from compressed_lens.tasks.base import Item, Task, TaskKind

_NOT_FINITE = Record(values={}, failed="a next-token distribution is not finite")


def label_divergence(full: Mapping[str, float], own: Mapping[str, float]) -> float:
    """Return KL(full || own) over labels from unnormalised log-probabilities of the same labels.

    In nats, at least 0; 0 below `ROUNDING`.

    Source: Dutta et al. 2024 (arXiv 2407.09141), section 3.
    """
    p, q = (_normalised(side) for side in (full, own))
    total = sum(math.exp(p[label]) * (p[label] - q[label]) for label in p)
    return total if total >= ROUNDING else 0.0


def _normalised(scores: Mapping[str, float]) -> dict[str, float]:
    top = max(scores.values())
    total = top + math.log(sum(math.exp(score - top) for score in scores.values()))
    return {label: score - total for label, score in scores.items()}


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """Read full precision's greedy answer and compare the next-token distributions at each of its positions.

    Values: `answer` (full precision's, which both read), `tokens` (positions compared: its tokens; 1 where it is
    empty), `kl` (mean over the positions, nats), `largest_kl`, `kl_by_token` [tokens], `same_top_token` (share of
    positions, 0..1), `token_probability` (the variant's probability of full precision's tokens, mean; None where the
    answer is empty), `outside` (largest share of full precision's probability that is compared as one lump); on
    classification tasks `label_kl`, else None.

    Attributes:
        top: Tokens a position that are compared one by one; all others are one lump.
        max_new_tokens: Longest answer, in tokens.
    """

    name: ClassVar[str] = "divergence"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification", "recall", "chain")
    roles: ClassVar[tuple[str, ...]] = ("full",)
    family: ClassVar[Family] = "other"
    # Likeness to full precision has no better direction: an improvement lowers it, too (see docs/noise-floor.md).
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="kl",
            value="kl",
            direction="neither",
            unit="nats",
            summary="Mean KL(full precision || variant) of the next token, over full precision's own answer",
            primary=True,
        ),
        Metric(
            name="same_top_token",
            value="same_top_token",
            direction="neither",
            unit="rate",
            summary="Share of positions at which full precision's likeliest token is the variant's, too",
        ),
        Metric(
            name="largest_kl",
            value="largest_kl",
            direction="neither",
            unit="nats",
            summary="KL at the position of an answer where it is largest, mean over items",
        ),
        Metric(
            name="token_probability",
            value="token_probability",
            direction="neither",
            unit="rate",
            summary="Mean probability of the tokens that full precision wrote",
        ),
        Metric(
            name="label_kl",
            value="label_kl",
            direction="neither",
            unit="nats",
            summary="KL(full precision || variant) over the labels; classification only",
        ),
    )
    pictures: ClassVar[tuple[Picture, ...]] = (
        Curve(
            name="divergence by token",
            value="kl_by_token",
            unit="nats",
            direction="neither",
            summary="KL(full precision || variant) at each token of full precision's answer",
            axis="token",
            first=1,
        ),
    )

    top: int = 64
    max_new_tokens: int = 32

    def __post_init__(self) -> None:
        at_least_one("top", self.top)
        at_least_one("max_new_tokens", self.max_new_tokens)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask full precision for its answer and its distributions over it, then the variant to compare its own."""
        labelled = task.kind == "classification"
        prompt = prompting.classify(task, item) if labelled else Prompt(text=item.fields["prompt"])
        scoring = [Score(prompt=prompt, continuations=task.labels_of(item))] if labelled else []
        answered, *scored = yield [
            Ask(to="full", request=Generate(prompt=prompt, max_new_tokens=self.max_new_tokens)),
            *(Ask(to="full", request=score) for score in scoring),
            *scoring,
        ]
        answer = cast(Generation, answered).text
        taken = yield [Ask(to="full", request=Inspect(prompt=prompt, by=Likeliest(continuation=answer, top=self.top)))]
        full = cast(Inspection, taken[0]).values
        choices = [choose(task.labels_of(item), scores) for scores in cast(list[Scores], scored)]
        if not full["finite"] or None in choices:
            return _NOT_FINITE
        by = Against(continuation=answer, ids=tuple(full["ids"]), packed=full["packed"])
        compared = yield [Inspect(prompt=prompt, by=by)]
        own = cast(Inspection, compared[0]).values
        if not own["finite"]:
            return _NOT_FINITE
        told = own["probability"]
        labels = [choice.log_probabilities for choice in choices if choice is not None]
        return Record(
            values={
                "answer": answer,
                "tokens": len(own["kl"]),
                "kl": sum(own["kl"]) / len(own["kl"]),
                "largest_kl": max(own["kl"]),
                "kl_by_token": cast(Value, list(own["kl"])),
                "same_top_token": sum(own["same_top"]) / len(own["same_top"]),
                "token_probability": sum(told) / len(told) if told else None,
                "outside": max(full["outside"]),
                "label_kl": label_divergence(*labels) if labels else None,
            }
        )
