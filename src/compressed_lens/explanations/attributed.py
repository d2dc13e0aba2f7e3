"""Which words of a text speak most for the model's own label: the first half of ZeroCF (arXiv 2501.00777)."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import comb
from typing import Literal, cast

from compressed_lens.analyses.settings import at_least_one, one_of
from compressed_lens.explanations import prompting
from compressed_lens.explanations.sources import Asking, to_model
from compressed_lens.lm.protocol import Attribute, Attribution, Score, Scores
from compressed_lens.tasks.base import Item, Task

RankingMethod = Literal["gradient_x_input", "integrated_gradients", "occlusion", "shap"]
RANKING_METHODS: tuple[RankingMethod, ...] = ("gradient_x_input", "integrated_gradients", "occlusion", "shap")

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
Subset = frozenset[int]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """How words are ranked.

    Attributes:
        method: "gradient_x_input" and "integrated_gradients": summed over a word's tokens. "occlusion": what the label
            loses in log-probability when the word is left out. "shap": its Shapley value, words left out or kept.
        top: Most words named to the model.
        steps: Points on the path of integrated gradients.
        evaluations: Texts scored for "shap": exact when all subsets fit (2^words), else as many random orders, each
            taken forwards and backwards, as fit (at least one such pair).
        seed: Of the random orders.
    """

    method: RankingMethod = "gradient_x_input"
    top: int = 5
    steps: int = 16
    evaluations: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("attribution", self.method, RANKING_METHODS)
        at_least_one("top", self.top)
        at_least_one("steps", self.steps)
        at_least_one("evaluations", self.evaluations)


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return the half-open character spans of the words of `text`, in order."""
    return [match.span() for match in _WORD.finditer(text)]


def without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Return `text` without the characters of `spans` (in order), surplus blanks removed; punctuation stays."""
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), len(text)]
    return " ".join("".join(text[a:b] for a, b in zip(ends, starts, strict=True)).split())


def per_word(spans: Sequence[tuple[int, int]], found: Attribution, *, offset: int = 0) -> list[float]:
    """Return the sum of token contributions over each word of `spans`.

    A token belongs to the word it shares most characters with (the first of equals), so none counts twice; one that
    touches no word (punctuation, blanks) belongs to none.

    Args:
        spans: Of the words.
        found: Of the tokens.
        offset: Where the words' text begins in the tokens' text.
    """
    values = [0.0] * len(spans)
    for (start, end), value in zip(found.spans, found.values, strict=True):
        shares = [min(end - offset, b) - max(start - offset, a) for a, b in spans]
        if shares and max(shares) > 0:
            values[shares.index(max(shares))] += value
    return values


def exact_shapley(values: Mapping[Subset, float], size: int) -> list[float]:
    """Return Shapley values of `size` players from the value of every subset; they add up to v(all) - v(none)."""
    return [
        sum(
            (values[subset | {i}] - value) / (size * comb(size - 1, len(subset)))
            for subset, value in values.items()
            if i not in subset
        )
        for i in range(size)
    ]


def sampled_shapley(values: Mapping[Subset, float], orders: Sequence[Sequence[int]]) -> list[float]:
    """Return the mean marginal contribution of every player over `orders`; they add up to v(all) - v(none)."""
    totals = [0.0] * len(orders[0])
    for order in orders:
        for (before, after), player in zip(pairwise(prefixes(order)), order, strict=True):
            totals[player] += values[after] - values[before]
    return [total / len(orders) for total in totals]


def prefixes(order: Sequence[int]) -> list[Subset]:
    """Return the sets of the first 0, 1, 2... players of an order."""
    return [frozenset(order[:n]) for n in range(len(order) + 1)]


def random_orders(size: int, *, evaluations: int, seed: int) -> list[list[int]]:
    """Return random orders and their reverses, about `evaluations` prefixes in all and at least one pair."""
    rng = random.Random(seed)
    orders: list[list[int]] = []
    for _ in range(max(1, evaluations // (2 * size))):
        order = rng.sample(range(size), size)
        orders += [order, order[::-1]]
    return orders


def ask_contributions(
    task: Task, item: Item, *, label: str, field: str, ranking: Ranking, to: str = "self"
) -> Asking[list[float]]:
    """Ask how much each word of a field speaks for `label`, in nats; positive speaks for it. One step.

    Returns:
        One value a word of `word_spans(item.fields[field])`.
    """
    text = item.fields[field]
    spans = word_spans(text)
    if not spans:
        return []
    if ranking.method in ("gradient_x_input", "integrated_gradients"):
        line = prompting.shown(replace(item, fields={field: text}))
        request = Attribute(
            prompt=prompting.classify(task, item),
            target=label,
            within=line,
            method=ranking.method,
            steps=ranking.steps if ranking.method == "integrated_gradients" else 1,
        )
        answers = yield [to_model(to, request)]
        return per_word(spans, cast(Attribution, answers[0]), offset=len(line) - len(text))
    everything = frozenset(range(len(spans)))
    orders: list[list[int]] = []
    if ranking.method == "occlusion":
        subsets = [everything, *(everything - {i} for i in range(len(spans)))]
    elif 2 ** len(spans) <= ranking.evaluations:
        subsets = [frozenset(i for i in everything if bits >> i & 1) for bits in range(2 ** len(spans))]
    else:
        orders = random_orders(len(spans), evaluations=ranking.evaluations, seed=ranking.seed)
        subsets = list(dict.fromkeys(subset for order in orders for subset in prefixes(order)))
    values = yield from _ask_values(task, item, subsets, label=label, field=field, to=to)
    if ranking.method == "occlusion":
        return [values[everything] - values[everything - {i}] for i in range(len(spans))]
    return sampled_shapley(values, orders) if orders else exact_shapley(values, len(spans))


def _ask_values(
    task: Task, item: Item, subsets: Sequence[Subset], *, label: str, field: str, to: str
) -> Asking[dict[Subset, float]]:
    """Ask for the label's log-probability with only the words of each subset in the field."""
    text = item.fields[field]
    spans = word_spans(text)
    requests = []
    for kept in subsets:
        gone = [span for i, span in enumerate(spans) if i not in kept]
        shown = prompting.with_field(item, field, without(text, gone) if gone else text)
        requests.append(to_model(to, Score(prompt=prompting.classify(task, shown), continuations=(label,))))
    answers = yield requests
    return {s: cast(Scores, a).log_probabilities[0] for s, a in zip(subsets, answers, strict=True)}


def top_words(text: str, contributions: Sequence[float], top: int) -> tuple[str, ...]:
    """Return up to `top` different words of `text` that speak for the label, the strongest first.

    A word that stands several times counts with its strongest place. Where no word speaks for the label, the one that
    speaks least against it is returned.
    """
    spans = word_spans(text)
    ranked = sorted(range(len(spans)), key=lambda i: -contributions[i])
    chosen: dict[str, str] = {}
    for i in ranked:
        if chosen and (contributions[i] <= 0 or len(chosen) == top):
            break
        word = text[slice(*spans[i])]
        chosen.setdefault(word.casefold(), word)
    return tuple(chosen.values())


def ask_words(
    task: Task, item: Item, *, label: str, field: str, ranking: Ranking, to: str = "self"
) -> Asking[tuple[str, ...]]:
    """Ask which words of a field speak most for `label`; see `top_words`."""
    contributions = yield from ask_contributions(task, item, label=label, field=field, ranking=ranking, to=to)
    return top_words(item.fields[field], contributions, ranking.top)
