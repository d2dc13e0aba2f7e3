"""What this machine has: processor, memory, GPUs, libraries against their pins, and what follows from that."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
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
COMPRESSOR = ("llmcompressor", "compressed-tensors")
CORE = ("torch", "transformers", "accelerate", *COMPRESSOR, "bitsandbytes")
PACKED = ("gptqmodel", "optimum")
NVIDIA = Path("/dev/nvidia0")
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
    core = {name: library(name, wanted.get(name, ""), try_import=True) for name in CORE}
    packed = {name: library(name, wanted.get(name, ""), try_import=False) for name in PACKED}
    found = {**core, **packed}
    return Machine(
        facts=(*_system(), *_accelerators(core["torch"])),
        libraries=tuple(found.values()),
        abilities=tuple(
            Ability(
                name=what,
                ready=not any(found[name].problem for name in names),
                install="; ".join(found[name].install for name in names if found[name].problem),
            )
            for what, names in (
                ("full precision: any Hugging Face causal language model", CORE[:3]),
                ("recipes bnb-*, and bitsandbytes checkpoints", (*CORE[:3], "bitsandbytes")),
                ("recipes rtn-*, gptq-*, awq-*, and compressed-tensors checkpoints", (*CORE[:3], *COMPRESSOR)),
                ("GPTQ and AWQ checkpoints, unpacked to dense weights", CORE[:3]),
                ("GPTQ and AWQ checkpoints, packed in the memory of a GPU", (*CORE[:3], *PACKED)),
            )
        ),
        broken=any(entry.problem for entry in core.values()),
    )


def _wanted() -> dict[str, str]:
    """Return the version range of every distribution in our own metadata; empty for a tree not installed."""
    from packaging.requirements import Requirement

    try:
        lines = requires("compressed-lens") or []
    except PackageNotFoundError:
        return {}
    return {r.name: str(r.specifier) for r in map(Requirement, lines)}


def library(name: str, wanted: str, *, try_import: bool) -> Library:
    """Look one library up, against the version range `wanted`, and import it if asked to."""
    from packaging.specifiers import SpecifierSet

    try:
        installed = version(name)
    except PackageNotFoundError:
        return Library(name=name, installed=None, wanted=wanted, problem="not installed")
    problem = ""
    if not SpecifierSet(wanted, prereleases=True).contains(installed):
        problem = f"needs {wanted}"
    elif try_import:
        logging.disable(logging.WARNING)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                importlib.import_module(name.replace("-", "_"))
        except Exception as error:  # a library may break in any way while it is imported
            problem = f"does not import: {type(error).__name__}: {error}"
        finally:
            logging.disable(logging.NOTSET)
    return Library(name=name, installed=installed, wanted=wanted, problem=problem)


def _system() -> list[Fact]:
    import psutil

    from compressed_lens.runner.variants import default_cache

    cache = default_cache()
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
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
        Fact(name="disk for runs", found=_free(Path.cwd()), note=str(Path.cwd())),
        Fact(name="disk for quantized models", found=_free(existing), note=str(cache)),
    ]


def _free(folder: Path) -> str:
    return f"{shutil.disk_usage(folder).free / GIB:.1f} GiB free"


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
    if NVIDIA.exists():
        plain = torch.__version__.partition("+")[0]
        line = f"pip install --force-reinstall --index-url https://pypi.org/simple torch=={plain}"
        return [Fact(name="GPU", found="NVIDIA, but this build of torch cannot use it", note=line)]
    return [Fact(name="GPU", found="none", note="models run on the CPU, in float32")]
