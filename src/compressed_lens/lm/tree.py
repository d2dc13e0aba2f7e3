"""Rows that share beginnings, computed as one tree: every distinct (beginning, token) once.

Edits of one text, all cuts of a chain of thought and the options after one prompt begin alike. Here the tokens of such
rows are put into one row of distinct nodes. A node attends to its ancestors alone, by an explicit mask, and has its
depth as position, so it computes what it would in each of the rows it belongs to, and keys and values of a common
beginning are there once. Rows that share little go the plain way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compressed_lens.lm.batching import pack
from compressed_lens.lm.forward import Passes

Ids = tuple[int, ...]
Places = list[tuple[int, int]]

_SAVING = 0.3
_SMALLEST, _LARGEST = 256, 2048
_LEAK = 0.02
_NO_TREE = (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError)
_WINDOWS = ("sliding_window", "attention_window_size", "attention_chunk_size", "local_attention", "window_size")
_MOVING_ROPES = frozenset({"dynamic", "longrope"})


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A row of tokens, and from which position on its logits are read.

    Attributes:
        ids: The tokens that are fed.
        start: First position whose logits are needed; all later ones are too.
    """

    ids: Ids
    start: int


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Branches that belong together.

    Attributes:
        branches: Its rows.
        plain: Forward tokens it takes without a tree.
    """

    branches: tuple[Branch, ...]
    plain: int


@dataclass(kw_only=True)
class Tree:
    """Distinct nodes of several units.

    Attributes:
        units: Which units it holds.
        tokens: Token of every node; a parent stands before its children.
        parents: Node before it; -1 for a first token.
        depths: Number of nodes before it.
        read: For each unit and branch, the nodes whose logits are needed.
        plain: Forward tokens its units take without a tree.
    """

    units: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    read: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    plain: int = 0
    _children: list[dict[int, int]] = field(default_factory=lambda: [{}])

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def needed(self) -> list[int]:
        """The nodes whose logits are needed."""
        return sorted({node for nodes in self.read.values() for node in nodes})

    def overlap(self, unit: Unit) -> int:
        """Return how many nodes of a unit are there already."""
        found: set[int] = set()
        for branch in unit.branches:
            node = -1
            for token in branch.ids:
                after = self._children[node + 1].get(token)
                if after is None:
                    break
                found.add(after)
                node = after
        return len(found)

    def add(self, index: int, unit: Unit) -> None:
        """Add the rows of a unit."""
        self.units.append(index)
        self.plain += unit.plain
        for place, branch in enumerate(unit.branches):
            node, path = -1, []
            for token in branch.ids:
                after = self._children[node + 1].setdefault(token, len(self.tokens))
                if after == len(self.tokens):
                    self.depths.append(self.depths[node] + 1 if node >= 0 else 0)
                    self.tokens.append(token)
                    self.parents.append(node)
                    self._children.append({})
                node = after
                path.append(node)
            self.read[index, place] = path[branch.start :]

    def mask(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return which node attends to which [nodes, nodes]: itself and its ancestors."""
        seen = np.zeros((len(self), len(self)), dtype=np.bool_)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] = seen[parent]
            seen[node, node] = True
        return seen


def plant(passes: Passes, units: Sequence[Unit], *, batch_tokens: int, strict: bool) -> tuple[list[Tree], list[int]]:
    """Return trees of units that share much, and the units that are better run the plain way.

    Rows are taken in the order of their tokens, which puts those with a long common beginning side by side; one that
    has less than 30 % of its tokens in common with the tree begins another. A tree is kept where it saves 30 % of the
    forward tokens at least. Its size is bounded, because attention grows with the square of it. There is none under the
    "strict" batch rule.
    """
    if strict or not units[1:] or not takes_trees(passes):
        return [], list(range(len(units)))
    most_read = passes.logit_budget(batch_tokens)
    trees: list[Tree] = []
    for index in sorted(range(len(units)), key=lambda i: (units[i].branches[0].ids, i)):
        unit = units[index]
        reads = sum(len(branch.ids) - branch.start for branch in unit.branches)
        tree = trees[-1] if trees else Tree()
        shared = tree.overlap(unit)
        size = len(tree) + unit.plain - shared
        limit = min(batch_tokens, max(_room(passes), 2 * unit.plain))
        fits = size <= limit and sum(map(len, tree.read.values())) + reads <= most_read
        if not trees or not fits or shared < _SAVING * unit.plain:
            trees.append(Tree())
        trees[-1].add(index, unit)
    kept = [tree for tree in trees if len(tree) <= (1 - _SAVING) * tree.plain]
    inside = {index for tree in kept for index in tree.units}
    return kept, [index for index in range(len(units)) if index not in inside]


def read_trees(passes: Passes, trees: Sequence[Tree]) -> tuple[Tensor, dict[tuple[int, int], Places]]:
    """Run trees as the rows of one batch.

    Returns:
        Logits of the needed nodes, padded on the left [trees, most needed, vocabulary], in float32, and for each unit
        and branch the (row, position) of what is read of it.
    """
    needed = [tree.needed for tree in trees]
    width, keep = max(map(len, trees)), max(map(len, needed))
    ids = np.zeros((len(trees), width), dtype=np.int64)
    positions = np.zeros((len(trees), width), dtype=np.int64)
    # Padding attends to itself, so that no row of the softmax is empty.
    mask = np.broadcast_to(np.eye(width, dtype=np.bool_), (len(trees), width, width)).copy()
    places: dict[tuple[int, int], Places] = {}
    for row, (tree, read) in enumerate(zip(trees, needed, strict=True)):
        # What is read stands last, where logits are kept.
        own = set(read)
        order = [node for node in range(len(tree)) if node not in own] + read
        start = width - len(tree)
        ids[row, start:] = np.array(tree.tokens)[order]
        positions[row, start:] = np.array(tree.depths)[order]
        mask[row, start:, start:] = tree.mask()[np.ix_(order, order)]
        where = {node: keep - len(read) + n for n, node in enumerate(read)}
        places.update({key: [(row, where[node]) for node in nodes] for key, nodes in tree.read.items()})
    passes.tokens += sum(map(len, trees))
    with torch.no_grad():
        output = passes.call(
            input_ids=torch.from_numpy(ids).to(passes.device),
            mask=_attention(passes, torch.from_numpy(mask)[:, None].to(passes.device)),
            positions=torch.from_numpy(positions).to(passes.device),
            keep=keep,
            use_cache=False,
        )
    return output.logits[:, -keep:].float(), places


def tree_batches(passes: Passes, trees: Sequence[Tree], *, batch_tokens: int) -> Iterator[list[Tree]]:
    """Yield trees in batches within the budgets of tokens and of logits, largest first."""
    for rough in pack([len(tree) for tree in trees], batch_tokens):
        for exact in pack([len(trees[i].needed) for i in rough], passes.logit_budget(batch_tokens)):
            yield [trees[rough[i]] for i in exact]


def takes_trees(passes: Passes) -> bool:
    """Return whether a model computes the same in a tree as row by row.

    Models with windows, states, or positions that depend on the length of a row do not, by their configuration. All
    others are tried on a small tree once.
    """
    if passes.trees is None:
        passes.trees = _plain_attention(passes) and _agrees(passes)
    return passes.trees


def _plain_attention(passes: Passes) -> bool:
    config = passes.module.config.get_text_config()
    ropes = getattr(config, "rope_parameters", None) or {}
    kinds = {str(rope.get("rope_type")) for rope in (ropes, *ropes.values()) if isinstance(rope, dict)}
    return (
        passes.takes_positions
        and config._attn_implementation in ("sdpa", "eager")
        and not getattr(passes.module, "_is_stateful", False)
        and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        and "local" not in (getattr(config, "attention_layers", None) or ())
        and not any(getattr(config, name, None) for name in _WINDOWS)
        and not kinds & _MOVING_ROPES
    )


def _agrees(passes: Passes) -> bool:
    stem = tuple((7 * n + 3) % passes.vocabulary for n in range(12))
    rows = [stem, (*stem[:8], *stem[2:7]), (*stem[:8], *stem[3:5]), stem[:10] + stem[1:3]]
    tree, counted = Tree(), passes.tokens
    for index, row in enumerate(rows):
        tree.add(index, Unit(branches=(Branch(ids=row, start=len(row) - 3),), plain=len(row)))
    small = Tree()
    small.add(len(rows), Unit(branches=(Branch(ids=stem[4:7], start=0),), plain=3))
    try:
        logits, places = read_trees(passes, [tree, small])
        alone = [passes.read([row], keep=3)[0] for row in (*rows, stem[4:7])]
    except _NO_TREE:
        return False
    finally:
        passes.tokens = counted
    found = [torch.stack([logits[place] for place in places[index, 0]]) for index in range(len(alone))]
    return all(
        bool((ours - plain).abs().max() <= _LEAK * plain.std()) for ours, plain in zip(found, alone, strict=True)
    )


def _attention(passes: Passes, seen: Tensor) -> Tensor:
    """Return a mask [rows, 1, nodes, nodes] to be added to the scores; a boolean one is converted in every layer."""
    kind = passes.module.get_input_embeddings().weight.dtype
    return torch.zeros(seen.shape, dtype=kind, device=seen.device).masked_fill(~seen, torch.finfo(kind).min)


def _room(passes: Passes) -> int:
    """Return how many nodes a tree may have before attention costs much beside the rest of the model."""
    width: int = passes.module.get_input_embeddings().weight.shape[-1]
    return min(max(_SMALLEST, 3 * width // 2), _LARGEST)
