"""Calibration text: where it comes from, which sequences of it are used, and how it is recorded."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from compressed_lens.errors import DataError
from compressed_lens.quantization.recipe import Calibration

OWN_FILE = "calibration.txt"
_SHORTEST = 8


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The sequences a technique sees.

    Attributes:
        ids: Token ids of each sequence.
        source: Where the text comes from, in words.
        sha256: Digest of the text.
    """

    ids: tuple[tuple[int, ...], ...]
    source: str
    sha256: str

    def facts(self) -> dict[str, Any]:
        """Return what is recorded of the calibration: no text, but enough to know whether it was the same."""
        lengths = [len(ids) for ids in self.ids]
        return {
            "source": self.source,
            "sha256": self.sha256,
            "sequences": len(lengths),
            "tokens": sum(lengths),
            "shortest": min(lengths),
            "longest": max(lengths),
        }


def calibration_texts(settings: Calibration, folder: Path) -> tuple[tuple[str, ...], str]:
    """Return the texts to calibrate a model folder on, and where they come from.

    The file named in the settings comes first, then the model folder's own `calibration.txt`, then the English text in
    the package.

    Raises:
        DataError: The file cannot be read or holds no text.
    """
    if settings.path is not None:
        path = Path(settings.path).expanduser()
        return read_texts(path), path.name
    if (folder / OWN_FILE).is_file():
        return read_texts(folder / OWN_FILE), "the model's own calibration.txt"
    text = resources.files("compressed_lens.quantization").joinpath(OWN_FILE).read_text(encoding="utf-8")
    return _paragraphs(text), "the package's English text"


def read_texts(path: Path) -> tuple[str, ...]:
    """Return the texts of a file: paragraphs of a text file, or the field `text` of each line of a JSONL file.

    Raises:
        DataError: The file is missing, malformed or empty.
    """
    try:
        raw = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The calibration text {path} cannot be read ({error}).", fix="Give a UTF-8 file.") from error
    texts = _json_lines(raw, path) if path.suffix in {".jsonl", ".ndjson"} else _paragraphs(raw)
    if not texts:
        raise DataError(f"The calibration text {path} is empty.", fix="Give a file with text.")
    return texts


def _paragraphs(raw: str) -> tuple[str, ...]:
    return tuple(text.strip() for text in raw.replace("\r\n", "\n").split("\n\n") if text.strip())


def _json_lines(raw: str, path: Path) -> tuple[str, ...]:
    texts = []
    for number, line in enumerate(raw.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"Line {number} of {path} is no JSON object with a field `text`.") from error
        if not isinstance(text, str):
            raise DataError(f"The field `text` in line {number} of {path} is not a string.")
        texts.append(text)
    return tuple(texts)


def texts_digest(texts: Sequence[str]) -> str:
    """Return the SHA-256 of the texts in order."""
    return hashlib.sha256(json.dumps(list(texts), ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


def tokenize(texts: Sequence[str], source: str, settings: Calibration, tokenizer: Any, *, seed: int) -> Samples:
    """Cut the texts into sequences and pick some.

    A text longer than `settings.tokens` gives several sequences; texts are never glued together. Where there are more
    than `settings.samples`, a seeded choice is made. A start token the text already spells is not added twice.

    Raises:
        DataError: No sequence is long enough.
    """
    windows: list[tuple[int, ...]] = []
    for text in texts:
        start = tokenizer.bos_token
        ids = tokenizer(text, add_special_tokens=not (start and text.startswith(start)))["input_ids"]
        windows += [tuple(ids[i : i + settings.tokens]) for i in range(0, len(ids), settings.tokens)]
    usable = [window for window in windows if len(window) >= _SHORTEST]
    if not usable:
        raise DataError(
            f"The calibration text ({source}) has no sequence of {_SHORTEST} tokens.", fix="Give longer texts."
        )
    if len(usable) > settings.samples:
        chosen = sorted(random.Random(seed).sample(range(len(usable)), settings.samples))  # noqa: S311
        usable = [usable[index] for index in chosen]
    return Samples(ids=tuple(usable), source=source, sha256=texts_digest(texts))
