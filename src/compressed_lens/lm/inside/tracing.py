"""Causal tracing: noise on a subject's embeddings, one clean state or sub-layer output put back at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compressed_lens.errors import ModelError
from compressed_lens.ids import digest
from compressed_lens.lm.inside.inside import Inside
from compressed_lens.lm.inside.suffix import Edit, Entry, Look, Suffix
from compressed_lens.lm.inspections import CausalTracing
from compressed_lens.lm.protocol import Inspect

_WINDOW = 10


@dataclass(frozen=True, kw_only=True)
class _Traced:
    """One request, read.

    Attributes:
        ids: The prompt.
        start: Place of the subject's first token.
        subject: Number of the subject's tokens.
        token: The target's first token.
        deviation: Of the subject's embeddings.
        noise: What is added to them [samples, subject tokens, width], float32 on the CPU.
        window: Blocks restored at a time in sub-layers.
    """

    by: CausalTracing
    ids: tuple[int, ...]
    start: int
    subject: int
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
    """One noised copy in which something is restored: numbers of the noised copy and of the request in the batch.

    Attributes:
        part: Place of "state", "ffn" or "attention" among the request's parts.
        place: Token restored, counted from the subject's first.
        block: Block whose output is restored, or the middle of the window.
        enters: First block that computes something else than it did in the noised copy.
    """

    copy: int
    request: int
    part: str
    place: int
    block: int
    enters: int


class _Batch:
    """Noised copies of some prompts, run together.

    Args:
        copies: (request, sample) of every copy.
        budget: Tokens of a pass.
    """

    def __init__(
        self, inside: Inside, all_traced: Sequence[_Traced], copies: Sequence[tuple[int, int]], budget: int
    ) -> None:
        self._inside = inside
        self._copies = copies
        self._budget = budget
        self._of = list(dict.fromkeys(request for request, _ in copies))
        self._traced = [all_traced[n] for n in self._of]
        parts = {part for one in self._traced for part in one.by.parts}
        look: list[Look] = [part for part in ("attention", "ffn") if part in parts]  # type: ignore[misc]
        rows = [one.ids for one in self._traced]
        self._longest = max(one.traced for one in self._traced)
        self._clean = Suffix.of(inside.anatomy, inside.passes, rows, tokens=self._longest, look=look)

    def clean(self) -> dict[int, tuple[float, bool]]:
        """Return P(target), and whether it is the likeliest token, of every request without noise."""
        logits = self._inside.anatomy.logits(self._clean.states[-1][:, -1])
        tokens = torch.tensor([one.token for one in self._traced], device=logits.device)
        chances = _chances(logits, tokens).tolist()
        return {
            request: (chance, bool(top == one.token))
            for request, one, chance, top in zip(
                self._of, self._traced, chances, logits.argmax(dim=-1).tolist(), strict=True
            )
        }

    def restored(self) -> tuple[list[float], dict[tuple[int, str], Tensor]]:
        """Return P(target) with noise of every copy, and for each (copy, part) P with it restored [tokens, blocks]."""
        blocks = len(self._inside.anatomy.blocks)
        grids = {
            (n, part): torch.zeros(all_.traced, blocks, dtype=torch.float64)
            for n, all_ in enumerate(self._of_copies())
            for part in all_.by.parts
        }
        low = [0.0] * len(self._copies)
        # A suffix of k tokens serves the tokens k to k/2 from the end: later ones would carry too many along.
        tokens = 1
        while tokens < 2 * self._longest:
            self._with_tokens(min(tokens, self._longest), tokens // 2, low, grids)
            tokens *= 2
        return low, grids

    def _of_copies(self) -> list[_Traced]:
        return [self._traced[self._of.index(request)] for request, _ in self._copies]

    def _with_tokens(self, tokens: int, beyond: int, low: list[float], grids: dict[tuple[int, str], Tensor]) -> None:
        """Restore the tokens that are `tokens` or fewer, but more than `beyond`, from the end."""
        owners = self._of_copies()
        chosen = [n for n, one in enumerate(owners) if one.traced > beyond]
        noised = self._noised([(owners[n], self._copies[n][1]) for n in chosen], tokens)
        anatomy = self._inside.anatomy
        wanted = torch.tensor([owners[n].token for n in chosen])
        plain = _chances(anatomy.logits(noised.states[-1][:, -1]), wanted).tolist()
        rows = []
        for number, n in enumerate(chosen):
            low[n] = plain[number]
            one = owners[n]
            places = range(max(0, one.traced - tokens), one.traced - beyond)
            rows += list(self._rows(one, number, self._of.index(self._copies[n][0]), places))

        def work(batch: Sequence[int]) -> None:
            part = sorted((rows[n] for n in batch), key=lambda row: row.enters)
            for row, chance in zip(part, self._run(noised, part, wanted), strict=True):
                grids[chosen[row.copy], row.part][row.place, row.block] = chance

        width = self._clean.width
        most = self._inside.passes.logit_budget(self._budget) * width
        self._inside.each([width] * len(rows), work, min(self._budget, most))

    def _rows(self, one: _Traced, number: int, request: int, places: range) -> Iterator[_Row]:
        blocks = len(self._inside.anatomy.blocks)
        for block in range(blocks):
            for part in one.by.parts:
                enters = block + 1 if part == "state" else _window(block, one.window, blocks).start
                for place in places:
                    yield _Row(copy=number, request=request, part=part, place=place, block=block, enters=enters)

    def _noised(self, copies: Sequence[tuple[_Traced, int]], tokens: int) -> Suffix:
        inside = self._inside
        width = max(len(one.ids) for one, _ in copies)
        noise = torch.zeros(len(copies), width, inside.anatomy.width)
        for row, (one, sample) in enumerate(copies):
            first = width - one.traced
            noise[row, first : first + one.subject] = one.noise[sample]
        with _adding(inside.passes.module.get_input_embeddings(), noise):
            return Suffix.of(inside.anatomy, inside.passes, [one.ids for one, _ in copies], tokens=tokens)

    def _run(self, noised: Suffix, rows: Sequence[_Row], wanted: Tensor) -> list[float]:
        """Return P(target) of rows sorted by the block they enter."""
        device = noised.states[0].device
        copies = torch.tensor([row.copy for row in rows], device=device)
        columns = torch.tensor([self._column(noised, row) for row in rows], device=device)
        clean = (
            torch.tensor([row.request for row in rows], device=device),
            torch.tensor([self._column(self._clean, row) for row in rows], device=device),
        )
        whole = torch.tensor([row.part == "state" for row in rows], device=device)
        enters = torch.tensor([row.enters for row in rows], device=device)
        entries = []
        for block in sorted({row.enters for row in rows}):
            own = (enters == block).nonzero()[:, 0]
            states = noised.states[block][copies[own]].clone()
            replaced = whole[own].nonzero()[:, 0]
            source = own[replaced]
            states[replaced, columns[source]] = self._clean.states[block][clean[0][source], clean[1][source]]
            entries.append(Entry(block=block, prompts=copies[own], states=states))
        edits = [
            edit
            for part, kept in (("attention", self._clean.attention), ("ffn", self._clean.ffn))
            for edit in self._edits(rows, part, kept, columns, clean)
        ]
        ran = noised.run(entries, edits=edits)
        logits = self._inside.anatomy.logits(ran.states[:, -1])
        return _chances(logits, wanted[copies.cpu()]).tolist()

    def _edits(
        self, rows: Sequence[_Row], part: Any, kept: Sequence[Tensor], columns: Tensor, clean: tuple[Tensor, Tensor]
    ) -> Iterator[Edit]:
        """Yield the edits that put back what a sub-layer writes without noise, in the window of each row."""
        blocks = len(self._inside.anatomy.blocks)
        windows = [_window(row.block, self._traced[row.request].window, blocks) for row in rows]
        for block in range(blocks):
            inside = torch.tensor(
                [row.part == part and block in window for row, window in zip(rows, windows, strict=True)],
                device=columns.device,
            )
            if not inside.any():
                continue

            def change(written: Tensor, numbers: Tensor, inside: Tensor = inside, block: int = block) -> Tensor:
                places = inside[numbers].nonzero()[:, 0]
                own = numbers[places]
                changed = written.clone()
                changed[places, columns[own]] = kept[block][clean[0][own], clean[1][own]]
                return changed

            yield Edit(block=block, part=part, change=change)

    def _column(self, suffix: Suffix, row: _Row) -> int:
        """Return where a row's token stands among the last tokens of a suffix: rows are padded on the left."""
        return suffix.tokens - self._traced[row.request].traced + row.place


def run(inside: Inside, requests: Sequence[Inspect], *, batch_tokens: int) -> list[dict[str, Any]]:
    """Answer `CausalTracing` requests."""
    traced = [_read(inside, request) for request in requests]
    copies = [(n, sample) for n, one in enumerate(traced) for sample in range(one.by.samples)]
    clean: dict[int, tuple[float, bool]] = {}
    low: dict[tuple[int, int], float] = {}
    grids: dict[tuple[int, int], dict[str, Tensor]] = {}

    def work(batch: Sequence[int]) -> None:
        own = [copies[n] for n in batch]
        ran = _Batch(inside, traced, own, batch_tokens)
        found, (lows, restored) = ran.clean(), ran.restored()
        clean.update(found)
        low.update(zip(own, lows, strict=True))
        for (n, part), grid in restored.items():
            grids.setdefault(own[n], {})[part] = grid

    with torch.no_grad():
        inside.each([len(traced[request].ids) for request, _ in copies], work, batch_tokens)
    return [
        {
            "tokens": [inside.text(token) for token in one.ids[one.start :]],
            "subject_tokens": one.subject,
            "clean": clean[n][0],
            "known": clean[n][1],
            "low": sum(low[n, sample] for sample in range(one.by.samples)) / one.by.samples,
            **{
                part: torch.stack([grids[n, sample][part] for sample in range(one.by.samples)]).mean(dim=0).tolist()
                for part in one.by.parts
            },
            "deviation": one.deviation,
            "window": one.window,
            "token": inside.text(one.token),
        }
        for n, one in enumerate(traced)
    ]


def _read(inside: Inside, request: Inspect) -> _Traced:
    by = request.by
    assert isinstance(by, CausalTracing)
    ids = inside.reader.prompt(request.prompt)
    places = inside.reader.part(request.prompt, by.mention).places
    if not places:
        raise ModelError(f"No token stands for the subject {by.mention!r}.", fix="Name the subject word for word.")
    subject = places[-1] - places[0] + 1
    deviation = by.deviation
    if deviation is None:
        own = torch.tensor(ids[places[0] : places[-1] + 1], device=inside.passes.device)
        with torch.no_grad():
            deviation = float(inside.passes.module.get_input_embeddings()(own).float().std())
    generator = torch.Generator().manual_seed(int(digest([list(ids), list(places), by.seed], length=15), 16))
    drawn = torch.randn(by.samples, subject, inside.anatomy.width, generator=generator)
    blocks = len(inside.anatomy.blocks)
    return _Traced(
        by=by,
        ids=ids,
        start=places[0],
        subject=subject,
        token=inside.reader.first(request.prompt, by.target),
        deviation=deviation,
        noise=drawn * (by.noise * deviation),
        window=by.window or min(_WINDOW, max(1, blocks // 3)),
    )


def _window(block: int, size: int, blocks: int) -> range:
    """Return the blocks of a window around `block`, as the reference counts them."""
    return range(max(0, block - size // 2), min(blocks, block + (size + 1) // 2))


def _chances(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return P of one token a row, in float64 [rows]."""
    own = logits.gather(1, tokens.to(logits.device)[:, None])[:, 0]
    return (own - logits.logsumexp(dim=-1)).double().exp()


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
