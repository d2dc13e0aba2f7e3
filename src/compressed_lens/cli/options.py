"""Options that take several values after one flag, and the flags that several commands share."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

StudyName = Annotated[str, typer.Option(help="Name of the human study.")]
"""`--name` of the commands on a human study that is there."""
Database = Annotated[
    str | None, typer.Option(help="URL of its database; default: $CLENS_HUMAN_DATABASE, else the study's own file.")
]
"""`--database` of the same."""


def spread(arguments: Sequence[str], flags: Collection[str]) -> list[str]:
    """Rewrite `--flag a b c` as `--flag a --flag b --flag c` for every flag in `flags`.

    A flag's values end at the next argument that starts with "-".
    """
    out: list[str] = []
    current = ""
    for argument in arguments:
        if argument.startswith("-"):
            current = argument if argument in flags else ""
            out.append(argument)
        elif current and out[-1] != current:
            out += [current, argument]
        else:
            out.append(argument)
    return out


class ManyValues(TyperCommand):
    """A command whose list options accept several values after one flag (`--variants full rtn-2bit`)."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse `args` after spreading the values of every list option."""
        flags = {flag for parameter in self.params if getattr(parameter, "multiple", False) for flag in parameter.opts}
        return super().parse_args(ctx, spread(args, flags))
