"""What the quick commands import; seconds are measured by benchmarks/startup.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

from compressed_lens.cli.main import COMMANDS

HEAVY = {"torch", "transformers", "llmcompressor", "bitsandbytes", "datasets", "scipy", "statsmodels"}
LIGHT_HELP = HEAVY | {"polars", "rich", "numpy", "jinja2", "yaml"}

CALL = """
import sys
from compressed_lens.cli.main import main
code = main(sys.argv[1:])
print(code, *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def loaded(*arguments: str) -> set[str]:
    """Return the top-level packages that `clens ARGUMENTS` imports; the command must succeed."""
    done = subprocess.run([sys.executable, "-c", CALL, *arguments], capture_output=True, text=True, check=True)
    code, *packages = done.stderr.splitlines()[-1].split()
    assert code == "0", done.stderr
    return set(packages)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        *([command, "--help"] for command in COMMANDS),
        ["testbed", "train", "--help"],
    ],
    ids=" ".join,
)
def test_help_imports_next_to_nothing(arguments: list[str]) -> None:
    assert not loaded(*arguments) & LIGHT_HELP


@pytest.mark.parametrize(
    "arguments",
    [*(["list", kind] for kind in ("variants", "tasks", "analyses", "metrics")), ["schema"]],
    ids=" ".join,
)
def test_lists_and_schema_import_no_model_library(arguments: list[str]) -> None:
    assert not loaded(*arguments) & HEAVY


def test_the_package_imports_without_torch() -> None:
    code = "import sys, compressed_lens; print(*{n.partition('.')[0] for n in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & HEAVY
