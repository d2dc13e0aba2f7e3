"""Log-probability increase of whole sub-layers and of heads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from compressed_lens.lm.inside.increase import ReadOut
from compressed_lens.lm.inside.inside import Inside
from compressed_lens.lm.inside.suffix import Suffix
from compressed_lens.lm.inside.writers import heads_output
from compressed_lens.lm.inspections import Layers
from compressed_lens.lm.protocol import Inspect


def run(inside: Inside, requests: Sequence[Inspect], *, batch_tokens: int) -> list[dict[str, Any]]:
    """Answer requests by `Layers`, in order."""
    return inside.by_prompt(requests, partial(_batch, inside), batch_tokens)


def _batch(inside: Inside, requests: Sequence[Inspect]) -> list[dict[str, Any]]:
    anatomy = inside.anatomy
    rows = [inside.reader.prompt(request.prompt) for request in requests]
    settings: list[Layers] = [request.by for request in requests]  # type: ignore[misc]
    suffix = Suffix.of(anatomy, inside.passes, rows, look=("attention", "ffn", "weights"))
    last = suffix.states[-1][:, -1]
    logs = anatomy.logits(last).log_softmax(dim=-1)
    likeliest = logs.argmax(dim=-1).tolist()
    targets = inside.targets(requests, likeliest)
    read = ReadOut(anatomy, last, targets, scales=[by.scale for by in settings])
    every = torch.arange(len(rows), device=last.device)
    attention, ffn, heads = [], [], []
    for block in range(len(anatomy.blocks)):
        state = suffix.states[block][:, -1].float()
        written = suffix.attention[block][:, -1].float()
        parts = heads_output(anatomy, suffix, block)[:, : anatomy.heads]
        base = read.base(state, every)
        attention.append(read.increases(base, written, every))
        heads.append(
            read.increases(base, parts.flatten(0, 1), every.repeat_interleave(anatomy.heads)).reshape(len(rows), -1)
        )
        base = read.base(state + written, every)
        ffn.append(read.increases(base, suffix.ffn[block][:, -1].float(), every))
    by_prompt = zip(*(torch.stack(part, dim=1).tolist() for part in (attention, ffn, heads)), strict=True)
    return [
        {
            "attention": own_attention,
            "ffn": own_ffn,
            "heads": own_heads,
            "scale": float(read.scale[n]),
            "log_probability": float(logs[n, targets[n]]),
            "token": inside.text(targets[n]),
            "known": likeliest[n] == targets[n],
        }
        for n, (own_attention, own_ffn, own_heads) in enumerate(by_prompt)
    ]
