"""Integrated gradients of feed-forward neurons: one-token rows against the plain rendering, side by side in one run.

The plain rendering is the references': block by block, the neurons of the last token are replaced by every point of the
path, and the whole prompt is run forward and backward; the points of a block as one batch of equal prompts, or one by
one. It gains nothing from more prompts, so it is timed on a few; ours gets as many as fill a batch. All ways are timed
in turns, so that a busy machine disturbs them alike; medians of CPU seconds a prompt are printed. Memory is the peak of
live tensors, weights included, next to that of a plain forward pass over the same prompts in batches of the same size.
A random model of more blocks shows how the ratio grows with depth.

    PYTHONPATH=src:. python benchmarks/integrated_neurons.py [--batch-tokens 2048] [--plain 2] [--steps 20]
        [--repeats 3] [--blocks 12]
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from benchmarks.measuring import MIB, peak, seconds
from torch import Tensor

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inspections import IntegratedNeurons
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Inspect, Prompt
from compressed_lens.tasks import load_task


def requests_of(model: HFModel, batch_tokens: int, shots: int, steps: int) -> list[Inspect]:
    """Return as many facts of the test bed, each behind `shots` others, as fill a batch."""
    items = load_task("testbed-facts").items
    stated = [f"{item.fields['prompt']} {item.answers[0]}." for item in items]
    found: list[Inspect] = []
    tokens = 0
    for n, item in enumerate(items):
        before = [stated[(n + 1 + k) % len(stated)] for k in range(shots)]
        prompt = Prompt(text=" ".join([*before, item.fields["prompt"]]))
        tokens += len(model.encode(prompt))
        if tokens > batch_tokens:
            break
        found.append(Inspect(prompt=prompt, by=IntegratedNeurons(target=item.answers[0], steps=steps)))
    return found


def everything(request: Inspect) -> Inspect:
    """Return the request for all neurons with a positive attribution."""
    by: Any = request.by
    return replace(request, by=replace(by, share=0.0, most=10**6))


def plain(model: HFModel, requests: Sequence[Inspect], batch: int) -> list[list[Tensor]]:
    """Return attributions [requests][blocks][neurons] by full forwards and backwards, `batch` points at a time."""
    layers = model.module.model.layers
    found: list[list[Tensor]] = []
    for request in requests:
        by: Any = request.by
        ids = torch.tensor([model.encode(request.prompt)])
        token = model._reader.first(request.prompt, by.target)
        found.append([])
        for layer in layers:
            seen: list[Tensor] = []
            handle = layer.mlp.down_proj.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
            with torch.no_grad():
                model.module(ids, use_cache=False, logits_to_keep=1)
            handle.remove()
            actual = seen[0][:, -1]
            points = torch.arange(1, by.steps + 1)[:, None] / by.steps * actual
            total = torch.zeros_like(actual[0])
            for part in points.split(batch):
                leaf = part.clone().requires_grad_(True)

                def put(_: Any, args: Any, leaf: Tensor = leaf) -> tuple[Tensor]:
                    return (torch.cat([args[0][:, :-1], leaf[:, None]], dim=1),)

                handle = layer.mlp.down_proj.register_forward_pre_hook(put)
                output = model.module(ids.repeat(len(leaf), 1), use_cache=False, logits_to_keep=1)
                handle.remove()
                chance = output.logits[:, -1].float().softmax(dim=-1)[:, token].sum()
                total += torch.autograd.grad(chance, leaf)[0].sum(dim=0) / by.steps
            found[-1].append(actual[0] * total)
    return found


def ours(model: HFModel, requests: Sequence[Inspect], batch_tokens: int) -> list[dict[str, Any]]:
    """Return the answers of our door."""
    return [dict(found.values) for found in model.inspect(requests, batch_tokens=batch_tokens)]


def forward(model: HFModel, requests: Sequence[Inspect], batch_tokens: int) -> None:
    """Run the prompts once, keys and values kept, in batches of the same size."""
    rows = [model.encode(request.prompt) for request in requests]
    size = max(1, batch_tokens // max(map(len, rows)))
    for start in range(0, len(rows), size):
        model._passes.start(rows[start : start + size])


def difference(theirs: list[list[Tensor]], found: list[dict[str, Any]]) -> float:
    """Return the largest difference of a positive attribution, as a share of its prompt's largest one."""
    worst = 0.0
    for blocks, values in zip(theirs, found, strict=True):
        own = [torch.zeros_like(block) for block in blocks]
        for block, index, value in values["neurons"]:
            own[block][index] = value
        gaps = [float((b.clamp(min=0) - o).abs().max()) for b, o in zip(blocks, own, strict=True)]
        worst = max(worst, max(gaps) / values["maximum"])
    return worst


def deeper(model: HFModel, blocks: int) -> HFModel:
    """Return a random model of the same shape with so many blocks."""
    import transformers

    config = copy.deepcopy(model.module.config)
    config.num_hidden_layers = blocks
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[0]] * blocks
    torch.manual_seed(0)
    module = transformers.AutoModelForCausalLM.from_config(config)
    return HFModel(module, model.tokenizer, weights=f"{blocks} blocks", name="random model")


def compare(model: HFModel, shots: int, options: argparse.Namespace) -> None:
    """Time all ways and print them."""
    steps, budget = options.steps, options.batch_tokens
    requests = requests_of(model, budget, shots, steps)
    few = requests[: options.plain]
    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "plain, a point at a time": (len(few), lambda: plain(model, few, 1)),
        "plain, a block's points at once": (len(few), lambda: plain(model, few, steps)),
        "one-token rows": (len(requests), lambda: ours(model, requests, budget)),
    }
    gap = difference(plain(model, few, steps), ours(model, [everything(request) for request in few], budget))
    took: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(options.repeats):
        for way, (count, work) in ways.items():
            took[way].append(seconds(work) / count)
    length = statistics.mean(len(model.encode(request.prompt)) for request in requests)
    print(
        f"\n{model.name}, {model.module.config.num_hidden_layers} blocks, {steps} steps: {len(requests)} prompts of "
        f"{length:.0f} tokens, batches of {budget} tokens"
    )
    fast = statistics.median(took["one-token rows"])
    for way, values in took.items():
        median = statistics.median(values)
        print(f"  {way:32s} {1000 * median:8.1f} CPU ms a prompt   x {median / fast:6.1f}")
    print(f"  largest difference of an attribution: {gap:.1e} of the prompt's largest")
    rows, once = peak(lambda: ours(model, requests, budget)), peak(lambda: forward(model, requests, budget))
    held = model.memory_bytes
    print(
        f"  peak memory: {(rows + held) / MIB:.1f} MiB, of a plain forward {(once + held) / MIB:.1f} MiB: "
        f"x {(rows + held) / (once + held):.2f} (beyond the weights: {rows / MIB:.1f} and {once / MIB:.1f} MiB)"
    )


def main() -> None:
    """Run the benchmark on short and few-shot prompts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="reference", help="a model of the Llama kind")
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--plain", type=int, default=2, help="prompts of the plain rendering")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--blocks", type=int, default=12, help="blocks of the random model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = HFModel.load(locate_model(options.model), device="cpu", name=options.model)
    for shots in (0, 1, 6):
        compare(model, shots, options)
    compare(deeper(model, options.blocks), 0, options)


if __name__ == "__main__":
    main()
