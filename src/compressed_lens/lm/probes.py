"""What is read off the inside of a model: next-token logits, hidden states, input gradients, token log-probabilities.

Every function takes token ids, runs length-sorted batches within a budget, and returns float32 tensors on the CPU
in the order of its input. `strict` runs one row at a time (see `forward.batch_rule`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from compressed_lens.lm.batching import pack, run_halving
from compressed_lens.lm.forward import Passes, positions_of

Ids = Sequence[int]


def next_logits(passes: Passes, rows: Sequence[Ids], *, batch_tokens: int, strict: bool) -> Tensor:
    """Return the logits of the token after each row [rows, vocabulary]."""
    found: dict[int, Tensor] = {}

    def work(batch: Sequence[int]) -> None:
        logits, _ = passes.start([rows[i] for i in batch])
        found.update(zip(batch, logits[:, -1].cpu(), strict=True))

    _each([len(row) for row in rows], work, batch_tokens, strict)
    return torch.stack([found[i] for i in range(len(rows))])


def hidden_states(
    passes: Passes,
    rows: Sequence[Ids],
    *,
    layers: Sequence[int] | None,
    last_only: bool,
    batch_tokens: int,
    strict: bool,
) -> list[Tensor]:
    """Return hidden states of each row: [layers, width], or [layers, tokens, width] unless `last_only`."""
    found: dict[int, Tensor] = {}

    def work(batch: Sequence[int]) -> None:
        ids, mask = passes.left_padded([rows[i] for i in batch])
        with torch.no_grad():
            output = passes.call(
                input_ids=ids,
                mask=mask,
                positions=positions_of(mask),
                keep=1,
                use_cache=False,
                output_hidden_states=True,
            )
        states = output.hidden_states
        chosen = [states[i] for i in (range(len(states)) if layers is None else layers)]
        for place, row in enumerate(batch):
            first = -1 if last_only else -len(rows[row])
            kept = torch.stack([state[place, first:].float().cpu() for state in chosen])
            found[row] = kept[:, 0] if last_only else kept

    _each([len(row) for row in rows], work, batch_tokens, strict)
    return [found[i] for i in range(len(rows))]


def mean_states(passes: Passes, rows: Sequence[Ids], *, skip: int, batch_tokens: int, strict: bool) -> list[Tensor]:
    """Return the mean of the last hidden states of each row's tokens after the first `skip` [width]."""
    states = hidden_states(passes, rows, layers=[-1], last_only=False, batch_tokens=batch_tokens, strict=strict)
    return [state[0, skip:].mean(dim=0) for state in states]


def input_gradients(
    passes: Passes,
    rows: Sequence[tuple[Ids, Ids]],
    *,
    scales: Sequence[Sequence[float]] | None = None,
    batch_tokens: int,
    strict: bool,
) -> list[Tensor]:
    """Return, for (prompt, target) ids, the gradient of the target's log-probability at the prompt's embeddings.

    Each is [prompt tokens, width], in nats per unit of embedding. With `scales`, one number a prompt token, the
    embeddings are multiplied by them first.
    """
    found: dict[int, Tensor] = {}

    def work(batch: Sequence[int]) -> None:
        # The target's last token is only predicted, never read.
        ids, mask = passes.left_padded([[*rows[i][0], *rows[i][1][:-1]] for i in batch])
        embeddings = passes.module.get_input_embeddings()(ids).detach()
        if scales is not None:
            for place, row in enumerate(batch):
                start = ids.shape[1] - len(rows[row][0]) - len(rows[row][1]) + 1
                scale = torch.tensor(scales[row], dtype=embeddings.dtype, device=embeddings.device)
                embeddings[place, start : start + len(scale)] *= scale[:, None]
        embeddings.requires_grad_(True)
        keep = max(len(rows[i][1]) for i in batch)
        with torch.enable_grad():
            output = passes.call(
                inputs_embeds=embeddings, mask=mask, positions=positions_of(mask), keep=keep, use_cache=False
            )
            logits = output.logits[:, -keep:].float()
            total = logits.new_zeros(())
            for place, row in enumerate(batch):
                target = torch.tensor(list(rows[row][1]), device=logits.device)
                chosen = logits[place, -len(target) :]
                total = total + (chosen.gather(1, target[:, None])[:, 0] - chosen.logsumexp(dim=-1)).sum()
            (gradient,) = torch.autograd.grad(total, embeddings)
        for place, row in enumerate(batch):
            prompt, target_ids = rows[row]
            start = ids.shape[1] - len(prompt) - len(target_ids) + 1
            found[row] = gradient[place, start : start + len(prompt)].float().cpu()

    _each([len(prompt) + len(target) for prompt, target in rows], work, batch_tokens, strict)
    return [found[i] for i in range(len(rows))]


def token_log_probabilities(
    passes: Passes, rows: Sequence[Ids], *, given: int, batch_tokens: int, strict: bool
) -> list[Tensor]:
    """Return the log-probability of every token of each row after its first `given` [tokens - given].

    A row longer than the context is read in windows that overlap by half; every token is scored once, with at
    least half a window before it (except at the row's start).
    """
    windows = [
        (i, *window) for i, row in enumerate(rows) if len(row) > given for window in _windows(len(row), passes.context)
    ]
    found: dict[int, Tensor] = {}

    def work(batch: Sequence[int]) -> None:
        chosen = [windows[w] for w in batch]
        ids = [list(rows[i][start:end]) for i, start, end, _ in chosen]
        keep = max(end - max(scored, given) + 1 for _, _, end, scored in chosen)
        logits, _ = passes.start(ids, keep=keep)
        for place, (w, (_, _, end, scored)) in enumerate(zip(batch, chosen, strict=True)):
            count = end - max(scored, given)
            target = torch.tensor(ids[place][len(ids[place]) - count :], device=logits.device)
            used = logits[place, -count - 1 : -1]
            values = used.gather(1, target[:, None])[:, 0] - used.logsumexp(dim=-1)
            found[w] = values.clamp(max=0.0).cpu()

    lengths = [end - start for _, start, end, _ in windows]
    _each(lengths, work, passes.logit_budget(batch_tokens), strict)
    pieces: list[list[Tensor]] = [[] for _ in rows]
    for w, (i, _, _, _) in enumerate(windows):
        pieces[i].append(found[w])
    return [torch.cat(own) if own else torch.zeros(0) for own in pieces]


def _windows(length: int, context: int | None) -> list[tuple[int, int, int]]:
    """Return (start, end, first token scored) of the windows over a row."""
    if context is None or length <= context:
        return [(0, length, 0)]
    size, step = context, max(1, context // 2)
    windows = [(0, size, 0)]
    while windows[-1][1] < length:
        scored = windows[-1][1]
        end = min(scored + step, length)
        windows.append((end - size, end, scored))
    return windows


def _each(lengths: Sequence[int], work: Callable[[Sequence[int]], None], budget: int, strict: bool) -> None:
    for batch in pack(lengths, 1 if strict else budget):
        run_halving(batch, work)
