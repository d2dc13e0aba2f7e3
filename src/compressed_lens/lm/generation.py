"""Greedy decoding of a batch of prompts; a row leaves the batch as soon as its answer ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from compressed_lens.lm.forward import Passes
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
        new: Ids so far, the end token included.
        finished: Whether the answer ended by itself.
    """

    prompt: Sequence[int]
    limit: int
    stop: tuple[str, ...]
    new: list[int] = field(default_factory=list)
    finished: bool = False


class Decoder:
    """Greedy decoding with one model.

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
            row.new, row.finished = [], False
        active = [row for row in rows if row.limit > 0]
        if self._strict:
            for row in active:
                self._recompute([row])
        elif active:
            self._decode(active)
        return [self._answer(row) for row in rows]

    def _decode(self, active: list[Decoding]) -> None:
        logits, prefix = self._passes.start([row.prompt for row in active])
        if prefix is None:
            self._recompute(active, first=logits[:, -1].argmax(dim=-1).tolist())
            return
        while True:
            tokens: list[int] = logits[:, -1].argmax(dim=-1).tolist()
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
                tokens = logits[:, -1].argmax(dim=-1).tolist()
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
