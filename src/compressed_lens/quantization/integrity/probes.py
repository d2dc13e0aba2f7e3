"""The fixed questions the gate asks: the same text for every model, cut by the model's own tokenizer."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

from compressed_lens.lm.protocol import Prompt

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel

Length = Literal["short", "long"]

SHORT_TOKENS = 50
"""Prompts up to this length are judged apart: known GPTQ kernels break on them only (vllm #10656)."""

_LONG_TOKENS = 200
_TEXT_TOKENS = 320
_CALLER_PROBES = 8
_LIMITLESS = 1 << 20


@cache
def paragraphs() -> tuple[str, ...]:
    """Return the fixed text: eight plain English paragraphs, written for this purpose."""
    text = (files("compressed_lens.quantization") / "fixed_text.txt").read_text(encoding="utf-8")
    return tuple(text.strip().split("\n\n"))


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Token ids the model is run on, one sequence at a time, and the prompt they came from."""

    length: Length
    prompt: Prompt
    ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ProbeSet:
    """Everything the gate asks of one tokenizer.

    Attributes:
        probes: Short (at most 50 tokens) and long prompts.
        texts: Token ids of the fixed text, in pieces that fit the context, for the loss.
        shuffled: The same tokens of each piece, the BOS kept in front, in a shuffled order.
    """

    probes: tuple[Probe, ...]
    texts: tuple[tuple[int, ...], ...]
    shuffled: tuple[tuple[int, ...], ...]

    def of(self, length: Length) -> tuple[Probe, ...]:
        """Return the probes of one length."""
        return tuple(p for p in self.probes if p.length == length)


def build(model: HFModel, extra: Sequence[Prompt] = ()) -> ProbeSet:
    """Return the probe set of `model`'s tokenizer.

    Args:
        model: Its tokenizer cuts the text, its context bounds it.
        extra: Prompts of the study's own tasks; at most eight of each length are used, the first ones,
            and they come first.
    """
    room = model.context_length or _LIMITLESS
    asked = [p for prompt in extra if (p := _probe(model, prompt, room)) is not None]
    kept = [p for length in ("short", "long") for p in [p for p in asked if p.length == length][:_CALLER_PROBES]]
    own = [_probe(model, p, room) for p in _own_prompts(model, min(_LONG_TOKENS, room // 2))]
    texts = tuple(_pieces(model, min(_TEXT_TOKENS, room)))
    shuffler = random.Random(0)  # noqa: S311 - a fixed order, nothing secret
    head = _head(model)
    shuffled = tuple((*t[:head], *shuffler.sample(t[head:], len(t) - head)) for t in texts)
    return ProbeSet(probes=(*kept, *(p for p in own if p is not None)), texts=texts, shuffled=shuffled)


def _probe(model: HFModel, prompt: Prompt, room: int) -> Probe | None:
    ids = tuple(model.encode(prompt))
    if not ids or len(ids) > room - 32:
        return None
    return Probe(length="short" if len(ids) <= SHORT_TOKENS else "long", prompt=prompt, ids=ids)


def _own_prompts(model: HFModel, long_tokens: int) -> Iterator[Prompt]:
    """Yield openings of the fixed text: one word, a clause and a sentence of each paragraph, and long ones."""
    for index, paragraph in enumerate(paragraphs()):
        words = paragraph.split(" ")
        if index % 2:
            yield Prompt(text=words[0])
        yield Prompt(text=" ".join(words[: 4 + 2 * (index % 4)]))
        longest = next(
            (n for n in range(len(words), 0, -5) if len(model.encode(Prompt(text=" ".join(words[:n])))) <= long_tokens),
            0,
        )
        if longest:
            yield Prompt(text=" ".join(words[:longest]))


def _pieces(model: HFModel, room: int) -> Iterator[tuple[int, ...]]:
    """Yield every paragraph's ids, halved between sentences until each piece fits."""
    for paragraph in paragraphs():
        waiting = [paragraph]
        while waiting:
            text = waiting.pop(0)
            ids = tuple(model.encode(Prompt(text=text)))
            sentences = text.split(". ")
            if len(ids) <= room:
                yield ids
            elif len(sentences) > 1:
                half = len(sentences) // 2
                waiting[:0] = [". ".join(sentences[:half]) + ".", ". ".join(sentences[half:])]
            else:
                yield ids[:room]


def _head(model: HFModel) -> int:
    """Return how many tokens the tokenizer puts in front of every text (0 or 1: a BOS)."""
    bos = model.tokenizer.bos_token_id
    ids = model.encode(Prompt(text=paragraphs()[0]))
    return int(bos is not None and ids[:1] == [bos])
