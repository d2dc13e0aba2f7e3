"""The error boundary: one sentence, the right exit code, no traceback unless asked for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from compressed_lens import errors
from compressed_lens.cli.interrupt import resumable
from compressed_lens.cli.main import COMMANDS, main

Captured = pytest.CaptureFixture[str]
INJECTED = "compressed_lens.study.schema.json_schema"


def fails_with(error: BaseException) -> object:
    def fail() -> None:
        raise error

    return fail


def test_without_arguments_it_says_what_it_can_do(capsys: Captured) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\S", out, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str, capsys: Captured) -> None:
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    if command == "testbed":
        assert main([command, "train", "--help"]) == main([command, "evaluate", "--help"]) == 0
        out = capsys.readouterr().out
    assert re.search(rf"^  clens {command}", out, re.MULTILINE), "no example on a line of its own"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.StudyError, 2),
        (errors.DataError, 3),
        (errors.ModelError, 4),
        (errors.RunError, 5),
        (errors.DependencyError, 6),
        (errors.GateError, 7),
    ],
)
def test_our_own_errors(
    error: type[errors.LensError], code: int, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(INJECTED, fails_with(error("It\x1b[31m broke.", fix="Mend it.")))
    assert main(["schema"]) == code
    assert capsys.readouterr() == ("", "error: It[31m broke. Mend it.\n")


def test_an_unexpected_error_leaves_its_details_in_a_file(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(INJECTED, fails_with(ZeroDivisionError("two\nlines")))
    assert main(["schema"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    found = re.fullmatch(r"error: Unexpected ZeroDivisionError: two lines\. The details are in (\S+); .*\n", err)
    assert found
    details = Path(found[1])
    assert "Traceback" in details.read_text()
    details.unlink()


def test_a_system_error_names_its_file(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(INJECTED, fails_with(PermissionError(13, "Permission denied", "/root/x")))
    assert main(["schema"]) == 1
    assert capsys.readouterr().err == "error: /root/x: Permission denied.\n"


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_debug_shows_the_traceback(how: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(INJECTED, fails_with(errors.StudyError("No.")))
    if how == "variable":
        monkeypatch.setenv("CLENS_DEBUG", "1")
    assert main(["schema", *(["--debug"] if how == "flag" else [])]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: No.\n")


def test_an_interrupt_says_how_to_go_on(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped() -> None:
        with resumable(tmp_path):
            raise KeyboardInterrupt

    monkeypatch.setattr(INJECTED, stopped)
    assert main(["schema"]) == 130
    assert capsys.readouterr().err.endswith(f"clens resume {tmp_path}\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["list"], "Missing argument"),
        (["list", "variant"], "'variants'"),
        (["run", "--modle", "x"], "--model"),
        (["run", "x.yaml", "--limit", "0"], "--limit"),
        (["run", "x.yaml", "--limit", "many"], "--limit"),
        (["records", "x", "--format", "xml"], "--format"),
        (["quantize", "reference"], "--recipe"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(arguments: list[str], sentence: str, capsys: Captured) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert sentence in err


def test_a_reader_that_leaves_early_is_no_error() -> None:
    code = "import sys; from compressed_lens.cli.main import main; sys.exit(main(['schema']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
