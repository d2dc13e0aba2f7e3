"""Next-token distributions of a text, taken down by one model and compared by another (see `lm.distributions`)."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from compressed_lens.errors import ModelError
from compressed_lens.lm.distributions import ROUNDING, Against, Likeliest
from compressed_lens.lm.inside.inside import Inside
from compressed_lens.lm.protocol import Inspect

Read = Callable[[Inspect, tuple[int, ...], Tensor], dict[str, Any]]


def check(inside: Inside, request: Inspect) -> None:
    """Raise ModelError when the text is too long, or other tokens to this model than to the one it is compared with."""
    by = cast(Likeliest | Against, request.by)
    _, ids = inside.reader.continued(request.prompt, by.continuation)
    if isinstance(by, Against):
        tokens, _ = _unpacked(by)
        if ids != by.ids or int(tokens.max()) >= inside.passes.vocabulary:
            raise ModelError(
                "The two models read the same text as other tokens, so their next-token distributions cannot be "
                "compared.",
                fix="Leave out variants with another tokenizer.",
            )


def likeliest(inside: Inside, requests: Sequence[Inspect], *, batch_tokens: int) -> list[dict[str, Any]]:
    """Answer `Likeliest` requests, in order."""

    def read(request: Inspect, ids: tuple[int, ...], logits: Tensor) -> dict[str, Any]:
        tokens = logits.topk(min(cast(Likeliest, request.by).top, logits.shape[1]), dim=1).indices
        parts = _parts(logits, tokens)
        return {
            "ids": list(ids),
            "packed": _packed(tokens, parts),
            "outside": parts[:, -1].exp().nan_to_num().tolist(),
            "finite": bool(logits.isfinite().all()),
        }

    return _each(inside, requests, read, batch_tokens)


def against(inside: Inside, requests: Sequence[Inspect], *, batch_tokens: int) -> list[dict[str, Any]]:
    """Answer `Against` requests, in order."""

    def read(request: Inspect, ids: tuple[int, ...], logits: Tensor) -> dict[str, Any]:
        tokens, other = (part.to(logits.device) for part in _unpacked(cast(Against, request.by)))
        divergences = _divergence(other.double().log_softmax(dim=1), _parts(logits, tokens))
        if not (divergences.isfinite().all() and logits.isfinite().all()):
            return {"kl": [], "same_top": [], "probability": [], "finite": False}
        places = torch.arange(len(ids), device=logits.device)
        own = logits.double().log_softmax(dim=1)[places, torch.tensor(ids, dtype=torch.long, device=logits.device)]
        return {
            "kl": divergences.tolist(),
            "same_top": (logits.gather(1, tokens[:, :1])[:, 0] >= logits.amax(dim=1)).tolist(),
            "probability": own.exp().tolist(),
            "finite": True,
        }

    return _each(inside, requests, read, batch_tokens)


def _each(inside: Inside, requests: Sequence[Inspect], read: Read, batch_tokens: int) -> list[dict[str, Any]]:
    """Return what `read` makes of the logits [positions, vocabulary] in front of each token of the continuations."""
    texts = [
        inside.reader.continued(request.prompt, cast(Likeliest | Against, request.by).continuation)
        for request in requests
    ]
    # The last token of a text is predicted and not read.
    rows = [(*prompt, *ids[:-1]) for prompt, ids in texts]
    found: dict[int, dict[str, Any]] = {}

    def work(batch: Sequence[int]) -> None:
        counts = [max(1, len(texts[n][1])) for n in batch]
        logits = inside.passes.read([rows[n] for n in batch], keep=max(counts))
        for place, (n, count) in enumerate(zip(batch, counts, strict=True)):
            found[n] = read(requests[n], texts[n][1], logits[place, -count:])

    inside.each([len(row) for row in rows], work, inside.passes.logit_budget(batch_tokens))
    return [found[n] for n in range(len(requests))]


def _parts(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return log-probabilities of `tokens` [positions, top] and, last, of all other tokens together (float64)."""
    logs = logits.double().log_softmax(dim=1)
    rest = logs.scatter(1, tokens, -torch.inf).logsumexp(dim=1, keepdim=True)
    return torch.cat([logs.gather(1, tokens), rest], dim=1)


def _divergence(other: Tensor, own: Tensor) -> Tensor:
    """Return KL(other || own) of each row of log-probabilities, in nats; 0 below `ROUNDING`."""
    terms = torch.where(other == -torch.inf, 0.0, other.exp() * (other - own))
    total = terms.sum(dim=1)
    return torch.where(total < ROUNDING, 0.0, total)


def _packed(tokens: Tensor, parts: Tensor) -> str:
    """Return tokens and log-probabilities as text: 4 bytes each, little-endian, base64."""
    numbers = (tokens.cpu().numpy().astype("<i4"), parts.cpu().numpy().astype("<f4"))
    return b64encode(b"".join(part.tobytes() for part in numbers)).decode("ascii")


def _unpacked(by: Against) -> tuple[Tensor, Tensor]:
    """Return what `_packed` was given; the log-probabilities in float32."""
    held, positions = b64decode(by.packed), max(1, len(by.ids))
    top = (len(held) // 4 // positions - 1) // 2
    cut = 4 * positions * top
    tokens = np.frombuffer(held[:cut], dtype="<i4").reshape(positions, top)
    parts = np.frombuffer(held[cut:], dtype="<f4").reshape(positions, top + 1)
    return torch.from_numpy(tokens.astype(np.int64)), torch.from_numpy(parts.astype(np.float32))
