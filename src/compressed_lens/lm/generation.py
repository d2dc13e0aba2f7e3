"""Decoding of a batch of prompts, greedy or drawn; a row leaves the batch as soon as its answer ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compressed_lens.ids import digest
from compressed_lens.lm.forward import Passes, Prefix
from compressed_lens.lm.protocol import Generation
from compressed_lens.lm.text import answer_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TOKENS_PER_CHARACTER = 4


@dataclass(kw_only=True)
class Decoding:
    """One answer in the making.

    Attributes:
        prompt: Token ids the answer follows.
        limit: Most new tokens.
        stop: Strings the answer ends before.
        temperature: What logits are divided by before a token is drawn; 0 takes the likeliest.
        seed: Which draw.
        new: Ids so far, the end token included.
        finished: Whether the answer ended by itself.
    """

    prompt: Sequence[int]
    limit: int
    stop: tuple[str, ...]
    temperature: float = 0.0
    seed: int = 0
    new: list[int] = field(default_factory=list)
    finished: bool = False
    _dice: Random = field(default_factory=Random, repr=False)

    def restart(self) -> None:
        """Forget the answer; its random numbers begin again, from the prompt and the seed alone."""
        self.new, self.finished = [], False
        self._dice = Random(digest([list(self.prompt), self.seed], length=32))

    def draw(self, logits: Tensor) -> int:
        """Return a token drawn from the distribution with these logits [vocabulary]."""
        cumulative = (logits.double() / self.temperature).softmax(dim=-1).cumsum(dim=-1)
        place = torch.searchsorted(cumulative, cumulative[-1:] * self._dice.random(), right=True)
        return min(int(place), len(logits) - 1)


class Decoder:
    """Decoding with one model.

    Args:
        passes: The model's forward passes.
        tokenizer: Its tokenizer.
        ends: Ids of every token that ends an answer.
        strict: One row at a time, every step computed from the first token.
    """

    def __init__(
        self, passes: Passes, tokenizer: PreTrainedTokenizerBase, ends: frozenset[int], *, strict: bool = False
    ) -> None:
        self._passes = passes
        self._tokenizer = tokenizer
        self._ends = ends
        self._strict = strict

    def run(self, rows: Sequence[Decoding]) -> list[Generation]:
        """Decode every row to its end; rows are started afresh, so a call that failed may be repeated."""
        for row in rows:
            row.restart()
        active = [row for row in rows if row.limit > 0]
        if self._strict:
            for row in active:
                self._recompute([row])
        elif active:
            logits, prefix = self._passes.start([row.prompt for row in active])
            if prefix is None:
                self._recompute(active, first=_choose(active, logits[:, -1]))
            else:
                self._decode(active, logits, prefix)
        return [self._answer(row) for row in rows]

    def follow(self, rows: Sequence[Decoding], logits: Tensor, prefix: Prefix) -> list[Generation]:
        """Decode rows whose prompts have been run already, each with room for a token.

        Args:
            rows: What to decode.
            logits: Of the token after each prompt [rows, 1, vocabulary].
            prefix: Keys and values of the prompts; used up.
        """
        for row in rows:
            row.restart()
        self._decode(list(rows), logits, prefix)
        return [self._answer(row) for row in rows]

    def _decode(self, active: list[Decoding], logits: Tensor, prefix: Prefix) -> None:
        while True:
            tokens = _choose(active, logits[:, -1])
            going = [i for i, (row, token) in enumerate(zip(active, tokens, strict=True)) if self._take(row, token)]
            if not going:
                return
            if len(going) < len(active):
                active = [active[i] for i in going]
                prefix = prefix.select(going)
            logits, prefix = self._passes.extend(prefix, [row.new[-1:] for row in active])

    def _recompute(self, active: list[Decoding], *, first: list[int] | None = None) -> None:
        """Decode without a cache: every step reads the whole row again."""
        tokens = first
        while active:
            if tokens is None:
                logits, _ = self._passes.start([[*row.prompt, *row.new] for row in active])
                tokens = _choose(active, logits[:, -1])
            active = [row for row, token in zip(active, tokens, strict=True) if self._take(row, token)]
            tokens = None

    def _take(self, row: Decoding, token: int) -> bool:
        """Append `token` to the row; return whether the row goes on."""
        row.new.append(token)
        row.finished = token in self._ends or (bool(row.stop) and self._stopped(row))
        return not row.finished and len(row.new) < row.limit

    def _stopped(self, row: Decoding) -> bool:
        # A character takes at most four (byte) tokens, so a stop string that has just appeared lies in this window.
        window = _TOKENS_PER_CHARACTER * (max(map(len, row.stop)) + 1)
        tail = self._text(row.prompt, row.new[-window:])
        return any(stop in tail for stop in row.stop) and self._cut(row, self._text(row.prompt, row.new)) is not None

    def _answer(self, row: Decoding) -> Generation:
        ended = bool(row.new) and row.new[-1] in self._ends
        text = self._text(row.prompt, row.new[:-1] if ended else row.new)
        cut = self._cut(row, text)
        return Generation(text=text if cut is None else text[:cut], tokens=len(row.new), finished=row.finished)

    def _text(self, prompt: Sequence[int], ids: Sequence[int]) -> str:
        return answer_text(self._tokenizer, prompt, ids)

    @staticmethod
    def _cut(row: Decoding, text: str) -> int | None:
        """Return where the first stop string of `text` begins, or None."""
        return min((place for stop in row.stop if (place := text.find(stop)) >= 0), default=None)


def end_tokens(module: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return every token that ends an answer, by the generation settings, the configuration and the tokenizer."""
    named = [
        getattr(getattr(module, "generation_config", None), "eos_token_id", None),
        getattr(module.config.get_text_config(), "eos_token_id", None),
        tokenizer.eos_token_id,
    ]
    ends: set[int] = set()
    for value in named:
        ends.update([] if value is None else [value] if isinstance(value, int) else value)
    return frozenset(ends)


def _choose(rows: Sequence[Decoding], logits: Tensor) -> list[int]:
    """Return the next token of every row, from its logits [rows, vocabulary]."""
    best: list[int] = logits.argmax(dim=-1).tolist()
    return [row.draw(own) if row.temperature > 0 else token for row, own, token in zip(rows, logits, best, strict=True)]
