"""What `run` and `resume` say at the end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from compressed_lens.cli.output import show
from compressed_lens.terminal import clean

if TYPE_CHECKING:
    from compressed_lens.runner import Run

_SAID = {
    "unavailable": "could not be made",
    "refused": "failed the integrity gate and was not scored",
    "marked": "failed the integrity gate and is marked",
}


def conclude(done: Run) -> int:
    """Write the report, name every variant that is not sound on standard error, and print the report's path.

    Returns:
        Exit code: 0 when every cell is done, 6 when a variant could not be made, 7 when the gate refused one.
    """
    from compressed_lens.report import write_report

    for row in done.variants.iter_rows(named=True):
        if row["status"] in _SAID:
            sentence = f"{row['model']} {row['variant']} {_SAID[row['status']]}: {row['reason']}"
            print(clean(f"warning: {sentence}"), file=sys.stderr)
    show(str(write_report(done.folder)))
    return done.exit_code
