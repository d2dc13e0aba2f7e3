"""Ctrl-C in the middle of a real run, and going on after it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from compressed_lens.cli.main import main
from compressed_lens.runner import load_run

PATIENCE = 120


def test_an_interrupted_run_says_how_to_go_on_and_does(place: Path, sound_run: Path) -> None:
    command = [sys.executable, "-m", "compressed_lens", "run", "study.yaml", "--out", "run"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE
    while not (place / "run" / "environment.json").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert out == ""
    assert err == "interrupted; every finished record is kept. Go on with: clens resume run\n"
    assert main(["resume", "run", "--quiet"]) == 0
    columns = ["cell", "item", "repeat", "failed", "values"]
    assert load_run(place / "run").records.select(columns).equals(load_run(sound_run / "run").records.select(columns))
