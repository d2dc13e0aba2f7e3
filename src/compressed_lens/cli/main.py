"""The `clens` command: finds the command's file, runs it, and turns every error into one clear sentence."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from compressed_lens.cli.interrupt import Interrupted
from compressed_lens.cli.lazy import LazyGroup
from compressed_lens.errors import LensError
from compressed_lens.terminal import clean

COMMANDS = {
    "run": "run",
    "plan": "plan",
    "resume": "resume",
    "report": "report",
    "view": "view",
    "records": "records",
    "gate": "gate",
    "compare": "compare",
    "rank": "rank",
    "claims": "claims",
    "judges": "judges",
    "human": "human",
    "power": "power",
    "quantize": "quantize",
    "list": "listing",
    "doctor": "doctor",
    "schema": "schema",
    "testbed": "testbed",
    "version": "version",
}
"""Command name to its module in this package, in the order of `clens --help`."""

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


class _Commands(LazyGroup):
    modules = COMMANDS


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    rich_markup_mode=None,
    epilog="Add --debug to any command, or set CLENS_DEBUG=1, to see the traceback behind an error.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from compressed_lens import __version__

        typer.echo(f"clens {__version__}")
        raise typer.Exit


@app.callback()
def clens(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Can a quantized language model still be trusted to explain itself and to remember facts?

    \b
    clens doctor                   what this machine can run
    clens plan study.yaml          what a study would do, and what it costs
    clens run study.yaml           do it; the path of the report comes last
    clens run --model reference --variants bnb-8bit rtn-2bit --tasks testbed-reviews
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run `clens` with `argv` (default: the process's own) and return its exit code.

    Exit codes: 0 done; 1 unexpected; 2 a malformed study or command line; 3 data; 4 model; 5 run folder;
    6 missing library; 7 a variant failed its checks; 8 a variant breaks the policy; 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    debug = "--debug" in arguments or os.environ.get("CLENS_DEBUG", "") not in {"", "0"}
    arguments = [a for a in arguments if a != "--debug"]
    try:
        command = get_command(app)
        with command.make_context("clens", arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as stop:
        return stop.exit_code
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _explain(error)
    except KeyboardInterrupt as stop:
        if debug:
            traceback.print_exc()
        _say(str(stop) if isinstance(stop, Interrupted) else "interrupted.")
        return EXIT_INTERRUPTED
    return 0


def _explain(error: Exception) -> int:
    """Print one sentence about `error` and return the exit code it deserves."""
    match error:
        case LensError():
            _say(f"error: {error}")
            return error.exit_code
        case TyperException():
            _say(f"error: {' '.join(error.format_message().split())}{_usage_hint(error)}")
            return error.exit_code
        case BrokenPipeError():
            # The reader (such as `head`) has all it wanted; keep the interpreter from complaining at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_BROKEN_PIPE
        case OSError(strerror=str(reason), filename=name) if name is not None:
            _say(f"error: {name}: {reason}.")
            return 1
    details = _write_details(error)
    reason = " ".join(str(error).split())[:200]
    _say(f"error: Unexpected {type(error).__name__}: {reason}. The details are in {details}; please report them.")
    return 1


def _usage_hint(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f" Try '{context.command_path} --help'." if context is not None else ""


def _write_details(error: Exception) -> Path:
    handle, name = tempfile.mkstemp(prefix="clens-error-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"clens {' '.join(sys.argv[1:])}\n\n")
        traceback.print_exception(error, file=file)
    return Path(name)


def _say(sentence: str) -> None:
    print(clean(sentence), file=sys.stderr)
