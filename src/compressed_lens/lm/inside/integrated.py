"""Knowledge neurons by integrated gradients, the paths of all blocks as one-token rows (Dai et al. 2022, section 3.1).

Scaling the neurons of one block at the last token by alpha moves what leaves the block there by
norm(down(alpha w)) - norm(down(w)) and nothing else, so every point of every path is one row that joins at the next
block; the points at alpha = 1 are one row for all blocks. The gradient is taken at what the down projection writes:
behind it all neurons of a block are one product with the transposed weight, which is multiplied once a prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from compressed_lens.lm.inside.anatomy import Anatomy
from compressed_lens.lm.inside.inside import Inside
from compressed_lens.lm.inside.suffix import Entry, Suffix
from compressed_lens.lm.inspections import IntegratedNeurons, Rule
from compressed_lens.lm.protocol import Inspect

ROW = 16
"""What a row whose gradient is taken holds beyond a copy of its prompt's keys and values, in tokens of a plain pass."""

Point = tuple[int, float]


def quadrature(rule: Rule, steps: int) -> tuple[tuple[float, float], ...]:
    """Return the points of a Riemann rule on [0, 1] with their weights: (alpha, weight).

    "right" (k/m for k = 1..m, weights 1/m) is the formula of Dai et al. 2022, "left" (k = 0..m-1) their code,
    "linspace" the code of EleutherAI (m points with both ends, weights 1/m although they are 1/(m-1) apart), and
    "trapezoid" the exact one of the four for a straight line (m + 1 points, half weights at the ends).
    """
    match rule:
        case "left":
            return tuple((k / steps, 1 / steps) for k in range(steps))
        case "right":
            return tuple((k / steps, 1 / steps) for k in range(1, steps + 1))
        case "linspace":
            return tuple((k / max(1, steps - 1), 1 / steps) for k in range(steps))
        case "trapezoid":
            return tuple((k / steps, (0.5 if k in {0, steps} else 1.0) / steps) for k in range(steps + 1))


def run(inside: Inside, requests: Sequence[Inspect], *, batch_tokens: int) -> list[dict[str, Any]]:
    """Answer `IntegratedNeurons`.

    Raises:
        ModelError: The model is a mixture of experts.
    """
    anatomy, reader = inside.anatomy, inside.reader
    asked: list[IntegratedNeurons] = [request.by for request in requests]  # type: ignore[misc]
    rows = [reader.prompt(request.prompt) for request in requests]
    targets = [reader.first(request.prompt, by.target) for request, by in zip(requests, asked, strict=True)]
    found: dict[int, dict[str, Any]] = {}
    for rule, steps in dict.fromkeys((by.rule, by.steps) for by in asked):
        own = [n for n, by in enumerate(asked) if (by.rule, by.steps) == (rule, steps)]

        def work(batch: Sequence[int], own: Sequence[int] = own, rule: Rule = rule, steps: int = steps) -> None:
            places = [own[n] for n in batch]
            suffix = Suffix.of(anatomy, inside.passes, [rows[n] for n in places], look={"neurons"})
            paths = _Paths(anatomy, suffix, torch.tensor([targets[n] for n in places], device=inside.passes.device))
            most = 1 if inside.strict else batch_tokens // (len(places) * (suffix.width + ROW))
            room = inside.passes.logit_budget(batch_tokens) // len(places)
            paths.walk(quadrature(rule, steps), most=max(1, min(most, room)))
            for n, values in zip(places, paths.values([asked[n] for n in places]), strict=True):
                found[n] = {**values, "token": inside.text(targets[n])}

        inside.each([len(rows[n]) + ROW for n in own], work, batch_tokens)
    return [found[n] for n in range(len(requests))]


class _Paths:
    """The paths from silent neurons to the actual ones, one a block, for a batch of prompts."""

    def __init__(self, anatomy: Anatomy, suffix: Suffix, targets: Tensor) -> None:
        self._anatomy = anatomy
        self._suffix = suffix
        self._targets = targets
        self._blocks = len(anatomy.blocks)
        self._all = torch.arange(len(targets), device=targets.device)
        # What all neurons of a block write together, and what its down projection writes without them.
        self._written: list[Tensor] = []
        self._rest: list[Tensor] = []
        with torch.no_grad():
            for block in range(self._blocks):
                down: Any = anatomy.down(block)
                total = down(suffix.neurons[block][:, -1]).float()
                bias = getattr(down, "bias", None)
                rest = torch.zeros_like(total[0]) if bias is None else bias.detach().float()
                self._written.append(total - rest)
                self._rest.append(rest)
            self._probability = self._read(suffix.states[-1]).exp()
        self._silent = [torch.zeros_like(self._probability) for _ in range(self._blocks)]
        # Integral of the gradient with respect to what the down projection writes [prompts, width].
        self._pulled = [torch.zeros_like(written) for written in self._written]

    def walk(self, points: Sequence[tuple[float, float]], *, most: int) -> None:
        """Add up the gradients at `points`, (alpha, weight), of every block's path; at most `most` points at once."""
        inner = [(block, alpha) for block in range(self._blocks) for alpha, _ in points if alpha < 1]
        weights = dict(points)
        for start in range(0, len(inner), most):
            self._gradients(inner[start : start + most], weights)
        if 1.0 in weights:
            self._ends(weights[1.0])
        if 0.0 not in weights:
            silent = [(block, 0.0) for block in range(self._blocks)]
            with torch.no_grad():
                for start in range(0, len(silent), most):
                    self._rows(silent[start : start + most])

    def values(self, asked: Sequence[IntegratedNeurons]) -> Iterator[dict[str, Any]]:
        """Return the answer for every prompt, but for its token."""
        attributions = [
            self._suffix.neurons[block][:, -1].float() * (self._pulled[block] @ self._anatomy.down_weight(block))
            for block in range(self._blocks)
        ]
        sizes = [found.shape[-1] for found in attributions]
        starts = torch.tensor([0, *sizes]).cumsum(0)
        for row, by in enumerate(asked):
            flat = torch.cat([found[row] for found in attributions]).cpu()
            maximum = float(flat.max())
            good = ((flat >= by.share * maximum) & (flat > 0)).nonzero()[:, 0]
            best = good[flat[good].argsort(descending=True, stable=True)][: by.most]
            blocks = torch.bucketize(best, starts, right=True) - 1
            yield {
                "neurons": [
                    [int(block), int(place - starts[block]), float(flat[place])]
                    for block, place in zip(blocks, best, strict=True)
                ],
                "maximum": maximum,
                "total": [float(found[row].double().sum()) for found in attributions],
                "change": [float(self._probability[row] - silent[row]) for silent in self._silent],
                "probability": float(self._probability[row]),
            }

    def _gradients(self, points: Sequence[Point], weights: dict[float, float]) -> None:
        with torch.enable_grad():
            log_probability, leaves = self._rows(points)
            gradients = torch.autograd.grad(log_probability.sum(), leaves)
        # The gradient of P is P times that of log P, which half precision can hold however small P is.
        shares = log_probability.detach().exp() * torch.tensor([weights[alpha] for _, alpha in points]).to(
            log_probability.device
        ).repeat_interleave(len(self._all))
        start = 0
        for (block, _), gradient in zip(groupby(points, key=lambda point: point[0]), gradients, strict=True):
            count = len(gradient) * len(self._all)
            share = shares[start : start + count].reshape(gradient.shape[:2])
            self._pulled[block] += (gradient * share[..., None]).sum(dim=0)
            start += count

    def _rows(self, points: Sequence[Point]) -> tuple[Tensor, list[Tensor]]:
        """Run points, those of a block side by side.

        Returns:
            Log-probability of every point's rows [points * prompts], and what the down projection writes at the
            points of each block [points, prompts, width], to differentiate by.
        """
        leaves, entries = [], []
        for block, own in groupby(points, key=lambda point: point[0]):
            alphas = torch.tensor([alpha for _, alpha in own], device=self._targets.device)
            leaf = alphas[:, None, None] * self._written[block] + self._rest[block]
            leaf.requires_grad_(torch.is_grad_enabled())
            actual = self._behind(block, self._written[block] + self._rest[block])
            states = self._suffix.states[block + 1][:, -1] + (self._behind(block, leaf) - actual)
            prompts = self._all.repeat(len(alphas))
            entries.append(Entry(block=block + 1, prompts=prompts, states=states.flatten(0, 1)[:, None]))
            leaves.append(leaf)
        log_probability = self._read(self._suffix.run(entries).states, self._targets.repeat(len(points)))
        for number, (block, alpha) in enumerate(points):
            if alpha == 0:
                start = number * len(self._all)
                self._silent[block] = log_probability.detach()[start : start + len(self._all)].exp()
        return log_probability, leaves

    def _ends(self, weight: float) -> None:
        """Add the gradients at alpha = 1, where the paths of all blocks meet in the actual states."""
        with torch.enable_grad():
            state = self._suffix.states[1].clone().requires_grad_(True)
            ran = self._suffix.run([Entry(block=1, prompts=self._all, states=state)], trail=True)
            log_probability = self._read(ran.states)
            gradients = torch.autograd.grad(log_probability.sum(), ran.trail[1:])
            share = weight * log_probability.detach().exp()[:, None]
            for block, gradient in enumerate(gradients):
                leaf = (self._written[block] + self._rest[block]).requires_grad_(True)
                (own,) = torch.autograd.grad(self._behind(block, leaf), leaf, gradient[:, -1].float())
                self._pulled[block] += share * own

    def _behind(self, block: int, written: Tensor) -> Tensor:
        """Return what reaches the residual stream when the down projection writes `written`."""
        norm = self._anatomy.blocks[block].ffn_norm
        return written if norm is None else norm(written).float()

    def _read(self, states: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the log-probability of the targets' first tokens after states [rows, 1, width]."""
        logits = self._anatomy.logits(states[:, -1])
        chosen = logits.gather(1, (self._targets if targets is None else targets)[:, None])[:, 0]
        return chosen - logits.logsumexp(dim=-1)
