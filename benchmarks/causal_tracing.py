"""Causal tracing: suffix passes against the plain rendering, side by side in one run.

The plain way runs, for every token from the subject on and every block, one batch of a clean row and all noised rows
through the whole model, with hooks that put the clean row's state (or sub-layer outputs) back into the noised ones, as
the published code does. Both ways get the same noise and must give the same probabilities. Timed in turns; medians of
CPU seconds are printed, with forward tokens of the plain way.

    PYTHONPATH=src:. python benchmarks/causal_tracing.py [--model reference] [--facts 6] [--shots 0]
        [--samples 10] [--repeats 3]
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import ExitStack
from typing import Any

import torch
from benchmarks.measuring import seconds
from torch import Tensor

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inside.tracing import Subject, read, window_of
from compressed_lens.lm.inspections import CausalTracing, Restored
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Inspect, Prompt
from compressed_lens.tasks import load_task

PARTS: tuple[Restored, ...] = ("state", "ffn", "attention")
Grids = dict[str, list[list[float]]]


def plain(model: HFModel, requests: list[Inspect]) -> tuple[list[Grids], int]:
    """Return P(target) with one thing restored, for each part [tokens][blocks], and the number of tokens run."""
    found, tokens = [], 0
    for request in requests:
        subject = read(model._inside, request)
        blocks = model._inside.anatomy.blocks
        grids: Grids = {}
        for part in PARTS:
            grids[part] = []
            for place in range(subject.start, len(subject.ids)):
                row = []
                for block in range(len(blocks)):
                    size = 1 if part == "state" else subject.window
                    touched = [block] if part == "state" else list(window_of(block, size, len(blocks)))
                    row.append(chance(model, subject, part, place, touched))
                    tokens += (1 + subject.by.samples) * len(subject.ids)
                grids[part].append(row)
        found.append(grids)
    return found, tokens


def chance(model: HFModel, subject: Subject, part: str, place: int, touched: list[int]) -> float:
    """Return the mean P(target) over the noised rows, by one forward of them and a clean row."""

    def noise(_: Any, __: Any, output: Tensor) -> Tensor:
        output = output.clone()
        output[1:, subject.start : subject.start + subject.size] += subject.noise
        return output

    def restore(_: Any, __: Any, output: Any) -> Any:
        state = output[0] if isinstance(output, tuple) else output
        state[1:, place] = state[0, place]
        return output

    blocks = model._inside.anatomy.blocks
    with ExitStack() as hooks, torch.no_grad():
        hooks.callback(model.module.get_input_embeddings().register_forward_hook(noise).remove)
        for n in touched:
            kinds = {"state": blocks[n].module, "ffn": blocks[n].ffn_writer, "attention": blocks[n].attention_writer}
            hooks.callback(kinds[part].register_forward_hook(restore).remove)
        ids = torch.tensor([list(subject.ids)] * (1 + subject.by.samples))
        logits = model.module(ids, use_cache=False).logits[1:, -1].float()
    return float(logits.softmax(dim=-1)[:, subject.token].double().mean())


def main() -> None:
    """Run the benchmark and print one line a way, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="reference")
    parser.add_argument("--facts", type=int, default=6)
    parser.add_argument("--shots", type=int, default=0, help="facts that stand before each prompt")
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = HFModel.load(locate_model(options.model), device="cpu")
    facts = load_task("testbed-facts").items
    before = [f"{fact.fields['prompt']} {fact.answers[0]}.\n" for fact in facts[: options.shots]]
    requests = [
        Inspect(
            prompt=Prompt(text="".join([*before, fact.fields["prompt"]])),
            by=CausalTracing(
                target=fact.answers[0], mention=fact.extra["subject"], samples=options.samples, parts=PARTS
            ),
        )
        for fact in facts[options.shots :: len(facts) // options.facts][: options.facts]
    ]
    theirs, tokens = plain(model, requests)
    ours = model.inspect(requests)
    difference = max(
        float((torch.tensor(grids[part]) - torch.tensor(answer.values[part])).abs().max())
        for grids, answer in zip(theirs, ours, strict=True)
        for part in PARTS
    )
    slow, fast = [], []
    for _ in range(options.repeats):
        slow.append(seconds(lambda: plain(model, requests)))
        fast.append(seconds(lambda: model.inspect(requests)))
    mean = statistics.mean(len(model.encode(request.prompt)) for request in requests)
    print(f"{len(requests)} facts of {mean:.1f} tokens, {options.samples} samples, parts {', '.join(PARTS)}")
    print(f"plain           {statistics.median(slow):7.2f} CPU s   {tokens} forward tokens")
    print(f"suffix passes   {statistics.median(fast):7.2f} CPU s")
    print(f"ratio           {statistics.median(slow) / statistics.median(fast):7.1f}")
    print(f"largest difference of a probability: {difference:.1e}")


if __name__ == "__main__":
    main()
