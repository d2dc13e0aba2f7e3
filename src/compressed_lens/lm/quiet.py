"""Keep libraries from writing on the user's terminal while a model loads or is quantized."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_STANDARD = ("bitsandbytes", "transformers", "accelerate", "datasets", "torch.fx")
_LOGURU = {"llmcompressor": "LLM_COMPRESSOR_LOG_DISABLED", "compressed_tensors": "COMPRESSED_TENSORS_LOG_DISABLED"}


@contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars, warnings and log lines of model libraries inside the block.

    Errors still raise. `sys.stdout` and `sys.stderr` are left alone, so a caller's own progress display keeps running.
    """
    from loguru import logger
    from tqdm import std  # type: ignore[import-untyped]

    bar: Any = std.tqdm
    original = bar.__init__

    def without_bar(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **{**kwargs, "disable": True})

    levels = {name: logging.getLogger(name).level for name in _STANDARD}
    bar.__init__ = without_bar
    for name in _STANDARD:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name, variable in _LOGURU.items():
        # Read when the library is first imported; without it, the import switches the log back on.
        os.environ.setdefault(variable, "true")
        logger.disable(name)
    if "METRIC" not in logger._core.levels:  # type: ignore[attr-defined]
        logger.level("METRIC", no=38)  # llm-compressor logs at this level also where it did not set its log up
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        bar.__init__ = original
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
