"""Perplexity: how fluent a language model finds a text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, cast

from compressed_lens.analyses.base import Metric, Record, Steps, Value
from compressed_lens.explanations.sources import Unusable, to_model
from compressed_lens.lm.protocol import Read, Traced
from compressed_lens.quality.texts import UNSCORED, TextScore
from compressed_lens.tasks.base import Item, Task, TaskKind

_MOST = math.log(1e300)


@dataclass(frozen=True, kw_only=True)
class Perplexity(TextScore):
    """Score each edit, or each explanation, with a language model: exp of the mean negative log-likelihood a token.

    Values: those of `texts.Written`; `nll`, the sum over the text's tokens of their negative log-likelihood, in nats,
    and `tokens`, their number; `nll_per_token`; `perplexity` = exp(nll / tokens), at least 1, lower is more fluent. A
    text that is not scored has none of them. A scorer that uses no BOS cannot score the first token; a text of one
    token then has no perplexity, and the item fails.

    The settings that are not listed here are those of `texts.TextScore`.

    Attributes:
        scorer: Who scores: "full" (the full-precision model) or a judge of the study, any local causal model.
        of: "counterfactual" (the edited field) or "explanation".
    """

    name: ClassVar[str] = "perplexity"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="perplexity",
            value="perplexity",
            direction="lower",
            unit="perplexity",
            summary="Mean over texts of exp(mean negative log-likelihood a token); a few texts can decide it",
            primary=True,
        ),
        Metric(
            name="median_perplexity",
            value="perplexity",
            direction="lower",
            unit="perplexity",
            summary="Median over texts of exp(mean negative log-likelihood a token)",
            statistic="median",
        ),
        Metric(
            name="corpus_perplexity",
            value="nll",
            over="tokens",
            direction="lower",
            unit="perplexity",
            summary="exp(sum of negative log-likelihood / number of tokens) over all texts together",
            statistic="exp_ratio",
        ),
        Metric(
            name="nll_per_token",
            value="nll_per_token",
            direction="lower",
            unit="nats",
            summary="Mean over texts of the negative log-likelihood a token, the logarithm of a perplexity",
        ),
        UNSCORED,
    )

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for a text, then for the log-probability of each of its tokens."""
        written = yield from self.ask_text(task, item)
        if written.text is None:
            return Record(values={**dict.fromkeys(m.value for m in self.metrics), **written.values})
        answers = yield [to_model(self.scorer, Read(text=written.text))]
        return Record(values={**written.values, **likelihood(cast(Traced, answers[0]))})


def likelihood(traced: Traced) -> dict[str, Value]:
    """Return `nll`, `tokens`, `nll_per_token` and `perplexity` of a text that was read.

    Raises:
        Unusable: No token was scored, one has no finite log-probability, or the perplexity is no finite number.
    """
    values = traced.log_probabilities
    if not values:
        raise Unusable("The scorer can score no token of the text: it has one token and the scorer no BOS.")
    nll = -math.fsum(values)
    if not math.isfinite(nll) or nll / len(values) > _MOST:
        raise Unusable("The scorer gives a token of the text no finite log-probability.")
    mean = nll / len(values)
    return {"nll": nll, "tokens": len(values), "nll_per_token": mean, "perplexity": math.exp(mean)}
