"""Writing a run's report into its folder."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from compressed_lens.comparison import curves_frame, figures_frame
from compressed_lens.errors import RunError
from compressed_lens.report.comparisons import Comparisons
from compressed_lens.report.markdown import markdown
from compressed_lens.report.page import html
from compressed_lens.report.run_data import RunData


def write_report(run_folder: Path | str) -> Path:
    """Write report.html, report.md and metrics.csv into a run's folder, from its database alone.

    A run with layer curves gets curves.csv, too.

    A run that is still going is reported as far as it got. Each file is replaced whole, so a reader never
    sees half of one.

    Args:
        run_folder: Folder of the run.

    Returns:
        Path of report.html.

    Raises:
        RunError: There is no run, its file is damaged, or the folder cannot be written.
    """
    run = RunData.read(Path(run_folder))
    return write_files(run, Comparisons.of(run, run.figures))


def write_files(run: RunData, compared: Comparisons) -> Path:
    """Write the same files from what is read and computed already.

    Raises:
        RunError: The folder cannot be written.
    """
    folder, computed = run.folder, run.figures
    footer = _footer(folder)
    _replace(folder / "metrics.csv", figures_frame(computed).write_csv())
    if compared.curves:
        _replace(folder / "curves.csv", curves_frame(compared.curves).write_csv())
    _replace(folder / "report.md", markdown(run, computed, compared, footer=footer))
    page = folder / "report.html"
    _replace(page, html(run, computed, compared, footer=footer))
    return page


def report_page(run_folder: Path | str) -> str:
    """Return report.html as `write_report` would write it now, and write nothing.

    Raises:
        RunError: There is no run, or its file is damaged.
    """
    run = RunData.read(Path(run_folder))
    return html(run, run.figures, Comparisons.of(run, run.figures), footer=_footer(run.folder))


def _footer(folder: Path) -> str:
    return f"Made by compressed-lens {_version()} from {folder.name}/run.sqlite."


def _version() -> str:
    try:
        return version("compressed-lens")
    except PackageNotFoundError:
        return "(not installed)"


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):  # what cannot be written can often not be removed either
            part.unlink()
        raise RunError(
            f"Cannot write {path}: {error.strerror}.",
            fix="Check that disk and permissions allow it, then `clens report`.",
        ) from error
