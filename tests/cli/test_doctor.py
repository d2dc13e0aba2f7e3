"""What `clens doctor` finds is what is there."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version

import pytest

from compressed_lens.cli import machine
from compressed_lens.cli.main import main


def test_it_reports_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"name": "Python", "found": platform.python_version()}.items() <= found["facts"][0].items()
    libraries = {entry["name"]: entry for entry in found["libraries"]}
    for name in machine.CORE:
        assert libraries[name]["installed"] == version(name)
        assert libraries[name]["problem"] == ""
    assert all(ability["ready"] or ability["install"].startswith("pip install ") for ability in found["abilities"])


def test_a_missing_core_library_is_exit_code_6_with_its_install_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CORE", (*machine.CORE, "no-such-library"))
    assert main(["doctor"]) == 6
    assert 'pip install "no-such-library"' in capsys.readouterr().out


@pytest.mark.parametrize(("wanted", "problem"), [("", ""), (">=0,<999", ""), ("<0.1", "needs <0.1")])
def test_a_version_outside_our_range_is_a_problem(wanted: str, problem: str) -> None:
    library = machine.library("typer", wanted, try_import=True)
    assert (library.installed, library.problem) == (version("typer"), problem)
    assert library.install == f'pip install "typer{wanted}"'
