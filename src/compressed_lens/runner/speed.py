"""How fast models ran on this machine before, so that a plan can say how long a study will take."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

FILE = "speed.json"
# Parameters x forward tokens a second that a machine without any measurement is taken to do; a guess.
_GUESS = {"cpu": 1e10, "cuda": 3e12, "mps": 5e11}


def remember(cache: Path, *, device: str, parameters: int, tokens: int, seconds: float) -> None:
    """Add a measurement; the newest one of each device and order of size is kept.

    Args:
        cache: Folder of the quantized checkpoints.
        device: "cpu", "cuda" or "mps".
        parameters: Size of the model.
        tokens: Forward tokens executed.
        seconds: Time in the model.
    """
    if not tokens or seconds <= 0 or not parameters:
        return
    known = _read(cache)
    known[f"{device} {round(math.log2(parameters))}"] = {"parameters": parameters, "rate": tokens / seconds}
    cache.mkdir(parents=True, exist_ok=True)
    partial = cache / f".{FILE}.partial"
    partial.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")
    partial.replace(cache / FILE)


def estimate(cache: Path, *, device: str, parameters: int, tokens: int) -> tuple[float, bool]:
    """Return the seconds `tokens` forward tokens will take, and whether that rests on a measurement.

    The measured model nearest in size is scaled in proportion to parameters.
    """
    sizes = [entry for name, entry in _read(cache).items() if name.split()[0] == device]
    if not sizes:
        return tokens * parameters / _GUESS[device], False
    nearest = min(sizes, key=lambda entry: abs(math.log(entry["parameters"] / parameters)))
    return tokens / nearest["rate"] * parameters / nearest["parameters"], True


def _read(cache: Path) -> dict[str, dict[str, Any]]:
    try:
        known = json.loads((cache / FILE).read_text(encoding="utf-8"))
        return {k: v for k, v in known.items() if v["parameters"] > 0 and v["rate"] > 0}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
