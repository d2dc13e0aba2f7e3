"""How the reference model recalls the bridge entity: read-outs, patches and moved embeddings on its two-hop chains.

    python tools/bridge.py [--model reference]

prints the figures of docs/multihop.md, "How the reference model recalls". Everything is read or changed at three
places: the mention's last token, the token behind it, and the prompt's last token. Shares are over chains, in percent,
with Wilson intervals.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inside.suffix import Entry, Suffix
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Prompt
from compressed_lens.statistics import rate_interval
from compressed_lens.tasks import load_task
from compressed_lens.tasks.base import Item

_TIE = 1e-5


@dataclass(frozen=True, kw_only=True)
class Chains:
    """Chains of one composition, whose prompts have equally many tokens from the mention's last one on.

    Attributes:
        own: The composed prompts, those last tokens ready to be run again.
        substituted: The same of the prompts with another e1, and with another relation.
        bridge: First token of e2 [chains].
        answer: First token of e3.
        held_out: Whether training left the composition out.
        right: Whether the model answers it.
    """

    items: Sequence[Item]
    own: Suffix
    substituted: dict[str, Suffix]
    bridge: Tensor
    answer: Tensor
    held_out: Tensor
    right: Tensor

    @classmethod
    def of(cls, model: HFModel, items: Sequence[Item]) -> Chains:
        """Run the prompts of some chains."""
        parts = [item.extra["chain"] for item in items]
        own = _suffix(model, [(i.fields["prompt"], p["mention"]) for i, p in zip(items, parts, strict=True)])
        substituted = {
            name: _suffix(model, [(p[name]["prompt"], p[name]["mention"]) for p in parts])
            for name in ("entity", "relation")
        }
        answer = _tokens(model, [p["e3"] for p in parts])
        return cls(
            items=items,
            own=own,
            substituted=substituted,
            bridge=_tokens(model, [p["e2"] for p in parts]),
            answer=answer,
            held_out=torch.tensor([item.extra["held_out"] for item in items]),
            right=_said(model, own.states[-1]) == answer,
        )


def load(model: HFModel, limit: int | None = None) -> list[Chains]:
    """Return the chains of the testbed by composition, the first `limit` of each."""
    groups: dict[str, list[Item]] = {}
    for item in load_task("testbed-twohop").items:
        groups.setdefault(item.group, []).append(item)
    return [Chains.of(model, items[:limit]) for items in groups.values()]


def beaten(model: HFModel, chains: Chains, substitute: str, place: int) -> Tensor:
    """Return whether EntRec is above that of a substituted prompt [chains, states]; 0.5 where they are equal.

    Args:
        model: The model.
        chains: Chains of one composition.
        substitute: "entity" or "relation".
        place: Token read, counted from the mention's last (0) on, or from the end (-1).
    """
    own, other = (
        torch.stack([_recall(model, state[:, place], chains.bridge) for state in one.states], dim=1)
        for one in (chains.own, chains.substituted[substitute])
    )
    return torch.where((own - other).abs() <= _TIE, 0.5, (own > other).float())


def followed(model: HFModel, chains: Chains, places: Sequence[int], block: int, dice: Random) -> Tensor:
    """Return whether the answer becomes a donor's [chains] when states that enter a block come from it.

    The donor is another chain of the same composition with another answer; places are as in `beaten`.
    """
    donors = torch.tensor([_donor(chains, n, dice) for n in range(len(chains.items))])
    states = chains.own.states[block].clone()
    for place in places:
        states[:, place] = chains.own.states[block][donors, place]
    return _rerun(model, chains, block, states) == chains.answer[donors]


def moved(model: HFModel, chains: Chains, dice: Random, *, control: bool, by: float = 1.0) -> Tensor:
    """Return whether the answer becomes that of another bridge [chains] when the embedding of e1 is moved towards it.

    The mention's last embedding x becomes x + by |x| (v - u), where u and v are the unit unembeddings (times the final
    norm's gain) of the bridge and of another one of its kind; of two random ones of that kind as a control.
    """
    second = {item.extra["chain"]["e2"]: item.extra["chain"]["e3"] for item in chains.items}
    kinds = sorted(second)
    aims, before, after = [], [], []
    for item in chains.items:
        chain = item.extra["chain"]
        aim = dice.choice([kind for kind in kinds if second[kind] != chain["e3"]])
        pair = dice.sample(kinds, 2) if control else [chain["e2"], aim]
        aims.append(second[aim])
        before.append(pair[0])
        after.append(pair[1])
    anatomy = model._inside.anatomy
    u, v = (
        torch.nn.functional.normalize(anatomy.unembedding[_tokens(model, names)] * anatomy.final_norm.weight, dim=1)
        for names in (before, after)
    )
    states = chains.own.states[0].clone()
    states[:, 0] += by * states[:, 0].norm(dim=1, keepdim=True) * (v - u)
    return _rerun(model, chains, 0, states) == _tokens(model, aims)


def rank_at(model: HFModel, chains: Chains, place: int, tokens: Tensor) -> Tensor:
    """Return the rank of one token a chain in the read-out of every state at a place [chains, states]."""
    found = []
    for state in chains.own.states:
        logits = model._inside.anatomy.logits(state[:, place]).detach()
        found.append(1 + (logits > logits.gather(1, tokens[:, None])).sum(1))
    return torch.stack(found, dim=1)


def _suffix(model: HFModel, asked: Sequence[tuple[str, str]]) -> Suffix:
    inside = model._inside
    prompts = [Prompt(text=text) for text, _ in asked]
    rows = [inside.reader.prompt(prompt) for prompt in prompts]
    places = [inside.reader.place(prompt, mention) for prompt, (_, mention) in zip(prompts, asked, strict=True)]
    (tokens,) = {len(row) - place for row, place in zip(rows, places, strict=True)}
    return Suffix.of(inside.anatomy, inside.passes, rows, tokens=tokens)


def _tokens(model: HFModel, names: Sequence[str]) -> Tensor:
    return torch.tensor([model._inside.reader.first(Prompt(text="The"), name) for name in names])


def _recall(model: HFModel, states: Tensor, tokens: Tensor) -> Tensor:
    return model._inside.anatomy.logits(states).detach().log_softmax(-1).gather(1, tokens[:, None])[:, 0]


def _said(model: HFModel, states: Tensor) -> Tensor:
    return model._inside.anatomy.logits(states[:, -1]).argmax(-1)


def _rerun(model: HFModel, chains: Chains, block: int, states: Tensor) -> Tensor:
    entry = Entry(block=block, prompts=torch.arange(len(states)), states=states)
    with torch.no_grad():
        return _said(model, chains.own.run([entry]).states)


def _donor(chains: Chains, number: int, dice: Random) -> int:
    own = chains.answer[number]
    return dice.choice([n for n, answer in enumerate(chains.answer) if chains.right[n] and answer != own])


def _share(parts: Sequence[Tensor]) -> str:
    """Return the mean of 0, 0.5 and 1 as a percentage, with its 95 % interval."""
    values = torch.cat([part.float() for part in parts])
    found = rate_interval(round(float(values.sum())), len(values))
    return f"{100 * float(values.mean()):.0f} [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="reference")
    options = parser.parse_args()
    model = HFModel.load(locate_model(options.model), device="cpu")
    groups = load(model)
    states = range(len(groups[0].own.states))
    print("| read at | against | chains |" + "".join(f" {n} |" for n in states))
    for where, place in (("mention", 0), ("token behind it", 1), ("prompt's end", -1)):
        for substitute in ("entity", "relation"):
            won = [beaten(model, chains, substitute, place) for chains in groups]
            for name, held in (("trained", False), ("held out", True)):
                kept = [w[c.held_out == held] for w, c in zip(won, groups, strict=True)]
                cells = "".join(f" {_share([k[:, n] for k in kept])} |" for n in states)
                print(f"| {where} | {substitute} | {name} |{cells}")
    for name in ("bridge", "answer"):
        ranks = torch.cat([rank_at(model, c, -1, getattr(c, name)) for c in groups]).float().median(dim=0).values
        print(f"median rank of the {name} at the prompt's end, by state: {[int(r) for r in ranks]}")
    print("\n| states from another chain |" + "".join(f" {n} |" for n in states[:-1]))
    for where in ("mention", "between", "prompt's end"):
        cells = ""
        for block in states[:-1]:
            dice, found = Random(0), []
            for chains in groups:
                last = chains.own.tokens - 1
                places = {"mention": [0], "between": list(range(1, last)), "prompt's end": [last]}[where]
                if places:
                    found.append(followed(model, chains, places, block, dice)[chains.right])
            cells += f" {_share(found)} |"
        print(f"| {where} |{cells}")
    print("\n| embedding moved by | towards another bridge | held out | between random bridges |\n|---|---|---|---|")
    for by in (0.5, 0.75, 1.0):
        dice = Random(1)
        new = [moved(model, c, dice, control=False, by=by) for c in groups]
        random = [moved(model, c, dice, control=True, by=by)[c.right] for c in groups]
        pairs = list(zip(new, groups, strict=True))
        print(
            f"| {by} | {_share([n[c.right] for n, c in pairs])} | "
            f"{_share([n[c.right & c.held_out] for n, c in pairs])} | {_share(random)} |"
        )


if __name__ == "__main__":
    main()
