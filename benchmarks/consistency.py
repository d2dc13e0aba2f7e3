"""Gradients of the consistency score: block by block against the second-order graph, side by side in one run.

The published way (rendered in `tests/lm/inside/literal_consistency.py`) takes the states of every layer from one pass,
adds alpha times the gradient of EntRec to the mention's last token in a second one, reads the one-hop prompts in a
third, and differentiates the score by every alpha, with a graph through all three. It is timed with the score's passes
made once, and made twice, as its code does. Ours is `lm/inside/consistency.py`. All are timed in turns, so that a busy
machine disturbs them alike; medians of CPU seconds are printed, and the peak of live tensors next to that of a plain
forward pass over the same two-hop prompts in the same batches, keys and values kept.

A study puts one fixed block of examples before all of its prompts, or none: `--shots` says how many chains it states.
A graph that large bounds the batch, so the published way is also timed in batches of 8, its code's inner batch.

    PYTHONPATH=src:. python benchmarks/consistency.py [--chains 256] [--shots 4] [--repeats 3] [--blocks 12]
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
from collections.abc import Callable, Sequence
from typing import Any

# The profiler's tracer has much to say on stderr.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import torch
from benchmarks.integrated_neurons import MIB, peak, seconds
from tests.lm.inside.literal_consistency import Asked, second_order
from torch import Tensor

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inside.consistency import run
from compressed_lens.lm.inspections import Consistency
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Inspect, Prompt
from compressed_lens.tasks import load_task


def requests_of(count: int, shots: int) -> list[Inspect]:
    """Return chains of the test bed, all of them or evenly chosen, each behind the same `shots` others."""
    items = load_task("testbed-twohop").items
    block = "".join(f"{item.fields['prompt']} {item.answers[0]}. " for item in items[:shots])
    rest = items[shots:]
    found = []
    for item in rest[:: max(1, len(rest) // count)][:count] if count else rest:
        chain = item.extra["chain"]
        by = Consistency(other=Prompt(text=block + chain["second"]), mention=chain["mention"], target=chain["e2"])
        found.append(Inspect(prompt=Prompt(text=block + item.fields["prompt"]), by=by))
    return found


def in_ids(model: HFModel, request: Inspect) -> Asked:
    """Return a request in token ids."""
    by: Any = request.by
    return Asked(
        row=model.encode(request.prompt),
        other=model.encode(by.other),
        place=model._reader.place(request.prompt, by.mention),
        token=model._reader.first(request.prompt, by.target, by.mention),
    )


def varied(model: HFModel, blocks: int, vocabulary: int) -> HFModel:
    """Return a random model of the same width with so many blocks and tokens."""
    import transformers

    config = copy.deepcopy(model.module.config)
    config.num_hidden_layers = blocks
    config.vocab_size = max(vocabulary, config.vocab_size)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[0]] * blocks
    torch.manual_seed(0)
    module = transformers.AutoModelForCausalLM.from_config(config).requires_grad_(False)
    return HFModel(module, model.tokenizer, weights="random", name=f"random, {config.vocab_size} tokens")


def compare(model: HFModel, requests: Sequence[Inspect], repeats: int, batch_tokens: int) -> None:
    """Time all ways on the same prompts and print them."""
    asked = sorted((in_ids(model, request) for request in requests), key=lambda one: len(one.row))
    size = max(1, batch_tokens // max(len(one.row) for one in asked))

    def second(batch: int, *, twice: bool = False) -> list[tuple[Tensor, Tensor]]:
        return [second_order(model, asked[n : n + batch], twice=twice) for n in range(0, len(asked), batch)]

    def ours() -> list[dict[str, Any]]:
        return run(model._inside, requests, batch_tokens=batch_tokens)

    def plain() -> None:
        for start in range(0, len(asked), size):
            model._passes.start([one.row for one in asked[start : start + size]])

    slopes = torch.cat([slope for _, slope in second(size)])
    order = sorted(range(len(requests)), key=lambda n: len(model.encode(requests[n].prompt)))
    found = ours()
    own = torch.tensor([found[n]["gradient"][: slopes.shape[1]] for n in order])
    gaps = (own - slopes).abs().amax(1) / slopes.abs().amax(1)
    agree = float(((own > 0) == (slopes > 0)).float().mean())
    ways: dict[str, Callable[[], Any]] = {
        f"second-order graph, by {size}": lambda: second(size),
        f"prompts run twice, by {size}": lambda: second(size, twice=True),
        "second-order graph, by 8": lambda: second(8),
        "block by block": ours,
        "plain forward": plain,
    }
    took: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, work in ways.items():
            took[way].append(seconds(work))
    tails = statistics.mean(len(one.row) - one.place for one in asked)
    print(
        f"\n{model.name}, {slopes.shape[1]} blocks: {len(asked)} chains of "
        f"{statistics.mean(len(one.row) for one in asked):.0f} tokens, {tails:.1f} from the mention's last on, "
        f"{len({tuple(one.other) for one in asked})} one-hop prompts, batches of {size}"
    )
    fast = statistics.median(took["block by block"])
    once = peak(plain)
    for way, work in ways.items():
        median, most = statistics.median(took[way]), peak(work)
        whole = (model.memory_bytes + most) / (model.memory_bytes + once)
        print(
            f"  {way:28s} {median:8.3f} CPU s  x {median / fast:5.2f}   peak {most / MIB:7.1f} MiB: "
            f"x {most / once:5.2f} of a plain forward's (with the weights x {whole:.2f})"
        )
    print(
        f"  largest difference of a chain's gradients, of its largest one: median {float(gaps.median()):.1e}, "
        f"at most {float(gaps.max()):.1e}; same sign: {agree:.2%}"
    )


def main() -> None:
    """Compare both ways on the model, and on random ones of more blocks and tokens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="reference")
    parser.add_argument("--chains", type=int, default=256, help="how many; 0: all")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--shots", type=int, default=4, help="chains stated before all prompts")
    parser.add_argument("--blocks", type=int, default=12, help="blocks of a random model; 0: none")
    parser.add_argument("--vocabulary", type=int, default=16000, help="tokens of the random model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = HFModel.load(locate_model(options.model), device="cpu")
    random = [varied(model, options.blocks, options.vocabulary)] if options.blocks else []
    for one in (model, *random):
        compare(one, requests_of(options.chains, options.shots), options.repeats, options.batch_tokens)


if __name__ == "__main__":
    main()
