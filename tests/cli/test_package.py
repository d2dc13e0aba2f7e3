"""The wheel holds everything the source tree does, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "compressed_lens"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of this tree, offline."""
    pytest.importorskip("hatchling", reason="the build backend is not installed: pip install hatchling")
    out = tmp_path_factory.mktemp("wheel")
    options = ["-q", "--no-deps", "--no-build-isolation", "-w", str(out)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    expected = {
        f"compressed_lens/{p.relative_to(PACKAGE).as_posix()}"
        for p in PACKAGE.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("compressed_lens/")}
    assert held == expected


@pytest.mark.parametrize("suffix", [".txt", ".safetensors", ".json", ".jinja"])
def test_kinds_of_data_are_in_the_wheel(wheel: Path, suffix: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert any(name.endswith(suffix) for name in archive.namelist())


def test_the_installed_wheel_runs_and_reads_its_data(wheel: Path, tmp_path: Path) -> None:
    """Unpacked somewhere else, with the source tree out of reach, the command line and the templates work."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import compressed_lens\n"
        "assert compressed_lens.__path__[0].startswith(sys.argv[1]), compressed_lens.__path__\n"
        "from compressed_lens.explanations.prompts import template\n"
        "assert '{labels}' in template('classify')\n"
        "from compressed_lens.lm.locate import reference_folder\n"
        "assert (reference_folder() / 'config.json').is_file()\n"
        "from compressed_lens.cli.main import main\n"
        "sys.exit(main(['list', 'tasks']))"
    )
    command = [sys.executable, "-I", "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "testbed-reviews" in done.stdout


def test_the_wheel_names_its_command_licence_and_no_open_range(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = next(n for n in names if n.endswith("METADATA"))
        metadata = archive.read(info).decode()
        scripts = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    assert "clens = compressed_lens.cli.main:main" in scripts
    assert any(n.endswith("licenses/LICENSE") for n in names)
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert len(required) > 10
    assert all("<" in line or "==" in line for line in required)
