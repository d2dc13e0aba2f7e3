"""What a person sees while a run goes on: one line on the terminal with the time left, nothing when there is none."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from compressed_lens.terminal import clean

if TYPE_CHECKING:
    from rich.progress import Progress


class Reporter:
    """A progress bar over all items of the run, on standard error; silent unless that is a terminal.

    Args:
        total: Items of all cells.
        show: False for silence.
    """

    def __init__(self, total: int, *, show: bool) -> None:
        self._bar = _bar() if show and sys.stderr.isatty() else None
        self._task = self._bar.add_task("starting", total=total) if self._bar else None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def stage(self, text: str) -> None:
        """Say what is going on."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, description=clean(text))

    def add(self, items: int) -> None:
        """Count items that ended, or that need not be asked."""
        if self._bar and self._task is not None:
            self._bar.advance(self._task, items)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self._bar:
            self._bar.console.print(clean(text), markup=False, highlight=False)


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
