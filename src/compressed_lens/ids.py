"""Content identities: canonical JSON and SHA-256 digests. Names never identify weights; bytes do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20
MODEL_FILES = (".safetensors", ".json", ".jinja", ".model", ".gguf", ".tiktoken", "merges.txt", "vocab.txt")


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with sorted keys and no spaces; equal values give equal text.

    Raises:
        TypeError: `value` holds something JSON cannot express.
        ValueError: `value` holds NaN or an infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any, *, length: int = 16) -> str:
    """Return the first `length` hex digits of the SHA-256 of `value`'s canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()[:length]


def file_digest(path: Path) -> str:
    """Return the SHA-256 hex digest of a file's bytes; a file that did not change is read once a process."""
    stat = path.stat()
    return _file_digest(path.resolve(), stat.st_ino, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _file_digest(path: Path, *_changes: int) -> str:
    hasher = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def folder_digest(folder: Path, suffixes: Iterable[str] = MODEL_FILES) -> str:
    """Return a digest of the bytes of a model folder: weights, configuration and tokenizer.

    File names enter relative to `folder`, so a copy elsewhere has the same digest, and a
    re-quantization in place has another.
    """
    wanted = tuple(suffixes)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name.endswith(wanted))
    return digest([(p.relative_to(folder).as_posix(), file_digest(p)) for p in files])
