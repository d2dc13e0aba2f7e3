"""A transformers model behind the one door: answers, scores, hidden states and gradients, for every variant alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor, nn

from compressed_lens.ids import digest, folder_digest
from compressed_lens.lm import probes
from compressed_lens.lm.attribution import Question, attribute_rows
from compressed_lens.lm.batching import pack, run_halving
from compressed_lens.lm.forward import BatchRule, Passes, batch_rule
from compressed_lens.lm.generation import Decoder, Decoding, end_tokens
from compressed_lens.lm.inside import Inside, inspect_all
from compressed_lens.lm.protocol import (
    Attribute,
    Attribution,
    Embed,
    Embedding,
    Generate,
    Generation,
    Inspect,
    Inspection,
    Prompt,
    Read,
    Request,
    Score,
    Scores,
    Trace,
    Traced,
)
from compressed_lens.lm.reading import Reader
from compressed_lens.lm.scoring import Scoring, score_groups
from compressed_lens.lm.text import Rendered
from compressed_lens.lm.trace import trace_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH_TOKENS = 8192
_BACKWARD = 4  # a token whose gradient is taken needs about so many times the memory

Ids = tuple[int, ...]


class HFModel:
    """A causal language model of transformers; implements `lm.protocol.LanguageModel`.

    Args:
        module: The model.
        tokenizer: Its tokenizer; never changed.
        weights: Digest of the bytes of weights, configuration and tokenizer.
        name: What to call it in messages.
        kernel: What multiplies its packed weights, e.g. "dense".
        method: How its weights are stored, e.g. "full".
        rule: How rows may be put together; by default what the model's layers allow.
        draws: Added to the seed of every answer that is drawn.
        apart: What keeps its answers apart from those of a model that computes the same; part of its fingerprint.

    Attributes:
        attention: Kernel of transformers that computes attention, e.g. "sdpa".
        batch_rule: "batched", or "strict" when rows depend on their batch mates (LLM.int8() on a GPU, some recurrent
            architectures): then every row runs alone, without padding and without reuse of a prefix. To be recorded
            with results.
    """

    def __init__(
        self,
        module: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        *,
        weights: str,
        name: str = "",
        kernel: str = "dense",
        method: str = "full",
        rule: BatchRule | None = None,
        draws: int = 0,
        apart: str = "",
    ) -> None:
        self.module: Any = module.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.kernel = kernel
        self.method = method
        config: Any = module.config
        self.attention = str(config.get_text_config()._attn_implementation)
        self._draws = draws
        self._apart = apart
        self._weights = weights
        self._passes = Passes(module)
        self.batch_rule: BatchRule = rule or batch_rule(self._passes)
        self._strict = self.batch_rule == "strict"
        self._decoder = Decoder(self._passes, tokenizer, end_tokens(self.module, tokenizer), strict=self._strict)
        self._reader = Reader(tokenizer, context=self._passes.context, name=name)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        attention: str = "auto",
        trust_remote_code: bool = False,
        name: str = "",
        draws: int = 0,
        apart: str = "",
    ) -> HFModel:
        """Load a model folder of any supported format.

        Args:
            folder: Folder with config.json, safetensors and a tokenizer.
            device: "auto" (GPUs where there are any), "cpu", "cuda", "cuda:1"…
            dtype: Compute dtype; "auto" is float32 on a CPU and the checkpoint's on a GPU.
            attention: Kernel of attention: "eager", "sdpa", or "auto", the one transformers takes by itself.
            trust_remote_code: Run Python code that comes with the model.
            name: What to call it in messages; the folder's name by default.
            draws: As for the class.
            apart: As for the class.

        Raises:
            ModelError: The folder is missing, unsafe, damaged or of an unknown architecture.
        """
        from compressed_lens.lm.load import load_module

        path = Path(folder)
        loaded = load_module(path, device=device, dtype=dtype, attention=attention, trust_remote_code=trust_remote_code)
        return cls(
            loaded.module,
            loaded.tokenizer,
            weights=folder_digest(path),
            name=name or path.name,
            kernel=loaded.kernel,
            method=loaded.method,
            draws=draws,
            apart=apart,
        )

    @cached_property
    def fingerprint(self) -> str:
        """Digest of weights, tokenizer, compute dtype, kind of device, kernels, batch rule, and what sets it apart."""
        numerics = [str(self.dtype), self.device.type, self.kernel, self.attention, self.batch_rule]
        return digest([self._weights, *numerics, self._draws, self._apart])

    @property
    def device(self) -> torch.device:
        """Device that takes the token ids."""
        return self._passes.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype the embeddings, and so the activations, are in."""
        kind: torch.dtype = self.module.get_input_embeddings().weight.dtype
        return kind

    @cached_property
    def memory_bytes(self) -> int:
        """Bytes of all parameters and buffers; shared ones count once."""
        held = {t.data_ptr(): t.nbytes for t in (*self.module.parameters(), *self.module.buffers())}
        return sum(held.values())

    @property
    def context_length(self) -> int | None:
        """Most tokens of prompt and answer together; None when the architecture has no limit."""
        return self._passes.context

    @property
    def forward_tokens(self) -> int:
        """Number of tokens run through the model so far, padding not counted."""
        return self._passes.tokens

    def render(self, prompt: Prompt) -> Rendered:
        """Return the text and ids the model reads for `prompt`."""
        return self._reader.render(prompt)

    def encode(self, prompt: Prompt) -> list[int]:
        """Return the token ids of a rendered prompt, with exactly one BOS where the model uses one."""
        return list(self._reader.render(prompt).ids)

    def check(self, request: Request) -> None:
        """Raise what executing `request` would raise because of this request alone.

        Raises:
            ModelError: The prompt cannot be rendered or is too long for the context, there is nothing to read, or the
                architecture is not one that can be looked into.
        """
        self._reader.check(request)
        if isinstance(request, Inspect):
            self._inside.check(request)

    def generate(self, requests: Sequence[Generate], *, batch_tokens: int = BATCH_TOKENS) -> list[Generation]:
        """Answer every request, in order; greedily, or drawn where it has a temperature.

        An answer ends at an end token, before a stop string, after `max_new_tokens`, or where the context is full.

        Raises:
            ModelError: A prompt leaves no room for an answer, or one row does not fit into memory.
        """
        rows: list[Decoding] = []
        for request in requests:
            self.check(request)
            ids = self._reader.prompt(request.prompt)
            room = request.max_new_tokens if self.context_length is None else self.context_length - len(ids)
            limit = min(request.max_new_tokens, room)
            rows.append(
                Decoding(
                    prompt=ids,
                    limit=limit,
                    stop=request.stop,
                    temperature=request.temperature,
                    seed=request.seed + self._draws,
                )
            )
        found: dict[int, Generation] = {}

        def work(batch: Sequence[int]) -> None:
            found.update(zip(batch, self._decoder.run([rows[i] for i in batch]), strict=True))

        for batch in pack([len(row.prompt) + row.limit for row in rows], batch_tokens):
            run_halving(batch, work)
        return [found[i] for i in range(len(rows))]

    def score(self, requests: Sequence[Score], *, batch_tokens: int = BATCH_TOKENS) -> list[Scores]:
        """Score every request, in order; each distinct prompt is computed once for all its continuations.

        Prompts that begin alike share that computation where it saves much (see `lm.tree`).

        Raises:
            ModelError: A prompt with its continuation is longer than the context, or does not fit into memory.
        """
        groups: dict[Ids, Scoring] = {}
        asked: list[tuple[Scoring, list[Ids]]] = []
        for request in requests:
            ids = self._reader.prompt(request.prompt)
            group = groups.setdefault(ids, Scoring(prompt=ids))
            options = self._reader.options(request)
            group.options.update(dict.fromkeys(options))
            asked.append((group, options))
        score_groups(self._passes, list(groups.values()), batch_tokens=batch_tokens, strict=self._strict)
        return [group.scores(options) for group, options in asked]

    def trace(self, requests: Sequence[Trace], *, batch_tokens: int = BATCH_TOKENS) -> list[Traced]:
        """Return log-probability and log-odds of every token of each continuation, in order.

        The continuation is joined to the prompt, and beginnings are shared, as for `score`.

        Raises:
            ModelError: A prompt with its continuation is longer than the context, or does not fit into memory.
        """
        rows = [self._reader.continued(request.prompt, request.continuation) for request in requests]
        return trace_rows(self._passes, rows, batch_tokens=batch_tokens, strict=self._strict)

    def read(self, requests: Sequence[Read], *, batch_tokens: int = BATCH_TOKENS) -> list[Traced]:
        """Return the log-probability of every token of each text, in order (see `token_log_probabilities`)."""
        rows = self.token_log_probabilities([request.text for request in requests], batch_tokens=batch_tokens)
        return [Traced(log_probabilities=tuple(row.tolist())) for row in rows]

    def embed(self, requests: Sequence[Embed], *, batch_tokens: int = BATCH_TOKENS) -> list[Embedding]:
        """Return the mean of the last hidden states of each text's tokens (BOS left out), in order.

        Raises:
            ModelError: A text is empty or longer than the context.
        """
        rows = [self._reader.text(request.text) for request in requests]
        found = probes.mean_states(
            self._passes, rows, skip=self._reader.front, batch_tokens=batch_tokens, strict=self._strict
        )
        return [Embedding(vector=tuple(vector.tolist())) for vector in found]

    def attribute(self, requests: Sequence[Attribute], *, batch_tokens: int = BATCH_TOKENS) -> list[Attribution]:
        """Return the contributions of the tokens of a part of each prompt, in order (see `attribution`).

        Raises:
            ModelError: The part is not in the prompt, the target is empty, or something is too long.
        """
        parts = [self._reader.part(request.prompt, request.within) for request in requests]
        rows = [self._reader.targeted(request.prompt, request.target) for request in requests]
        questions = [
            Question(prompt=ids, target=target, places=part.places, method=request.method, steps=request.steps)
            for request, part, (ids, target) in zip(requests, parts, rows, strict=True)
        ]
        values = attribute_rows(self._passes, questions, batch_tokens=batch_tokens // _BACKWARD, strict=self._strict)
        return [Attribution(spans=part.spans, values=own) for part, own in zip(parts, values, strict=True)]

    def inspect(self, requests: Sequence[Inspect], *, batch_tokens: int = BATCH_TOKENS) -> list[Inspection]:
        """Look inside the model for every request, in order (see `lm.inspections`).

        Raises:
            ModelError: The architecture is not understood, or something is too long or not in its prompt.
        """
        return inspect_all(self._inside, requests, batch_tokens=batch_tokens)

    @cached_property
    def _inside(self) -> Inside:
        return Inside(self._passes, self._reader, self.tokenizer, name=self.name, strict=self._strict)

    def next_logits(self, prompts: Sequence[Prompt], *, batch_tokens: int = BATCH_TOKENS) -> Tensor:
        """Return the logits of the token after each prompt [prompts, vocabulary], float32 on the CPU."""
        return probes.next_logits(
            self._passes,
            [self._reader.prompt(prompt) for prompt in prompts],
            batch_tokens=batch_tokens,
            strict=self._strict,
        )

    @overload
    def hidden_states(
        self,
        prompts: Sequence[Prompt],
        *,
        layers: Sequence[int] | None = None,
        positions: Literal["last"] = "last",
        batch_tokens: int = BATCH_TOKENS,
    ) -> Tensor: ...

    @overload
    def hidden_states(
        self,
        prompts: Sequence[Prompt],
        *,
        layers: Sequence[int] | None = None,
        positions: Literal["all"],
        batch_tokens: int = BATCH_TOKENS,
    ) -> list[Tensor]: ...

    def hidden_states(
        self,
        prompts: Sequence[Prompt],
        *,
        layers: Sequence[int] | None = None,
        positions: Literal["last", "all"] = "last",
        batch_tokens: int = BATCH_TOKENS,
    ) -> Tensor | list[Tensor]:
        """Return hidden states, float32 on the CPU.

        Layer 0 is the embeddings, layer i the output of block i; the last one (index -1) has passed the final
        norm, as transformers reports it.

        Args:
            prompts: What the model reads.
            layers: Which layers, in this order; all by default.
            positions: "last" gives [prompts, layers, width]; "all" gives one [layers, tokens, width] a prompt.
            batch_tokens: Most tokens of a batch, padding included.
        """
        rows = probes.hidden_states(
            self._passes,
            [self._reader.prompt(prompt) for prompt in prompts],
            layers=layers,
            last_only=positions == "last",
            batch_tokens=batch_tokens,
            strict=self._strict,
        )
        return torch.stack(rows) if positions == "last" else rows

    def input_gradients(
        self, prompts: Sequence[Prompt], targets: Sequence[str], *, batch_tokens: int = BATCH_TOKENS // _BACKWARD
    ) -> list[Tensor]:
        """Return the gradient of each target's log-probability with respect to its prompt's input embeddings.

        One tensor a prompt, [prompt tokens, width] (BOS included), float32 on the CPU, in nats per unit of embedding.

        Raises:
            ModelError: A target is empty, or too long for the context.
        """
        rows = [self._reader.targeted(prompt, target) for prompt, target in zip(prompts, targets, strict=True)]
        return probes.input_gradients(self._passes, rows, batch_tokens=batch_tokens, strict=self._strict)

    def token_log_probabilities(self, texts: Sequence[str], *, batch_tokens: int = BATCH_TOKENS) -> list[Tensor]:
        """Return the log-probability of every token of plain texts, in nats, float32 on the CPU.

        Where the model uses a BOS it is read first and every token of the text is scored; otherwise the first
        token cannot be scored and is left out. Texts longer than the context are read in overlapping windows.
        """
        rows = [self._reader.whole(text) for text in texts]
        return probes.token_log_probabilities(
            self._passes, rows, given=1, batch_tokens=batch_tokens, strict=self._strict
        )
