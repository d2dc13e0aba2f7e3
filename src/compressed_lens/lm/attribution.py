"""Which tokens of a part of a prompt speak for an answer: gradient times input, and integrated gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from compressed_lens.lm import probes
from compressed_lens.lm.forward import Passes
from compressed_lens.lm.protocol import AttributionMethod

Ids = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is attributed.

    Attributes:
        prompt: Ids of the prompt.
        target: Ids of the answer.
        places: Which tokens of the prompt.
        method: How.
        steps: Points on the path of integrated gradients.
    """

    prompt: Ids
    target: Ids
    places: Ids
    method: AttributionMethod
    steps: int

    @property
    def path(self) -> tuple[float, ...]:
        """What the embeddings at `places` are multiplied by at each point where the gradient is taken."""
        return (1.0,) if self.method == "gradient_x_input" else tuple((n + 0.5) / self.steps for n in range(self.steps))


def attribute_rows(
    passes: Passes, questions: Sequence[Question], *, batch_tokens: int, strict: bool
) -> list[tuple[float, ...]]:
    """Return the contribution of each place to the target's log-probability, in nats, for every question.

    The contribution is the dot product of a token's embedding with the gradient there: at the prompt as it is
    (gradient times input), or averaged over the path that scales the embeddings at `places` together from zero up to
    what they are, all other tokens left alone (integrated gradients of Sundararajan et al. 2017, section 3, by the
    midpoint rule). The latter add up, for many steps, to the change of the log-probability along the path. The points
    of all questions are batched together.
    """
    points = [(question, scale) for question in questions for scale in question.path]
    gradients = probes.input_gradients(
        passes,
        [(question.prompt, question.target) for question, _ in points],
        scales=[_scales(question, scale) for question, scale in points],
        batch_tokens=batch_tokens,
        strict=strict,
    )
    table = passes.module.get_input_embeddings()
    values, start = [], 0
    for question in questions:
        own = gradients[start : start + len(question.path)]
        start += len(own)
        places = list(question.places)
        with torch.no_grad():
            ids = torch.tensor([question.prompt[place] for place in places], device=passes.device)
            embeddings = table(ids).float().cpu()
        mean = torch.stack([gradient[places] for gradient in own]).mean(dim=0)
        values.append(tuple((mean * embeddings).sum(dim=-1).tolist()))
    return values


def _scales(question: Question, scale: float) -> list[float]:
    moved = set(question.places)
    return [scale if place in moved else 1.0 for place in range(len(question.prompt))]
