"""What an inspection is given of a model."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from compressed_lens.errors import ModelError
from compressed_lens.lm.batching import pack, run_halving
from compressed_lens.lm.forward import Passes
from compressed_lens.lm.inside.anatomy import Anatomy
from compressed_lens.lm.inside.beginning import pack_alike
from compressed_lens.lm.protocol import Inspect
from compressed_lens.lm.reading import Reader

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Inside:
    """A model opened up.

    Args:
        passes: Its forward passes.
        reader: From prompts to token ids, places of mentions, first tokens of targets.
        tokenizer: Its tokenizer.
        name: What to call it in messages.
        strict: Whether rows must run alone (see `forward.batch_rule`).

    Attributes:
        proven: For each inspection with a proof of its own: why it cannot be run, None where it can.
    """

    def __init__(
        self, passes: Passes, reader: Reader, tokenizer: PreTrainedTokenizerBase, *, name: str, strict: bool
    ) -> None:
        self.passes = passes
        self.reader = reader
        self.tokenizer = tokenizer
        self.strict = strict
        self.proven: dict[str, ModelError | None] = {}
        self._name = name

    @property
    def anatomy(self) -> Anatomy:
        """Its blocks and read-out, proven to be what the model computes.

        Raises:
            ModelError: The architecture is not understood.
        """
        if isinstance(self._opened, ModelError):
            raise self._opened
        return self._opened

    @cached_property
    def _opened(self) -> Anatomy | ModelError:
        try:
            return Anatomy.of(self.passes, name=self._name)
        except ModelError as error:
            return error

    def check(self, request: Inspect) -> None:
        """Raise what makes this request impossible for this model, before anything is run.

        Beyond what holds for all inspections, the module of one may have a function `check(inside, request)`. One with
        `of_logits` looks at the model's output alone, so that any architecture will do.

        Raises:
            ModelError: The architecture is not understood, its neurons are asked for and cannot be told, or the request
                names a state, block or neuron that the model does not have.
        """
        if not getattr(request.by, "of_logits", False):
            anatomy = self.anatomy
            for block in anatomy.blocks if getattr(request.by, "of_neurons", False) else ():
                anatomy.down(block.index)
        module = importlib.import_module(request.by.runs.partition(":")[0])
        if hasattr(module, "check"):
            module.check(self, request)

    def text(self, token: int) -> str:
        """Return a token as text, spaces kept."""
        return str(self.tokenizer.decode([token], clean_up_tokenization_spaces=False))

    def targets(self, requests: Sequence[Inspect], likeliest: Sequence[int]) -> list[int]:
        """Return the token each request asks about: its target's first, or the likeliest one where it names none."""
        return [
            self.reader.first(request.prompt, target) if (target := getattr(request.by, "target", "")) else token
            for request, token in zip(requests, likeliest, strict=True)
        ]

    def by_prompt(
        self, requests: Sequence[Inspect], answer: Callable[[Sequence[Inspect]], Sequence[dict[str, Any]]], budget: int
    ) -> list[dict[str, Any]]:
        """Return what `answer` says of each request, in order; it is given requests with prompts of similar length."""
        found: dict[int, dict[str, Any]] = {}

        def work(batch: Sequence[int]) -> None:
            found.update(zip(batch, answer([requests[n] for n in batch]), strict=True))

        self.each([len(self.reader.prompt(request.prompt)) for request in requests], work, budget)
        return [found[n] for n in range(len(requests))]

    def each(self, lengths: Sequence[int], work: Callable[[Sequence[int]], None], budget: int) -> None:
        """Call `work` with the indices of each batch: similar lengths, at most `budget` tokens, halved without memory.

        `work` must have no lasting effect when it fails.
        """
        for batch in pack(lengths, 1 if self.strict else budget):
            run_halving(batch, work)

    def alike(self, rows: Sequence[Sequence[int]], work: Callable[[Sequence[int]], None], budget: int) -> None:
        """As `each`, but rows of tokens that begin alike come together."""
        for batch in pack_alike(rows, 1 if self.strict else budget):
            run_halving(batch, work)
