"""A sequence-to-sequence model (BART, T5) that traces a target after a source; for BARTScore."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from compressed_lens.errors import ModelError
from compressed_lens.ids import digest, folder_digest
from compressed_lens.lm.batching import pack, run_halving
from compressed_lens.lm.forward import logit_budget
from compressed_lens.lm.protocol import Prompt, Request, Trace, Traced
from compressed_lens.lm.trace import log_odds, traced

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_TOKENS = 1024
_REMEMBERED = 4096

Ids = tuple[int, ...]


class Seq2SeqModel:
    """An encoder-decoder of transformers; answers `Trace` about plain texts.

    Source (the prompt's text) and target (the continuation) are tokenized by themselves with the special tokens of
    the tokenizer, and cut after 1024 tokens or the model's own limit, as BARTScore does (Yuan et al. 2021, section 3).
    Every token of the target is traced, its special tokens included.

    Args:
        module: The model.
        tokenizer: Its tokenizer; never changed.
        weights: Digest of the bytes of weights, configuration and tokenizer.
        name: What to call it in messages.

    Raises:
        ModelError: The configuration does not say what the decoder reads first.
    """

    def __init__(self, module: nn.Module, tokenizer: PreTrainedTokenizerBase, *, weights: str, name: str = "") -> None:
        self.module: Any = module.eval().requires_grad_(False)
        self.name = name
        self.forward_tokens = 0
        self._weights = weights
        config: Any = self.module.config
        start = getattr(config, "decoder_start_token_id", None)
        if start is None:
            start = getattr(self.module.generation_config, "decoder_start_token_id", None)
        if start is None:
            raise ModelError(
                f"The configuration of {name} has no decoder_start_token_id.", fix="Restore the original config.json."
            )
        self._start = int(start)
        self._vocabulary = int(config.vocab_size)
        self._limit = min(MOST_TOKENS, getattr(config, "max_position_embeddings", None) or MOST_TOKENS)
        self._tokenize = lru_cache(_REMEMBERED)(lambda text: self._ids(tokenizer, text))

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        name: str = "",
        trust_remote_code: bool = False,
    ) -> Seq2SeqModel:
        """Load a folder in full precision; the arguments are those of `HFModel.load`.

        Raises:
            ModelError: The folder is missing, unsafe, damaged, quantized or of another kind.
        """
        from compressed_lens.lm.load import load_companion

        path = Path(folder)
        loaded = load_companion(
            path, "AutoModelForSeq2SeqLM", device=device, dtype=dtype, trust_remote_code=trust_remote_code
        )
        return cls(loaded.module, loaded.tokenizer, weights=folder_digest(path), name=name or path.name)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of weights, tokenizer, compute dtype, kind of device and what is read of a text."""
        return digest([self._weights, str(self.module.dtype), self.device.type, "seq2seq", self._limit])

    @property
    def device(self) -> torch.device:
        """Device that takes the token ids."""
        where: torch.device = self.module.get_input_embeddings().weight.device
        return where

    def encode(self, prompt: Prompt) -> list[int]:
        """Return the ids the encoder reads.

        Raises:
            ModelError: The prompt is not plain text.
        """
        if prompt.text is None or prompt.prefill:
            raise ModelError(
                f"{self.name} is a sequence-to-sequence model and reads plain text, not a conversation.",
                fix="Put the source into Prompt(text=...).",
            )
        ids = self._tokenize(prompt.text)
        if not ids:
            raise ModelError("The source is empty.", fix="Leave out items without text.")
        return list(ids)

    def check(self, request: Request) -> None:
        """Raise what `trace` would raise because of this request alone."""
        if isinstance(request, Trace):
            self.encode(request.prompt)

    def trace(self, requests: Sequence[Trace], *, batch_tokens: int = 8192) -> list[Traced]:
        """Trace every target, in order; each distinct source is encoded once for all its targets.

        Raises:
            ModelError: A prompt is not plain text, or one row does not fit into memory.
        """
        targets: dict[Ids, dict[Ids, Traced]] = {}
        asked = []
        for request in requests:
            source, target = tuple(self.encode(request.prompt)), self._tokenize(request.continuation)
            targets.setdefault(source, {})[target] = traced([], [])
            asked.append((source, target))
        sources = list(targets)

        def work(batch: Sequence[Ids]) -> None:
            states, mask = self._encoded(batch)
            rows = [(place, target) for place, source in enumerate(batch) for target in targets[source] if target]
            lengths = [len(target) for _, target in rows]
            # A row costs a copy of its source's states, and logits for every token of its target.
            for rough in pack([states.shape[1] + n for n in lengths], batch_tokens):
                for exact in pack([lengths[i] for i in rough], logit_budget(self._vocabulary, batch_tokens)):
                    chosen = [rows[rough[i]] for i in exact]
                    run_halving(chosen, lambda part: decode(part, batch, states, mask))

        def decode(part: Sequence[tuple[int, Ids]], batch: Sequence[Ids], states: Tensor, mask: Tensor) -> None:
            values = iter(self._decoded(part, states, mask))
            for place, target in part:
                targets[batch[place]][target] = traced(*zip(*(next(values) for _ in target), strict=True))

        for batch in pack([len(source) for source in sources], batch_tokens):
            run_halving([sources[i] for i in batch], work)
        return [targets[source][target] for source, target in asked]

    def _encoded(self, rows: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        """Return the encoder's states [rows, longest, width] and mask, padded on the right."""
        ids, mask = self._padded(rows)
        with torch.no_grad():
            output = self.module.get_encoder()(input_ids=ids, attention_mask=mask)
        return output.last_hidden_state, mask

    def _decoded(self, rows: Sequence[tuple[int, Ids]], states: Tensor, mask: Tensor) -> list[tuple[float, float]]:
        """Return (log-probability, log-odds) of every token of (source's place, target) rows."""
        sources = [source for source, _ in rows]
        # The decoder reads a target shifted by one; of its padding nothing is read off.
        ids, own = self._padded([(self._start, *target[:-1]) for _, target in rows])
        encoded: Any = states[sources]
        with torch.no_grad():
            logits = self.module(
                encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
                attention_mask=mask[sources],
                decoder_input_ids=ids,
                decoder_attention_mask=own,
                use_cache=False,
            ).logits.float()
        return log_odds(logits, [(r, i, token) for r, (_, target) in enumerate(rows) for i, token in enumerate(target)])

    def _padded(self, rows: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        width = max(len(row) for row in rows)
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=self.device)
        counts = torch.tensor([len(row) for row in rows], device=self.device)
        self.forward_tokens += int(counts.sum())
        return ids, (torch.arange(width, device=self.device) < counts[:, None]).long()

    def _ids(self, tokenizer: PreTrainedTokenizerBase, text: str) -> Ids:
        return tuple(tokenizer(text, truncation=True, max_length=self._limit, verbose=False)["input_ids"])
