"""Linear relations: products of one vector each against whole Jacobians, side by side in one run.

The plain way takes the Jacobian of every training pair through the whole model (as many backward passes as the model
is wide, vectorized, as the published code does), writes W and b out, and reads the state of every test subject by a
forward pass of its own. Both ways must give the same log-probabilities. Timed in turns; medians of CPU seconds are
printed.

    PYTHONPATH=src:. python benchmarks/linear_relation.py [--model reference] [--relation person_city]
        [--subjects 20] [--repeats 3]
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import torch
from benchmarks.measuring import seconds
from torch import Tensor

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inspections import Example, LinearRelation
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Inspect, Prompt
from compressed_lens.tasks import Item, load_task


def run(model: HFModel, prompt: Prompt, mention: str, layer: int, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the subject's state and what leaves the last block at the last token, with the state replaced if given."""
    place, seen = model._inside.reader.place(prompt, mention), []

    def enter(_: Any, args: Any) -> Any:
        seen.append(args[0][0, place])
        if state is None:
            return args
        changed = args[0].clone()
        changed[0, place] = state
        return (changed, *args[1:])

    blocks = model._inside.anatomy.blocks
    hooks = [
        blocks[layer].module.register_forward_pre_hook(enter),
        blocks[-1].module.register_forward_hook(
            lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out)
        ),
    ]
    model.module(torch.tensor([list(model.encode(prompt))]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return seen[0], seen[1][0, -1]


def plain(model: HFModel, requests: list[Inspect]) -> list[float]:
    """Return the log-probability of every target's first token, W and b written out."""
    weights, biases = [], []
    one: Any = requests[0].by
    take: Any = torch.autograd.functional.jacobian
    for example in one.examples:
        with torch.no_grad():
            state, end = run(model, example.prompt, example.mention, one.layer)
        matrix = take(lambda s, e=example: run(model, e.prompt, e.mention, one.layer, s)[1], state, vectorize=True)
        weights.append(matrix)
        biases.append(end - matrix @ state)
    weight, bias = torch.stack(weights).mean(dim=0), torch.stack(biases).mean(dim=0)
    found = []
    with torch.no_grad():
        for request in requests:
            by: Any = request.by
            state, _ = run(model, request.prompt, by.mention, by.layer)
            logits = model._inside.anatomy.logits((by.betas[0] * (weight @ state) + bias)[None])[0]
            token = model._inside.reader.first(request.prompt, by.target)
            found.append(float(logits.log_softmax(dim=-1)[token]))
    return found


def prompt_of(fact: Item) -> Prompt:
    """Return a fact's prompt."""
    return Prompt(text=fact.fields["prompt"])


def main() -> None:
    """Run the benchmark and print one line a way, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="reference")
    parser.add_argument("--relation", default="person_city")
    parser.add_argument("--subjects", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--layer", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = HFModel.load(locate_model(options.model), device="cpu")
    facts = [item for item in load_task("testbed-facts").items if item.group == options.relation]
    examples = tuple(
        Example(prompt=prompt_of(fact), mention=fact.extra["subject"], target=fact.answers[0])
        for fact in facts[: options.pairs]
    )
    requests = [
        Inspect(
            prompt=prompt_of(fact),
            by=LinearRelation(
                target=fact.answers[0], mention=fact.extra["subject"], examples=examples, layer=options.layer
            ),
        )
        for fact in facts[options.pairs :][: options.subjects]
    ]
    theirs, ours = plain(model, requests), [answer.values["log_probability"][0] for answer in model.inspect(requests)]
    slow, fast = [], []
    for _ in range(options.repeats):
        slow.append(seconds(lambda: plain(model, requests)))
        fast.append(seconds(lambda: model.inspect(requests)))
    print(f"{len(requests)} subjects, {options.pairs} training pairs, width {model._inside.anatomy.width}")
    print(f"whole Jacobians   {statistics.median(slow):7.2f} CPU s")
    print(f"products          {statistics.median(fast):7.2f} CPU s")
    print(f"ratio             {statistics.median(slow) / statistics.median(fast):7.1f}")
    print(f"largest difference of a log-probability: {max(abs(a - b) for a, b in zip(theirs, ours, strict=True)):.1e}")


if __name__ == "__main__":
    main()
