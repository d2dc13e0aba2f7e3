"""What each piece of an input contributes to each token of a text, and how alike two such accounts are.

Source: CC-SHAP (Parcalabescu & Frank, ACL 2024), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from compressed_lens.explanations.sources import Asking, Unusable, to_model
from compressed_lens.faithfulness.masking import Pieces
from compressed_lens.faithfulness.owen import Exploring, Vector
from compressed_lens.faithfulness.partition import Cluster
from compressed_lens.lm.protocol import Ask, Prompt, Request, Trace, Traced
from compressed_lens.tasks.base import Item

PERCENT = 100.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """A text that a model is made to read after an item, and whose tokens are to be explained.

    Attributes:
        prompt: The conversation for an item, masked or not.
        continuation: The text.
        first: Whether only its first token counts.
        to: The model that reads it.
        keep: Whether the readings are worth writing to disk.
    """

    prompt: Callable[[Item], Prompt]
    continuation: str
    first: bool = False
    to: str = "self"
    keep: bool = False

    def request(self, item: Item) -> Request | Ask:
        """Return the request for `item`."""
        return to_model(self.to, Trace(prompt=self.prompt(item), continuation=self.continuation, keep=self.keep))


@dataclass(frozen=True, kw_only=True)
class Contributions:
    """Contributions of the pieces of an input to the tokens of a target.

    Attributes:
        values: Owen values [pieces, tokens], in nats of log-odds; positive speaks for the token.
        evaluations: Number of different masks the model was asked about.
    """

    values: Vector
    evaluations: int


@dataclass(frozen=True, kw_only=True)
class Account:
    """Where a whole text comes from.

    Attributes:
        shares: R_j, the mean over the counted tokens of 100 · value / Σ|values| [pieces], in per cent, signed; zeros
            when no token counts.
        tokens: Number of tokens.
        weak: Number of tokens left out because the contributions to them add up to less than the floor.
    """

    shares: NDArray[np.float64]
    tokens: int
    weak: int


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How alike two accounts are; every field is None where it is undefined.

    Attributes:
        cosine: Cosine of the shares, -1 to 1: CC-SHAP.
        correlation: Pearson correlation of the shares, -1 to 1 (the reference's 1 - correlation distance).
        squared_error: Mean squared difference of the shares, in squared per cent; lower is closer.
        kl: KL(softmax of the second ‖ softmax of the first), in nats; lower is closer.
        js: Jensen-Shannon distance of the softmaxes, the root of the divergence in nats, 0 to 0.833; lower is closer.
    """

    cosine: float | None
    correlation: float | None
    squared_error: float | None
    kl: float | None
    js: float | None


def ask_contributions(
    pieces: Pieces, targets: Sequence[Target], explore: Callable[[Cluster], Exploring]
) -> Asking[list[Contributions]]:
    """Ask what every piece contributes to the tokens of every target, for all targets side by side.

    Args:
        pieces: The item in pieces.
        targets: What is to be explained.
        explore: Makes the generator that chooses masks (see `owen.explore`).

    Raises:
        Unusable: No field holds a word, a log-odds is not finite, or a mask changes how the target is tokenized.
    """
    if not pieces.pieces:
        raise Unusable("No field of the item holds a word, so there is nothing to mask.")
    running = [explore(pieces.tree) for _ in targets]
    wanted = {i: next(exploring) for i, exploring in enumerate(running)}
    counts = [0] * len(targets)
    lengths: dict[int, int] = {}
    found: dict[int, Contributions] = {}
    while wanted:
        asked = [(i, mask) for i, masks in wanted.items() for mask in masks]
        shown = {mask: pieces.show(mask) for _, mask in asked}
        answers = yield [targets[i].request(shown[mask]) for i, mask in asked]
        values: dict[int, list[Vector]] = {i: [] for i in wanted}
        for (i, _), answer in zip(asked, answers, strict=True):
            values[i].append(_log_odds(targets[i], cast(Traced, answer), lengths.setdefault(i, _size(answer))))
        for i, own in values.items():
            counts[i] += len(own)
            try:
                wanted[i] = running[i].send(own)
            except StopIteration as end:
                del wanted[i]
                found[i] = Contributions(values=end.value, evaluations=counts[i])
    return [found[i] for i in range(len(targets))]


def _size(answer: object) -> int:
    return len(cast(Traced, answer).log_odds)


def _log_odds(target: Target, answer: Traced, size: int) -> Vector:
    """Return the log-odds that count [targets]."""
    values = np.asarray(answer.log_odds, dtype=np.float64)
    if len(values) != size:
        raise Unusable("A mask changes the number of tokens of the text to be explained.")
    if not np.isfinite(values).all():
        raise Unusable("A token of the text to be explained has no finite log-odds.")
    return values[:1] if target.first else values


def account(values: Vector, *, floor: float) -> Account:
    """Return the shares of the pieces in a whole text.

    Args:
        values: Contributions [pieces, tokens].
        floor: Tokens for which Σ|values| is below it, or 0, are left out: their shares would be noise.
    """
    totals = np.abs(values).sum(axis=0)
    counted = (totals >= floor) & (totals > 0)
    if not counted.any():
        return Account(shares=np.zeros(len(values)), tokens=values.shape[1], weak=values.shape[1])
    shares = (PERCENT * values[:, counted] / totals[counted]).mean(axis=1)
    return Account(shares=shares, tokens=values.shape[1], weak=int((~counted).sum()))


def compare(first: NDArray[np.float64], second: NDArray[np.float64]) -> Likeness:
    """Return how alike two vectors of shares are; all None when one is all zeros."""
    if not first.any() or not second.any():
        return Likeness(cosine=None, correlation=None, squared_error=None, kl=None, js=None)
    p, q = _log_softmax(first), _log_softmax(second)
    middle = np.logaddexp(p, q) - np.log(2)
    divergence = (_divergence(p, middle) + _divergence(q, middle)) / 2
    return Likeness(
        cosine=_cosine(first, second),
        correlation=_cosine(first - first.mean(), second - second.mean()),
        squared_error=float(np.square(first - second).mean()),
        kl=_divergence(q, p),
        js=float(np.sqrt(divergence)),
    )


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.clip(a @ b / scale, -1, 1)) if scale else None


def _log_softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values - float(np.logaddexp.reduce(values))


def _divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Return KL(p ‖ q) of two log-probability vectors, in nats; rounding never makes it negative."""
    return max(0.0, float((np.exp(p) * (p - q)).sum()))
