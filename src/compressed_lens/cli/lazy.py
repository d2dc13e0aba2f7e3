"""Groups of commands that are imported when they are called, so that `--help` stays quick."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup
from typer.main import get_command


class LazyGroup(TyperGroup):
    """Commands that are imported when they are called; a group of them sets `modules`."""

    modules: ClassVar[Mapping[str, str]]
    """Command name to its module in this package, in the order of `--help`."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return one command, or None when there is no such command."""
        if cmd_name not in self.modules:
            return None
        command = get_command(self._app(cmd_name))
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one line a command, without building any: that would cost more than all the rest of `--help`."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(self._app(name))) for name in self.modules])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of `args`; for a misspelt one, name the nearest."""
        if args[0] not in self.modules and not args[0].startswith("-"):
            from compressed_lens.registry import nearest

            ctx.fail(f"No such command '{args[0]}'. {nearest(args[0], self.modules)}".strip())
        return super().resolve_command(ctx, args)

    def _app(self, name: str) -> typer.Typer:
        found: typer.Typer = importlib.import_module(f"compressed_lens.cli.{self.modules[name]}").app
        return found


def _summary(of: typer.Typer) -> str:
    """Return the first sentence of a command's or a group's help."""
    told = of.registered_callback or of.registered_commands[0]
    text = of.info.help if isinstance(of.info.help, str) else inspect.getdoc(told.callback) or ""
    return text.split("\n\n")[0].replace("\n", " ")
