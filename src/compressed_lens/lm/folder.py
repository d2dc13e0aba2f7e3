"""What can be told about a model folder without torch: its configuration, how it is quantized, whether it is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from compressed_lens.errors import ModelError
from compressed_lens.registry import nearest

METHODS = ("full", "bitsandbytes", "compressed-tensors", "gptq", "awq")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "vocab.txt", "tekken.json")


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be a sound model, before anything is written or loaded.

    Raises:
        ModelError: The configuration, the weights or the tokenizer are missing or malformed.
    """
    method_of(read_config(folder), folder)
    check_weights(folder)
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(f"{folder} has no tokenizer.", fix="Put tokenizer.json of the original model into it.")


def read_config(folder: Path) -> dict[str, Any]:
    """Return config.json of a model folder as a dictionary.

    Raises:
        ModelError: The folder or its configuration is missing or malformed.
    """
    if not folder.is_dir():
        raise ModelError(f"There is no model folder at {folder}.", fix="Give the path of a folder with a config.json.")
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"{folder} has no config.json.", fix="Give a Hugging Face model folder.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{path} is not valid JSON: {first_line(error)}", fix="Restore the original file.") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ModelError(f"{path} names no model_type.", fix="Restore the original config.json.")
    return config


def method_of(config: dict[str, Any], folder: Path) -> str:
    """Return which of `METHODS` a configuration declares.

    Raises:
        ModelError: The quantization method is unknown or not supported.
    """
    declared = config.get("quantization_config")
    if declared is None:
        return "full"
    name = declared.get("quant_method") if isinstance(declared, dict) else None
    if name is None and isinstance(declared, dict) and (declared.get("load_in_8bit") or declared.get("load_in_4bit")):
        name = "bitsandbytes"
    if name not in METHODS[1:]:
        raise ModelError(
            f"{folder} is quantized with '{name}', which is not supported.",
            fix=nearest(str(name), METHODS[1:]) or f"Supported: {', '.join(METHODS[1:])}, or full precision.",
        )
    return str(name)


def check_weights(folder: Path) -> None:
    """Check that every weight file is there, is safetensors, and is as long as its header says; no weight is read.

    Raises:
        ModelError: One of them is not.
    """
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        unsafe = next((p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".ckpt"}), None)
        if unsafe is not None:
            raise ModelError(
                f"{folder} holds pickled weights ({unsafe}), which can run code when opened.",
                fix="Convert them to safetensors first.",
            )
        raise ModelError(f"{folder} holds no safetensors weights.", fix="Check that the download is complete.")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            wanted = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"{index} is malformed.", fix="Restore the original file.") from error
        absent = sorted(name for name in wanted if not (folder / name).is_file())
        if absent:
            raise ModelError(f"{folder} lacks the weight file {absent[0]}.", fix="Download the missing shards.")
    for path in files:
        try:
            with safe_open(path, framework="numpy") as handle:
                handle.keys()
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{path} is damaged: {first_line(error)}", fix="Copy or download the file again."
            ) from error


def first_line(error: BaseException) -> str:
    """Return the first line of what a library said."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".") + "."
