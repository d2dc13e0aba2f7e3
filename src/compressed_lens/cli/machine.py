"""What this machine has: processor, memory, GPUs, libraries against their pins, and what follows from that."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import platform
import re
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

GIB = 2**30
CORE = ("torch", "transformers", "accelerate", "llmcompressor", "compressed-tensors", "bitsandbytes")
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One thing that was found.

    Attributes:
        name: What was looked for.
        found: What there is.
        note: What that means, where it means something.
    """

    name: str
    found: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Library:
    """One Python library.

    Attributes:
        name: Distribution name.
        installed: Version, or None when it is not installed.
        wanted: Version range of our own metadata; "" when it has none.
        problem: Why it cannot be used; "" when it can.
    """

    name: str
    installed: str | None
    wanted: str
    problem: str

    @property
    def install(self) -> str:
        """The line that installs the version we want."""
        return f'pip install "{self.name}{self.wanted}"'


@dataclass(frozen=True, kw_only=True)
class Ability:
    """Something the toolkit can do when its libraries are there; `install` is "" when they are."""

    name: str
    ready: bool
    install: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Everything `clens doctor` says."""

    facts: tuple[Fact, ...]
    libraries: tuple[Library, ...]
    abilities: tuple[Ability, ...]
    broken: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def examine() -> Machine:
    """Look at the machine; the core libraries are really imported, optional ones only looked up."""
    wanted = _wanted()
    core = {name: _library(name, wanted.get(name, ""), try_import=True) for name in CORE}
    extras = {name: _library(name, wanted.get(name, ""), try_import=False) for name in ("gptqmodel", "optimum")}
    abilities = (
        _ability("full precision: any Hugging Face causal language model", core, "torch", "transformers", "accelerate"),
        _ability("recipes bnb-*; bitsandbytes checkpoints", core, "torch", "transformers", "bitsandbytes"),
        _ability(
            "recipes rtn-*, gptq-*, awq-*; compressed-tensors checkpoints",
            core,
            "torch",
            "transformers",
            "llmcompressor",
            "compressed-tensors",
        ),
    )
    return Machine(
        facts=(*_system(), *_accelerators(core["torch"])),
        libraries=(*core.values(), *extras.values()),
        abilities=abilities,
        broken=any(library.problem for library in core.values()),
    )


def _wanted() -> dict[str, str]:
    """Return the version range of every distribution in our own metadata; empty for a tree not installed."""
    from packaging.requirements import Requirement

    try:
        lines = requires("compressed-lens") or []
    except PackageNotFoundError:
        return {}
    return {r.name: str(r.specifier) for r in map(Requirement, lines)}


def _library(name: str, wanted: str, *, try_import: bool) -> Library:
    from packaging.specifiers import SpecifierSet

    try:
        installed = version(name)
    except PackageNotFoundError:
        return Library(name=name, installed=None, wanted=wanted, problem="not installed")
    problem = ""
    if not SpecifierSet(wanted, prereleases=True).contains(installed):
        problem = f"needs {wanted}"
    elif try_import:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                importlib.import_module(name.replace("-", "_"))
        except Exception as error:  # a library may break in any way while it is imported
            problem = f"does not import: {type(error).__name__}: {error}"
    return Library(name=name, installed=installed, wanted=wanted, problem=problem)


def _ability(what: str, libraries: dict[str, Library], *names: str) -> Ability:
    missing = [libraries[name] for name in names if libraries[name].problem]
    return Ability(name=what, ready=not missing, install="; ".join(library.install for library in missing))


def _system() -> list[Fact]:
    import psutil

    memory = psutil.virtual_memory()
    flags = _cpu_flags()
    return [
        Fact(name="Python", found=platform.python_version(), note=sys.executable),
        Fact(name="system", found=f"{platform.system()} {platform.release()} {platform.machine()}"),
        Fact(
            name="processor",
            found=f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores",
            note=" ".join(flag for flag in CPU_FLAGS if flag in flags),
        ),
        Fact(
            name="memory",
            found=f"{memory.available / GIB:.1f} GiB free of {memory.total / GIB:.1f}",
            note="a model needs about 4 bytes a parameter on a CPU",
        ),
        Fact(name="disk", found=f"{shutil.disk_usage(Path.cwd()).free / GIB:.1f} GiB free", note=str(Path.cwd())),
    ]


def _cpu_flags() -> set[str]:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return set()
    found = re.search(r"^flags\s*:(.*)$", info.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    return set(found.group(1).split()) if found else set()


def _accelerators(torch_library: Library) -> list[Fact]:
    if torch_library.problem:
        return []
    import torch

    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return [Fact(name=f"GPU {i}", found=g.name, note=f"{g.total_memory / GIB:.0f} GiB") for i, g in enumerate(gpus)]
    if torch.backends.mps.is_available():
        return [Fact(name="GPU", found="Apple MPS")]
    return [Fact(name="GPU", found="none", note="models run on the CPU, in float32")]
