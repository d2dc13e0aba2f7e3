"""Top value neurons by bound and best-first search against scoring every neuron, side by side in one run.

The plain rendering projects the vector of every neuron to the vocabulary, some hundred at a time, takes the log-softmax
with and without it, and sorts; what it does for a prompt depends on no other. Both find the same neurons with the same
scores, which is checked. All are timed in turns, so that a busy machine disturbs them alike; medians of CPU seconds a
prompt are printed, the share of neurons projected, which no machine disturbs, and the peak of live tensors next to that
of a plain forward pass over the same prompts in one batch. Ours holds its forward pass, the plain time does not.

Three models: the reference model as it is, where the top 300 are a tenth of all neurons and the ratio cannot be large;
the reference model with eight times the neurons (copies with noise) and a vocabulary of 32,000 (rows shuffled), which
keeps its heavy-tailed scores; and a random Llama of width 512, 12 blocks, 2,048 neurons, vocabulary 32,000.

    PYTHONPATH=src:. python benchmarks/neurons.py [--prompts 2] [--repeats 3] [--batch 64] [--attention]
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from benchmarks.measuring import MIB, peak, seconds
from torch import Tensor, nn

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inspections import Neurons
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Inspect, Prompt
from compressed_lens.tasks import load_task

VOCABULARY = 32_000
COPIES = 8
CHUNK = 256
TOP = 300
Scored = dict[tuple[int, ...], float]


def requests_of(count: int, *, attention: bool) -> list[Inspect]:
    """Return facts of the test bed, asked for what the model itself predicts."""
    by = Neurons(top=TOP, attention=attention)
    items = load_task("testbed-facts").items
    return [Inspect(prompt=Prompt(text=item.fields["prompt"]), by=by) for item in items[:: len(items) // count][:count]]


class Plain:
    """One forward pass of a Llama over one prompt, and every neuron's vector to the vocabulary."""

    def __init__(self, model: HFModel, request: Inspect) -> None:
        self._model, self._layers = model.module, model.module.model.layers
        seen: dict[str, list[Tensor]] = {"in": [], "attention": [], "neurons": []}
        hooks = []
        for layer in self._layers:
            hooks += [
                layer.register_forward_pre_hook(lambda _, args: seen["in"].append(args[0][0, -1])),
                layer.self_attn.register_forward_hook(lambda _, __, out: seen["attention"].append(out[0][0, -1])),
                layer.mlp.down_proj.register_forward_pre_hook(lambda _, args: seen["neurons"].append(args[0][0, -1])),
            ]
        self._seen = seen
        last: list[Tensor] = []
        hooks.append(self._model.model.norm.register_forward_pre_hook(lambda _, args: last.append(args[0][0, -1])))
        before = self._model.config._attn_implementation
        self._model.set_attn_implementation("eager")
        with torch.no_grad():
            out = self._model(torch.tensor([model.encode(request.prompt)]), use_cache=True, output_attentions=True)
        self._model.set_attn_implementation(before)
        for hook in hooks:
            hook.remove()
        norm = self._model.model.norm
        self._gain = norm.weight / (last[0].square().mean() + norm.variance_epsilon).sqrt()
        self._target = int(out.logits[0, -1].argmax())
        self._weights = [weights[0, :, -1] for weights in out.attentions]
        self._values = [layer.values[0] for layer in out.past_key_values.layers]

    def ffn(self) -> Scored:
        """Return the scores of the top feed-forward neurons."""
        tables = []
        for n, layer in enumerate(self._layers):
            vectors = self._seen["neurons"][n][:, None] * layer.mlp.down_proj.weight.T
            tables.append(self._scores(self._seen["in"][n] + self._seen["attention"][n], vectors))
        return _top(torch.stack(tables))

    def attention(self, blocks: int) -> Scored:
        """Return the scores of the top attention neurons of the first blocks."""
        tables = []
        for n, layer in enumerate(self._layers[:blocks]):
            weights, values = self._weights[n], self._values[n]
            values = values.repeat_interleave(len(weights) // len(values), dim=0)
            out = layer.self_attn.o_proj.weight.T.reshape(len(weights), -1, 1, layer.self_attn.o_proj.weight.shape[0])
            scaled = (weights[..., None] * values).transpose(1, 2)
            vectors = (scaled[..., None] * out).flatten(0, 2)
            tables.append(self._scores(self._seen["in"][n], vectors).reshape(scaled.shape))
        return _top(torch.stack(tables))

    @torch.no_grad()
    def _scores(self, state: Tensor, vectors: Tensor) -> Tensor:
        matrix = self._model.lm_head.weight
        base = matrix @ (self._gain * state)
        start = base.log_softmax(dim=-1)[self._target]
        parts = []
        for part in vectors.split(CHUNK):
            logits = (self._gain * part) @ matrix.T
            parts.append(logits.add_(base).log_softmax(dim=-1)[:, self._target] - start)
        return torch.cat(parts)


def _top(scores: Tensor) -> Scored:
    found, places = scores.flatten().topk(TOP)
    names = torch.stack(torch.unravel_index(places, scores.shape), dim=1).tolist()
    return dict(zip(map(tuple, names), found.tolist(), strict=True))


def ours(model: HFModel, requests: Sequence[Inspect], batch_tokens: int = 8192) -> list[dict[str, Any]]:
    """Return the answers of our door."""
    return [dict(found.values) for found in model.inspect(requests, batch_tokens=batch_tokens)]


def differences(theirs: Sequence[Scored], found: Sequence[dict[str, Any]], part: str) -> tuple[float, float]:
    """Return the largest difference of a score, and how far above tau a neuron is that one list lacks."""
    gap = beyond = 0.0
    for plain, values in zip(theirs, found, strict=True):
        own: Scored = {tuple(name): score for *name, score in values[part]["neurons"]}
        gap = max(gap, *(abs(plain[name] - own[name]) for name in plain.keys() & own.keys()))
        tau = min(plain.values())
        beyond = max([beyond, *({**plain, **own}[name] - tau for name in plain.keys() ^ own.keys())])
    return gap, beyond


def widened(model: HFModel) -> HFModel:
    """Return the reference model with more neurons and tokens, its scores still heavy-tailed."""
    dice = torch.Generator().manual_seed(0)
    module = copy.deepcopy(model.module)
    with torch.no_grad():
        for layer in module.model.layers:
            for name, times in (("gate_proj", 1.0), ("up_proj", 1.0), ("down_proj", 1.0 / COPIES)):
                weight = getattr(layer.mlp, name).weight
                copies = [
                    weight + 0.5 * weight.std() * torch.randn(weight.shape, generator=dice) for _ in range(COPIES)
                ]
                tiled = torch.cat(copies, dim=1 if name == "down_proj" else 0) * times
                plain = nn.Linear(tiled.shape[1], tiled.shape[0], bias=False)
                plain.weight = nn.Parameter(tiled)
                setattr(layer.mlp, name, plain)
        rows = [module.lm_head.weight]
        while sum(map(len, rows)) < VOCABULARY:
            order = torch.stack([torch.randperm(len(rows[0][0]), generator=dice) for _ in rows[0]])
            rows.append(rows[0].gather(1, order))
        table = torch.cat(rows)[:VOCABULARY]
        module.lm_head = nn.Linear(table.shape[1], VOCABULARY, bias=False)
        module.lm_head.weight = nn.Parameter(table)
    return HFModel(module, model.tokenizer, weights="widened", name="reference, widened")


def drawn(model: HFModel) -> HFModel:
    """Return a random Llama of a small real one's shape."""
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=512,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=2,
        initializer_range=0.06,
    )
    return HFModel(transformers.LlamaForCausalLM(config), model.tokenizer, weights="drawn", name="random")


def compare(model: HFModel, options: argparse.Namespace, part: str) -> None:
    """Time all ways on the same prompts and print them."""
    attention = part == "attention"
    batch = requests_of(options.batch, attention=attention)
    few = batch[: options.prompts]
    layers = len(model.module.model.layers)
    # All attention neurons take the plain way minutes: it gets one block, and its time is multiplied.
    blocks = 1 if attention and model.name != "reference" else layers
    made = [Plain(model, request) for request in few]
    ways: dict[str, tuple[int, Callable[[], Any]]] = {
        "every neuron": (len(few), lambda: [one.attention(blocks) if attention else one.ffn() for one in made]),
        "best first, alone": (len(few), lambda: [ours(model, [request])[0] for request in few]),
        "best first, in a batch": (len(batch), lambda: ours(model, batch)),
    }
    ours(model, few[:1])
    took: dict[str, list[float]] = {way: [] for way in ways}
    results: dict[str, Any] = {}
    for _ in range(options.repeats):
        for way, (count, work) in ways.items():
            took[way].append(seconds(lambda way=way, work=work: results.update({way: work()})) / count)
    slow = statistics.median(took["every neuron"]) * layers / blocks
    print(f"{model.name}: {part}, {sum(results['best first, alone'][0][part]['of']):,} neurons, top {TOP}")
    print(f"  every neuron           {slow:8.3f} CPU s a prompt{f' ({blocks} of {layers} blocks)' * (blocks < layers)}")
    for way in ("best first, alone", "best first, in a batch"):
        fast, found = statistics.median(took[way]), results[way]
        projected = sum(one[part]["projected"] for one in found)
        share = projected / sum(sum(one[part]["of"]) for one in found)
        print(f"  {way:22s} {fast:8.3f} CPU s a prompt, ratio {slow / fast:6.1f}, ", end="")
        print(f"{projected / len(found):.1f} neurons projected ({share:.2%})")
        if blocks == layers:
            gap, beyond = differences(results["every neuron"], found[: len(few)], part)
            assert max(gap, beyond) < 1e-5, (gap, beyond)
            print(f"    largest difference of a score {gap:.1e}; of one that one list lacks, from tau {beyond:.1e}")


def memory(model: HFModel, size: int, *, attention: bool) -> None:
    """Print the peak of live tensors against that of a plain forward in the same batch."""
    requests = requests_of(size, attention=attention)
    rows = [model.encode(request.prompt) for request in requests]
    ids, mask = model._passes.left_padded(rows)
    model.inspect(requests[:1])  # what is kept for good is there

    def forward() -> None:
        with torch.no_grad():
            model.module(ids, attention_mask=mask)

    whole, once, own = peak(forward), peak(lambda: model._passes.start(rows)), peak(lambda: ours(model, requests))
    weights = model.memory_bytes
    print(f"  {size} prompts of {ids.shape[1]} tokens in one batch{' with attention neurons' * attention}: ", end="")
    print(f"peak {own / MIB:.1f} MiB; plain forward {whole / MIB:.1f} (x {own / whole:.2f}), with ", end="")
    print(f"the last logits only {once / MIB:.1f} (x {own / once:.2f}; with the weights ", end="")
    print(f"x {(weights + own) / (weights + once):.2f})")


def main() -> None:
    """Run all models and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--attention", action="store_true", help="attention neurons as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    reference = HFModel.load(locate_model("reference"), device="cpu", name="reference")
    for model in (reference, widened(reference), drawn(reference)):
        compare(model, options, "ffn")
        if options.attention:
            compare(model, options, "attention")
        memory(model, options.batch, attention=False)
        if options.attention:
            memory(model, options.batch, attention=True)


if __name__ == "__main__":
    main()
