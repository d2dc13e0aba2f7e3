"""On what a run was made: versions, machine, git revision. Never environment variables or other secrets."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    *("compressed-lens", "torch", "transformers", "tokenizers", "safetensors", "numpy", "accelerate", "bitsandbytes"),
    *("compressed-tensors", "llmcompressor", "gptqmodel", "optimum", "hqq", "gguf", "polars", "scipy"),
)


def environment(*, seed: int) -> dict[str, Any]:
    """Return what is known without torch."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": _memory(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "revision": _revision(),
        "seed": seed,
    }


def torch_environment() -> dict[str, Any]:
    """Return threads and GPUs; imports torch."""
    import torch

    gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else range(0)
    return {
        "torch_threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(index) for index in gpus],
        "cuda": torch.version.cuda if gpus else None,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _revision() -> str | None:
    """Return the commit of the checkout the package runs from, or None when it is installed."""
    git = Path(__file__).resolve().parents[3] / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        loose = git / name
        if loose.is_file():
            return loose.read_text(encoding="utf-8").strip()
        packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
    except OSError:
        return None
