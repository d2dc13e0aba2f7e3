"""An encoder (BERT and its kin, sentence encoders) that turns texts into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from compressed_lens.errors import ModelError
from compressed_lens.ids import digest, folder_digest
from compressed_lens.lm.batching import pack, run_halving
from compressed_lens.lm.protocol import Embed, Embedding, Prompt, Request

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MOST_TOKENS = 512

Ids = tuple[int, ...]


class EncoderModel:
    """An encoder of transformers; answers `Embed`.

    A text's vector is the mean of the last hidden states of its tokens, special tokens included and padding left out
    (as sentence-transformers pools by default). A text longer than the model reads at once is read in consecutive
    windows, and the mean is taken over the tokens of all of them.

    Args:
        module: The model, without a head.
        tokenizer: Its tokenizer; never changed.
        weights: Digest of the bytes of weights, configuration and tokenizer.
        name: What to call it in messages.
    """

    def __init__(self, module: nn.Module, tokenizer: PreTrainedTokenizerBase, *, weights: str, name: str = "") -> None:
        self.module: Any = module.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.forward_tokens = 0
        self._weights = weights
        self._limit = _limit(self.module, tokenizer)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        name: str = "",
        trust_remote_code: bool = False,
    ) -> EncoderModel:
        """Load a folder in full precision; the arguments are those of `HFModel.load`.

        Raises:
            ModelError: The folder is missing, unsafe, damaged, quantized or of another kind.
        """
        from compressed_lens.lm.load import load_companion

        path = Path(folder)
        loaded = load_companion(path, "AutoModel", device=device, dtype=dtype, trust_remote_code=trust_remote_code)
        return cls(loaded.module, loaded.tokenizer, weights=folder_digest(path), name=name or path.name)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of weights, tokenizer, compute dtype, kind of device and window."""
        return digest([self._weights, str(self.module.dtype), self.device.type, "encoder", self._limit])

    @property
    def device(self) -> torch.device:
        """Device that takes the token ids."""
        where: torch.device = self.module.get_input_embeddings().weight.device
        return where

    def encode(self, prompt: Prompt) -> list[int]:
        """Return the ids of a plain text.

        Raises:
            ModelError: The prompt is not plain text.
        """
        if prompt.text is None or prompt.prefill:
            raise ModelError(f"{self.name} is an encoder and reads plain text, not a conversation.")
        return [token for window in self._windows(prompt.text) for token in window]

    def check(self, request: Request) -> None:
        """Raise what `embed` would raise because of this request alone."""
        if isinstance(request, Embed):
            self._windows(request.text)

    def embed(self, requests: Sequence[Embed], *, batch_tokens: int = 8192) -> list[Embedding]:
        """Return the vector of every text, in order; equal texts are read once.

        Raises:
            ModelError: A text is empty, or one row does not fit into memory.
        """
        windows = {request.text: self._windows(request.text) for request in requests}
        rows = list(dict.fromkeys(window for own in windows.values() for window in own))
        sums: dict[Ids, Tensor] = {}

        def work(batch: Sequence[Ids]) -> None:
            sums.update(zip(batch, self._sums(batch), strict=True))

        for batch in pack([len(row) for row in rows], batch_tokens):
            run_halving([rows[i] for i in batch], work)
        found = {}
        for text, own in windows.items():
            total = torch.stack([sums[window] for window in own]).sum(dim=0)
            found[text] = Embedding(vector=tuple((total / sum(map(len, own))).tolist()))
        return [found[request.text] for request in requests]

    def _sums(self, rows: Sequence[Ids]) -> list[Tensor]:
        """Return the sum of the last hidden states of each row's tokens [width]."""
        width = max(len(row) for row in rows)
        pad = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=self.device)
        counts = torch.tensor([len(row) for row in rows], device=self.device)
        mask = torch.arange(width, device=self.device) < counts[:, None]
        self.forward_tokens += int(counts.sum())
        with torch.no_grad():
            states = self.module(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
        return list((states * mask[:, :, None]).sum(dim=1).cpu())

    def _windows(self, text: str) -> list[Ids]:
        """Return the ids of a text in windows, each with the tokenizer's special tokens."""
        if not self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]:
            raise ModelError("An empty text has no embedding.", fix="Leave out items without text.")
        if not self.tokenizer.is_fast:
            return [tuple(self.tokenizer(text, truncation=True, max_length=self._limit)["input_ids"])]
        found = self.tokenizer(
            text, truncation=True, max_length=self._limit, return_overflowing_tokens=True, verbose=False
        )
        return [tuple(window) for window in found["input_ids"]]


def _limit(module: Any, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many tokens the model reads at once, special tokens included."""
    limits = [_MOST_TOKENS, int(min(tokenizer.model_max_length, _MOST_TOKENS))]
    for name, layer in module.named_modules():
        if name.endswith("position_embeddings") and isinstance(layer, nn.Embedding):
            # RoBERTa and its kin count positions from after the padding index.
            first = 0 if layer.padding_idx is None else layer.padding_idx + 1
            limits.append(layer.num_embeddings - first)
    return min(limits)
