"""A transformers model behind the one door: answers, scores, hidden states and gradients, for every variant alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor, nn

from compressed_lens.errors import ModelError
from compressed_lens.ids import digest, folder_digest
from compressed_lens.lm import probes
from compressed_lens.lm.batching import pack, run_halving
from compressed_lens.lm.forward import BatchRule, Passes, batch_rule
from compressed_lens.lm.generation import Decoder, Decoding
from compressed_lens.lm.protocol import Embed, Generate, Generation, Prompt, Read, Request, Score, Scores
from compressed_lens.lm.scoring import Scored, Scoring, score_batch
from compressed_lens.lm.text import Rendered, encode_plain, join, render, uses_bos

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_REMEMBERED = 4096
BATCH_TOKENS = 8192

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

    Attributes:
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
    ) -> None:
        self.module: Any = module.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.kernel = kernel
        self.method = method
        self._weights = weights
        self._passes = Passes(module)
        self.batch_rule: BatchRule = rule or batch_rule(self._passes)
        self._strict = self.batch_rule == "strict"
        self._decoder = Decoder(self._passes, tokenizer, _end_tokens(self.module, tokenizer), strict=self._strict)
        self._render: Callable[[Prompt], Rendered] = lru_cache(_REMEMBERED)(lambda p: render(tokenizer, p))
        self._options: Callable[[Score], list[Ids]] = lru_cache(_REMEMBERED)(self._tokenize_options)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        trust_remote_code: bool = False,
        name: str = "",
    ) -> HFModel:
        """Load a model folder of any supported format.

        Args:
            folder: Folder with config.json, safetensors and a tokenizer.
            device: "auto" (GPUs where there are any), "cpu", "cuda", "cuda:1"…
            dtype: Compute dtype; "auto" is float32 on a CPU and the checkpoint's on a GPU.
            trust_remote_code: Run Python code that comes with the model.
            name: What to call it in messages; the folder's name by default.

        Raises:
            ModelError: The folder is missing, unsafe, damaged or of an unknown architecture.
        """
        from compressed_lens.lm.load import load_module

        path = Path(folder)
        loaded = load_module(path, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
        return cls(
            loaded.module,
            loaded.tokenizer,
            weights=folder_digest(path),
            name=name or path.name,
            kernel=loaded.kernel,
            method=loaded.method,
        )

    @cached_property
    def fingerprint(self) -> str:
        """Digest of weights, tokenizer, compute dtype, kind of device, kernel and batch rule."""
        return digest([self._weights, str(self.dtype), self.device.type, self.kernel, self.batch_rule])

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
        return self._render(prompt)

    def encode(self, prompt: Prompt) -> list[int]:
        """Return the token ids of a rendered prompt, with exactly one BOS where the model uses one."""
        return list(self._render(prompt).ids)

    def check(self, request: Request) -> None:
        """Raise what `generate` or `score` would raise because of this request alone.

        Raises:
            ModelError: The prompt cannot be rendered, or is too long for the context.
        """
        if isinstance(request, Score):
            self._options(request)
        elif not isinstance(request, Read | Embed):
            self._check_length(len(self._render(request.prompt).ids) + 1)

    def generate(self, requests: Sequence[Generate], *, batch_tokens: int = BATCH_TOKENS) -> list[Generation]:
        """Answer every request greedily, in order.

        An answer ends at an end token, before a stop string, after `max_new_tokens`, or where the context is full.

        Raises:
            ModelError: A prompt leaves no room for an answer, or one row does not fit into memory.
        """
        rows: list[Decoding] = []
        for request in requests:
            self.check(request)
            ids = self._render(request.prompt).ids
            room = request.max_new_tokens if self.context_length is None else self.context_length - len(ids)
            limit = min(request.max_new_tokens, room)
            rows.append(Decoding(prompt=ids, limit=limit, stop=request.stop))
        found: dict[int, Generation] = {}

        def work(batch: Sequence[int]) -> None:
            found.update(zip(batch, self._decoder.run([rows[i] for i in batch]), strict=True))

        for batch in pack([len(row.prompt) + row.limit for row in rows], batch_tokens):
            run_halving(batch, work)
        return [found[i] for i in range(len(rows))]

    def score(self, requests: Sequence[Score], *, batch_tokens: int = BATCH_TOKENS) -> list[Scores]:
        """Score every request, in order; each distinct prompt is computed once for all its continuations.

        Raises:
            ModelError: A prompt with its continuation is longer than the context, or does not fit into memory.
        """
        groups: dict[Ids, Scoring] = {}
        asked: list[tuple[Scoring, list[Ids]]] = []
        for request in requests:
            prompt = self._render(request.prompt)
            group = groups.setdefault(prompt.ids, Scoring(prompt=prompt.ids))
            options = self._options(request)
            group.options.update(dict.fromkeys(options))
            asked.append((group, options))
        todo = list(groups.values())
        for batch in pack([len(group.prompt) for group in todo], batch_tokens):
            run_halving(
                [todo[i] for i in batch],
                lambda part: score_batch(self._passes, part, batch_tokens=batch_tokens, strict=self._strict),
            )
        return [_scores(group, options) for group, options in asked]

    def next_logits(self, prompts: Sequence[Prompt], *, batch_tokens: int = BATCH_TOKENS) -> Tensor:
        """Return the logits of the token after each prompt [prompts, vocabulary], float32 on the CPU."""
        return probes.next_logits(self._passes, self._ids(prompts), batch_tokens=batch_tokens, strict=self._strict)

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
            self._ids(prompts),
            layers=layers,
            last_only=positions == "last",
            batch_tokens=batch_tokens,
            strict=self._strict,
        )
        return torch.stack(rows) if positions == "last" else rows

    def input_gradients(
        self, prompts: Sequence[Prompt], targets: Sequence[str], *, batch_tokens: int = BATCH_TOKENS // 4
    ) -> list[Tensor]:
        """Return the gradient of each target's log-probability with respect to its prompt's input embeddings.

        One tensor a prompt, [prompt tokens, width] (BOS included), float32 on the CPU, in nats per unit of embedding.

        Raises:
            ModelError: A target is empty, or too long for the context.
        """
        rows = []
        for prompt, target in zip(prompts, targets, strict=True):
            rendered = self._render(prompt)
            ids = join(self.tokenizer, rendered, target)[len(rendered.ids) :]
            if not ids:
                raise ModelError("The target of a gradient is empty.", fix="Give at least one character.")
            self._check_length(len(rendered.ids) + len(ids))
            rows.append((rendered.ids, ids))
        return probes.input_gradients(self._passes, rows, batch_tokens=batch_tokens, strict=self._strict)

    def token_log_probabilities(self, texts: Sequence[str], *, batch_tokens: int = BATCH_TOKENS) -> list[Tensor]:
        """Return the log-probability of every token of plain texts, in nats, float32 on the CPU.

        Where the model uses a BOS it is read first and every token of the text is scored; otherwise the first
        token cannot be scored and is left out. Texts longer than the context are read in overlapping windows.
        """
        bos = [int(self.tokenizer.bos_token_id)] if uses_bos(self.tokenizer) else []
        rows = [[*bos, *encode_plain(self.tokenizer, text)] for text in texts]
        return probes.token_log_probabilities(
            self._passes, rows, given=1, batch_tokens=batch_tokens, strict=self._strict
        )

    def _tokenize_options(self, request: Score) -> list[Ids]:
        """Return the ids of every continuation of a request."""
        prompt = self._render(request.prompt)
        options = [join(self.tokenizer, prompt, text)[len(prompt.ids) :] for text in request.continuations]
        self._check_length(len(prompt.ids) + max(map(len, options), default=0))
        return options

    def _ids(self, prompts: Sequence[Prompt]) -> list[Ids]:
        rows = [self._render(prompt).ids for prompt in prompts]
        for row in rows:
            self._check_length(len(row))
        return rows

    def _check_length(self, tokens: int) -> None:
        if self.context_length is not None and tokens > self.context_length:
            raise ModelError(
                f"{tokens} tokens do not fit into the {self.context_length} the model {self.name} reads at once.",
                fix="Use a shorter prompt or a model with a longer context.",
            )


def _scores(group: Scoring, options: Sequence[Ids]) -> Scores:
    found: list[Scored] = [scored for option in options if (scored := group.options[option]) is not None]
    return Scores(
        log_probabilities=tuple(s.log_probability for s in found),
        tokens=tuple(len(option) for option in options),
        greedy=tuple(s.greedy for s in found),
    )


def _end_tokens(module: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return every token that ends an answer, by the generation settings, the configuration and the tokenizer."""
    named = [
        getattr(getattr(module, "generation_config", None), "eos_token_id", None),
        getattr(module.config.get_text_config(), "eos_token_id", None),
        tokenizer.eos_token_id,
    ]
    ends: set[int] = set()
    for value in named:
        ends.update([] if value is None else [value] if isinstance(value, int) else value)
    return frozenset(ends)
