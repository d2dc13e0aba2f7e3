"""Patchscopes and back-patching: one `generate` a pair of layers against rows that join at their block, in one run.

The published way runs the whole model for every pair (source, target): a hook puts the state into the prompt during
the first pass, and `generate` decodes a batch of all prompts. Ours runs each prompt once, puts every pair of every
prompt into one batch that starts at the patched token and at its own block, and decodes it with rows leaving as they
end. Both are timed in turns; medians of CPU seconds are printed, with forward tokens (a row that joins half-way up
counts half) and whether all texts are the same.

    PYTHONPATH=src:. python benchmarks/patchscopes.py [--chains 8] [--repeats 3] [--batch-tokens 8192]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inspections import BackPatch, Describe
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Inspect, Prompt
from compressed_lens.lm.text import answer_text
from compressed_lens.multihop.patchscopes import Patchscopes
from compressed_lens.tasks import load_task

NEW = 10
Put = tuple[int, int, Tensor]
"""Block, place counted from the end, state of every row [rows, width]."""


def generated(model: HFModel, rows: Sequence[Sequence[int]], put: Put) -> list[str]:
    """Return the texts of a batch of prompts with states replaced in the first pass."""
    block, place, states = put

    def enter(_: Any, args: Any, kwargs: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        if hidden.shape[1] > 1:
            hidden = hidden.clone()
            hidden[:, place] = states
        return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

    hook = model._inside.anatomy.blocks[block].module.register_forward_pre_hook(enter, with_kwargs=True)
    ids, mask = model._passes.left_padded(rows)
    with torch.no_grad():
        out = model.module.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=NEW, do_sample=False, pad_token_id=0
        )
    hook.remove()
    ends = {model.tokenizer.eos_token_id, 0}
    texts = []
    for row, new in zip(rows, out[:, ids.shape[1] :].tolist(), strict=True):
        end = next((n for n, token in enumerate(new) if token in ends), len(new))
        texts.append(answer_text(model.tokenizer, row, new[:end]))
        model._passes.tokens += min(end, NEW - 1)
    return texts


def states_of(model: HFModel, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return all states of the last token of prompts, unnormalized [prompts, width] each."""
    seen: list[Tensor] = []
    blocks = model._inside.anatomy.blocks
    hooks = [
        block.module.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append((args[0] if args else kwargs["hidden_states"])[:, -1]),
            with_kwargs=True,
        )
        for block in blocks
    ]
    hooks.append(
        blocks[-1].module.register_forward_hook(
            lambda _, __, out: seen.append((out[0] if isinstance(out, tuple) else out)[:, -1])
        )
    )
    model._passes.start(rows)
    for hook in hooks:
        hook.remove()
    return seen


def plain_describe(model: HFModel, requests: Sequence[Inspect]) -> list[Any]:
    """Describe, one `generate` a pair over all prompts."""
    read, by = model._reader, [request.by for request in requests]
    states = states_of(
        model,
        [
            read.prompt(r.prompt)[: read.place(r.prompt, one.mention) + 1]  # type: ignore[attr-defined]
            for r, one in zip(requests, by, strict=True)
        ],
    )
    identity = [read.prompt(by[0].identity)] * len(requests)  # type: ignore[attr-defined]
    blocks = len(model._inside.anatomy.blocks)
    texts = [
        [generated(model, identity, (target, -1, states[source])) for target in range(blocks)]
        for source in range(blocks + 1)
    ]
    return [[[cell[n] for cell in row] for row in texts] for n in range(len(requests))]


def plain_back_patch(model: HFModel, requests: Sequence[Inspect]) -> list[Any]:
    """Back-patch the last token, one `generate` a pair over all prompts."""
    rows = [model._reader.prompt(request.prompt) for request in requests]
    states = states_of(model, rows)
    pairs = [(source, target) for source in range(len(states)) for target in range(source)]
    texts = [generated(model, rows, (target, -1, states[source])) for source, target in pairs]
    return [[text[n] for text in texts] for n in range(len(requests))]


def compare(name: str, model: HFModel, ways: dict[str, Callable[[], list[Any]]], repeats: int) -> None:
    """Time ways in turns and print them."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    tokens: dict[str, int] = {}
    found: dict[str, list[Any]] = {}
    for _ in range(repeats):
        for way, work in ways.items():
            before, started = model.forward_tokens, time.process_time()
            found[way] = work()
            times[way].append(time.process_time() - started)
            tokens[way] = model.forward_tokens - before
    plain, ours = ways
    print(f"{name}: the same texts: {found[plain] == found[ours]}")
    for way in ways:
        print(f"  {way:30} {statistics.median(times[way]):8.2f} s CPU {tokens[way]:9,} forward tokens")
    ratio = statistics.median(times[plain]) / statistics.median(times[ours])
    print(f"  {'':30} {ratio:8.1f} x     {tokens[plain] / tokens[ours]:9.1f} x")


def main() -> None:
    """Compare on chains of the test bed and the reference model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--chains", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    given = parser.parse_args()
    model = HFModel.load(locate_model("reference"), device="cpu")
    items = load_task("testbed-twohop", limit=given.chains, seed=1).items
    identity = Prompt(text=Patchscopes().identity)
    describing = [
        Inspect(
            prompt=Prompt(text=item.fields["prompt"]),
            by=Describe(identity=identity, mention=item.extra["chain"]["mention"], max_new_tokens=NEW),
        )
        for item in items
    ]
    patching = [Inspect(prompt=Prompt(text=item.fields["prompt"]), by=BackPatch(max_new_tokens=NEW)) for item in items]

    def ours(requests: Sequence[Inspect], key: str = "texts") -> list[Any]:
        return [answer.values[key] for answer in model.inspect(requests, batch_tokens=given.batch_tokens)]

    model.inspect(patching[:1])
    compare(
        "patchscopes",
        model,
        {"a generate a pair": lambda: plain_describe(model, describing), "rows of a token": lambda: ours(describing)},
        given.repeats,
    )
    compare(
        "back-patching",
        model,
        {"a generate a pair": lambda: plain_back_patch(model, patching), "rows of a token": lambda: ours(patching)},
        given.repeats,
    )


if __name__ == "__main__":
    main()
