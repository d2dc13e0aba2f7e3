"""Compressed Lens: can a quantized language model still be trusted to explain itself and to remember facts?

Names are imported when they are first used, so that `import compressed_lens` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compressed_lens.analyses.base import Metric, Record
    from compressed_lens.errors import LensError
    from compressed_lens.lm.hf import HFModel
    from compressed_lens.lm.protocol import Generate, Message, Prompt, Score
    from compressed_lens.quantization import prepare, quantize
    from compressed_lens.report import latex, metrics_table, write_report
    from compressed_lens.runner import Plan, Run, load_run, plan, resume, run
    from compressed_lens.study.load import from_arguments, load_study
    from compressed_lens.study.schema import Study
    from compressed_lens.tasks import Item, Task, load_task

__all__ = [
    "Generate",
    "HFModel",
    "Item",
    "LensError",
    "Message",
    "Metric",
    "Plan",
    "Prompt",
    "Record",
    "Run",
    "Score",
    "Study",
    "Task",
    "from_arguments",
    "latex",
    "load_run",
    "load_study",
    "load_task",
    "metrics_table",
    "plan",
    "prepare",
    "quantize",
    "resume",
    "run",
    "write_report",
]

_HOMES = {
    "analyses.base": ("Metric", "Record"),
    "errors": ("LensError",),
    "lm.hf": ("HFModel",),
    "lm.protocol": ("Generate", "Message", "Prompt", "Score"),
    "quantization": ("prepare", "quantize"),
    "report": ("latex", "metrics_table", "write_report"),
    "runner": ("Plan", "Run", "load_run", "plan", "resume", "run"),
    "study.load": ("from_arguments", "load_study"),
    "study.schema": ("Study",),
    "tasks": ("Item", "Task", "load_task"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        try:
            return version("compressed-lens")
        except PackageNotFoundError:
            return "0.0.0"
    if name not in _HOME_OF:
        raise AttributeError(f"module 'compressed_lens' has no attribute '{name}'")
    return getattr(import_module(f"compressed_lens.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
