"""Five kills of a real run; `python tests/crash/kill_resume.py` does fifty."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill_resume.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_runs_end_with_the_records_of_an_uninterrupted_one(shared: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--kills", "5", "--items", "6", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "5 kills over" in done.stdout
    assert "every run ended with the 24 records of the uninterrupted one" in done.stdout
