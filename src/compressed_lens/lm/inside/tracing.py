"""Causal tracing: noise on a subject's embeddings, one clean state or sub-layer output put back at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from compressed_lens.ids import digest
from compressed_lens.lm.inside.inside import Inside
from compressed_lens.lm.inside.suffix import Edit, Entry, Suffix
from compressed_lens.lm.inspections import CausalTracing, Restored
from compressed_lens.lm.protocol import Inspect

_WINDOW = 10


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A request, read.

    Attributes:
        by: Its settings.
        ids: The prompt.
        start: Place of the subject's first token.
        size: Number of the subject's tokens.
        token: The target's first token.
        deviation: Of the subject's embeddings.
        noise: What is added to them [samples, size, width], float32 on the CPU.
        window: Blocks restored at a time in sub-layers.
    """

    by: CausalTracing
    ids: tuple[int, ...]
    start: int
    size: int
    token: int
    deviation: float
    noise: Tensor
    window: int

    @property
    def traced(self) -> int:
        """Number of tokens from the subject on."""
        return len(self.ids) - self.start


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One noised copy in which one thing is restored.

    Attributes:
        copy: Number of the copy among those noised together.
        clean: Number of its prompt among the clean ones.
        part: What is restored.
        place: At which token, counted from the subject's first.
        back: The same, counted from the end: 1 is the last token.
        block: Block whose output is restored, or the middle of the window.
        window: Blocks whose sub-layer outputs are restored.
        enters: First block that is given something else than in the noised copy.
    """

    copy: int
    clean: int
    part: Restored
    place: int
    back: int
    block: int
    window: range
    enters: int


class _Batch:
    """Noised copies of some prompts, run together.

    Args:
        copies: Subject and number of the sample, of every copy.
        budget: Tokens of a pass.
    """

    def __init__(self, inside: Inside, copies: Sequence[tuple[Subject, int]], budget: int) -> None:
        self._inside = inside
        self._anatomy = inside.anatomy
        self._copies = copies
        self._budget = budget
        self._subjects = list({id(subject): subject for subject, _ in copies}.values())
        self._number = {id(subject): n for n, subject in enumerate(self._subjects)}
        self._longest = max(subject.traced for subject in self._subjects)

    @cached_property
    def _clean(self) -> Suffix:
        look = {part for subject in self._subjects for part in subject.by.parts} - {"state"}
        rows = [subject.ids for subject in self._subjects]
        return Suffix.of(self._anatomy, self._inside.passes, rows, tokens=self._longest, look=look)  # type: ignore[arg-type]

    def clean(self) -> list[tuple[float, bool]]:
        """Return P(target) without noise, and whether it is the likeliest token, of every copy's prompt."""
        logits = self._anatomy.logits(self._clean.states[-1][:, -1])
        chances = _chances(logits, torch.tensor([subject.token for subject in self._subjects])).tolist()
        tops = logits.argmax(dim=-1).tolist()
        numbers = [self._number[id(subject)] for subject, _ in self._copies]
        return [(chances[n], tops[n] == self._subjects[n].token) for n in numbers]

    def noised(self) -> tuple[list[float], list[dict[Restored, Tensor]]]:
        """Return P(target) with noise of every copy, and for each part P with it restored [tokens, blocks]."""
        blocks = len(self._anatomy.blocks)
        low = [0.0] * len(self._copies)
        grids: list[dict[Restored, Tensor]] = [
            {part: torch.zeros(subject.traced, blocks, dtype=torch.float64) for part in subject.by.parts}
            for subject, _ in self._copies
        ]
        # A suffix of k tokens serves the places up to k from the end, but not the last half, which shorter ones serve.
        tokens = 1
        while tokens < 2 * self._longest:
            self._restore(min(tokens, self._longest), tokens // 2, low, grids)
            tokens *= 2
        return low, grids

    def _restore(self, tokens: int, beyond: int, low: list[float], grids: list[dict[Restored, Tensor]]) -> None:
        """Fill in what is restored at most `tokens`, but more than `beyond` tokens from the end."""
        chosen = [n for n, (subject, _) in enumerate(self._copies) if subject.traced > beyond]
        copies = [self._copies[n] for n in chosen]
        suffix = self._suffix(copies, tokens)
        targets = torch.tensor([subject.token for subject, _ in copies])
        plain = _chances(self._anatomy.logits(suffix.states[-1][:, -1]), targets).tolist()
        for n, chance in zip(chosen, plain, strict=True):
            low[n] = chance
        rows = [
            row
            for number, (subject, _) in enumerate(copies)
            for row in self._rows(number, subject, range(beyond + 1, min(tokens, subject.traced) + 1))
        ]

        def work(batch: Sequence[int]) -> None:
            own = sorted((rows[n] for n in batch), key=lambda row: row.enters)
            for row, chance in zip(own, self._run(suffix, own, targets), strict=True):
                grids[chosen[row.copy]][row.part][row.place, row.block] = chance

        most = self._inside.passes.logit_budget(self._budget) * suffix.width
        self._inside.each([suffix.width] * len(rows), work, min(self._budget, most))

    def _suffix(self, copies: Sequence[tuple[Subject, int]], tokens: int) -> Suffix:
        """Run the copies with their noise."""
        width = max(len(subject.ids) for subject, _ in copies)
        noise = torch.zeros(len(copies), width, self._anatomy.width)
        for row, (subject, sample) in enumerate(copies):
            first = width - subject.traced
            noise[row, first : first + subject.size] = subject.noise[sample]
        passes = self._inside.passes
        with _adding(passes.module.get_input_embeddings(), noise):
            return Suffix.of(self._anatomy, passes, [subject.ids for subject, _ in copies], tokens=tokens)

    def _rows(self, number: int, subject: Subject, backs: range) -> Iterator[_Row]:
        blocks = len(self._anatomy.blocks)
        for block in range(blocks):
            window = window_of(block, subject.window, blocks)
            for part in subject.by.parts:
                for back in backs:
                    yield _Row(
                        copy=number,
                        clean=self._number[id(subject)],
                        part=part,
                        place=subject.traced - back,
                        back=back,
                        block=block,
                        window=window,
                        enters=block + 1 if part == "state" else window.start,
                    )

    def _run(self, suffix: Suffix, rows: Sequence[_Row], targets: Tensor) -> list[float]:
        """Return P(target) of rows, which are sorted by the block they enter."""
        device = suffix.states[0].device

        def each(numbers: Iterator[int | bool]) -> Tensor:
            return torch.tensor(list(numbers), device=device)

        copies, clean = each(row.copy for row in rows), each(row.clean for row in rows)
        backs, enters = each(row.back for row in rows), each(row.enters for row in rows)
        whole = each(row.part == "state" for row in rows)
        entries = []
        for block in sorted({row.enters for row in rows}):
            own = (enters == block).nonzero()[:, 0]
            states = suffix.states[block][copies[own]]
            put = whole[own].nonzero()[:, 0]
            source = own[put]
            states[put, -backs[source]] = self._clean.states[block][clean[source], -backs[source]]
            entries.append(Entry(block=block, prompts=copies[own], states=states))
        edits = []
        kinds: tuple[tuple[Literal["attention", "ffn"], list[Tensor]], ...]
        kinds = (("attention", self._clean.attention), ("ffn", self._clean.ffn))
        for part, kept in kinds:
            for block, written in enumerate(kept):
                inside = each(row.part == part and block in row.window for row in rows)
                edits.append(Edit(block=block, part=part, change=_putting(written, inside, clean, backs)))
        ran = suffix.run(entries, edits=edits)
        return _chances(self._anatomy.logits(ran.states[:, -1]), targets[copies.cpu()]).tolist()


def run(inside: Inside, requests: Sequence[Inspect], *, batch_tokens: int) -> list[dict[str, Any]]:
    """Answer `CausalTracing` requests."""
    subjects = [read(inside, request) for request in requests]
    copies = [(n, sample) for n, subject in enumerate(subjects) for sample in range(subject.by.samples)]
    clean: dict[int, tuple[float, bool]] = {}
    low: dict[tuple[int, int], float] = {}
    grids: dict[tuple[int, int], dict[Restored, Tensor]] = {}

    def work(batch: Sequence[int]) -> None:
        own = [copies[n] for n in batch]
        group = _Batch(inside, [(subjects[n], sample) for n, sample in own], batch_tokens)
        plain, (lows, restored) = group.clean(), group.noised()
        clean.update(zip((n for n, _ in own), plain, strict=True))
        low.update(zip(own, lows, strict=True))
        grids.update(zip(own, restored, strict=True))

    with torch.no_grad():
        inside.each([len(subjects[n].ids) for n, _ in copies], work, batch_tokens)
    return [
        {
            "tokens": [inside.text(token) for token in subject.ids[subject.start :]],
            "subject_tokens": subject.size,
            "clean": clean[n][0],
            "known": clean[n][1],
            "low": sum(low[n, sample] for sample in range(subject.by.samples)) / subject.by.samples,
            **{
                part: torch.stack([grids[n, sample][part] for sample in range(subject.by.samples)]).mean(dim=0).tolist()
                for part in subject.by.parts
            },
            "deviation": subject.deviation,
            "window": subject.window,
            "token": inside.text(subject.token),
        }
        for n, subject in enumerate(subjects)
    ]


def read(inside: Inside, request: Inspect) -> Subject:
    """Return what a `CausalTracing` request stands for: tokens, places, and the noise itself."""
    by = request.by
    assert isinstance(by, CausalTracing)
    ids = inside.reader.prompt(request.prompt)
    places = inside.reader.part(request.prompt, by.mention).places
    start, size = places[0], places[-1] + 1 - places[0]
    deviation = by.deviation
    if deviation is None:
        own = torch.tensor(ids[start : start + size], device=inside.passes.device)
        with torch.no_grad():
            deviation = float(inside.passes.module.get_input_embeddings()(own).float().std())
    dice = torch.Generator().manual_seed(int(digest([list(ids), start, size, by.seed], length=15), 16))
    noise = torch.randn(by.samples, size, inside.anatomy.width, generator=dice) * (by.noise * deviation)
    return Subject(
        by=by,
        ids=ids,
        start=start,
        size=size,
        token=inside.reader.first(request.prompt, by.target),
        deviation=deviation,
        noise=noise,
        window=by.window or min(_WINDOW, max(1, len(inside.anatomy.blocks) // 3)),
    )


def window_of(block: int, size: int, blocks: int) -> range:
    """Return the blocks of a window around `block`: of an even size, one more below it than above."""
    return range(max(0, block - size // 2), min(blocks, block + (size + 1) // 2))


def _chances(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return P of one token a row, in float64 [rows]."""
    own = logits.gather(1, tokens.to(logits.device)[:, None])[:, 0]
    return (own - logits.logsumexp(dim=-1)).double().exp()


def _putting(clean: Tensor, which: Tensor, prompts: Tensor, backs: Tensor) -> Any:
    """Return a change that puts clean outputs [prompts, tokens, width] back in the rows marked by `which`."""

    def change(written: Tensor, numbers: Tensor) -> Tensor:
        places = which[numbers].nonzero()[:, 0]
        own = numbers[places]
        changed = written.clone()
        changed[places, -backs[own]] = clean[prompts[own], -backs[own]]
        return changed

    return change


@contextmanager
def _adding(embeddings: nn.Module, noise: Tensor) -> Iterator[None]:
    """Add noise [rows, width, channels] to what the embeddings give, over calls that read it from left to right."""
    done = 0

    def after(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        nonlocal done
        own = noise[:, done : done + output.shape[1]]
        done += output.shape[1]
        return output + own.to(output)

    handle = embeddings.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()
