"""Keep libraries from writing on the user's terminal while a model loads or is quantized."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = ("bitsandbytes", "transformers", "accelerate", "datasets", "llmcompressor", "compressed_tensors")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars, warnings and informative log lines of model libraries inside the block.

    Errors still raise. `sys.stdout` and `sys.stderr` are left alone, so a caller's own progress display keeps running.
    """
    import tqdm.std

    original = tqdm.std.tqdm.__init__
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    tqdm.std.tqdm.__init__ = functools.partialmethod(original, disable=True)  # type: ignore[assignment]
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        tqdm.std.tqdm.__init__ = original  # type: ignore[method-assign]
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
