"""The plain rendering of everything the door does: one row, no padding, no cache, one forward a question."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.protocol import Message, Prompt
from compressed_lens.lm.text import join

QUESTIONS = (
    "Is the film good or bad?",
    "a",
    "A man in a red coat walks his dog in the park while it rains. Is he dry, wet or neither?",
    "Où est le café 🙂?",
    "The capital of France is the city of",
)


class Oracle:
    """One-by-one forwards of a model's module."""

    def __init__(self, model: HFModel) -> None:
        self.module = model.module
        self.model = model
        self._chains: dict[tuple[int, ...], list[int]] = {}

    def logits(self, ids: Sequence[int]) -> torch.Tensor:
        with torch.no_grad():
            return self.module(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].float()

    def greedy(self, ids: Sequence[int], steps: int, ends: Sequence[int] = ()) -> list[int]:
        chain = self._chains.setdefault(tuple(ids), [])
        while len(chain) < steps and not set(ends) & set(chain):
            chain.append(int(self.logits([*ids, *chain])[-1].argmax()))
        last = next((n for n, token in enumerate(chain, 1) if token in ends), steps)
        return chain[: min(last, steps)]

    def score(self, prompt: Prompt, continuation: str) -> tuple[float, int, bool]:
        rendered = self.model.render(prompt)
        ids = join(self.model.tokenizer, rendered, continuation)
        logits = self.logits(ids)
        total, greedy = 0.0, True
        for place in range(len(rendered.ids), len(ids)):
            total += float(logits[place - 1].double().log_softmax(-1)[ids[place]])
            greedy = greedy and int(logits[place - 1].argmax()) == ids[place]
        return total, len(ids) - len(rendered.ids), greedy

    def hidden(self, prompt: Prompt) -> torch.Tensor:
        with torch.no_grad():
            ids = torch.tensor([self.model.encode(prompt)])
            states = self.module(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
        return torch.stack([state[0] for state in states])

    def gradient(self, prompt: Prompt, target: str) -> torch.Tensor:
        rendered = self.model.render(prompt)
        ids = join(self.model.tokenizer, rendered, target)
        size = len(rendered.ids)
        embeddings = self.module.get_input_embeddings()(torch.tensor([ids])).detach().requires_grad_(True)
        logits = self.module(inputs_embeds=embeddings, use_cache=False).logits[0].log_softmax(-1)
        total = sum(logits[place - 1, ids[place]] for place in range(size, len(ids)))
        total.backward()
        assert embeddings.grad is not None
        return embeddings.grad[0, :size]


@pytest.fixture(scope="session")
def oracle(model: HFModel) -> Oracle:
    return Oracle(model)


@pytest.fixture(scope="session")
def prompts() -> list[Prompt]:
    """32 prompts of unequal length: conversations and plain texts, with and without prefill."""
    found = []
    for number in range(32):
        text = QUESTIONS[number % len(QUESTIONS)] + " so" * (number % 7)
        if number % 3 == 0:
            found.append(Prompt(text=text))
        else:
            found.append(
                Prompt(messages=(Message(role="user", content=text),), prefill="It is" if number % 4 == 1 else "")
            )
    return found
