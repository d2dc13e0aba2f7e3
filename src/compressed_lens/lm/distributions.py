"""Two inspections that compare next-token distributions of two models over one text. No torch here.

The first model is asked `Likeliest`; its answer goes into `Against`, which the second one is asked. What travels is
small whatever the vocabulary: per position the likeliest tokens, their log-probabilities, and one lump for all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

ROUNDING = 1e-9
"""KL, in nats, below which two distributions count as equal: what rounding in a batch of another size leaves."""

_HERE = "compressed_lens.lm.inside.distributions"


@dataclass(frozen=True, kw_only=True)
class Likeliest:
    """Take down the likeliest next tokens at every position of a text that follows the prompt.

    The positions are those that predict the tokens of `continuation`; where it is empty, the one after the prompt.

    Values: `ids` (tokens of the continuation), `packed` (tokens and log-probabilities, for `Against`), `outside`
    [positions] (probability of all tokens that are not among the likeliest, 0..1); `finite` (whether all of it is).

    Attributes:
        continuation: The text.
        top: How many tokens a position; at most the whole vocabulary is taken.
    """

    runs: ClassVar[str] = f"{_HERE}:likeliest"
    of_logits: ClassVar[bool] = True
    passes: ClassVar[int] = 1

    continuation: str
    top: int = 64

    def made_up(self) -> dict[str, Any]:
        """Return what it might answer, for a plan."""
        return {"ids": [1], "packed": "", "outside": [0.0], "finite": True}


@dataclass(frozen=True, kw_only=True)
class Against:
    """Compare the model's next-token distributions with those that another model took down.

    Values: `kl` [positions]: KL(other || own) in nats, at least 0, over the other's likeliest tokens and one lump of
    all the rest: never more than the KL over the whole vocabulary, and equal to it where nothing is in the lump.
    `same_top` [positions]: whether the other's likeliest token is the likeliest here, too (ties count). `probability`
    [tokens] of each token of the continuation, 0..1. `finite`: whether all of it is; else the lists are empty.

    Attributes:
        continuation: The text, as in `Likeliest`.
        ids: Its tokens for the other model, which must be the same here.
        packed: What the other model took down.
    """

    runs: ClassVar[str] = f"{_HERE}:against"
    of_logits: ClassVar[bool] = True
    passes: ClassVar[int] = 1

    continuation: str
    ids: tuple[int, ...]
    packed: str

    def made_up(self) -> dict[str, Any]:
        """Return what it might answer, for a plan."""
        tokens = len(self.ids)
        return {"kl": [0.01] * tokens, "same_top": [True] * tokens, "probability": [0.5] * tokens, "finite": True}
