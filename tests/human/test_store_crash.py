"""Processes that are killed while they save, and processes that save the same thing at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.human import saver
from tests.human.small import blinded

from compressed_lens.human.store import HumanStore

SOURCE = Path(saver.__file__).resolve().parents[2] / "src"
PAGES = 600


def start(url: str, rater: str = "R01") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, saver.__file__, url, rater],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
    )


def begin(url: str, *, raters: int, pages: int) -> None:
    with HumanStore.create(url, blinded(raters=raters, pages=pages)) as store:
        for rater in store.raters():
            store.move(rater.id, step="consent", to="rating")


def acknowledged(process: subprocess.Popen[str]) -> list[tuple[int, str]]:
    """Return the whole lines that a process wrote."""
    assert process.stdout is not None
    lines = [line.split() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    process.wait()
    return [(int(position), said) for position, said in lines]


def test_what_was_acknowledged_survives_kill_9(database_url: str) -> None:
    begin(database_url, raters=1, pages=PAGES)
    draw, known = random.Random(6), 0
    for _ in range(5):
        process = start(database_url)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0.01, 0.4))
        process.send_signal(signal.SIGKILL)
        told = acknowledged(process)
        assert all(said == "saved" for _, said in told)
        with HumanStore.open(database_url) as store:
            frame = store.ratings()
            answered = store.rater("R01").answered
            last = known + len(told)
            assert [position for position, _ in told] == list(range(known + 1, last + 1))
            assert answered in {last, last + 1}  # the one that was on its way may have arrived
            assert frame["position"].to_list() == list(range(1, answered + 1))
            assert [json.loads(one) for one in frame["values"]] == [saver.values(p) for p in frame["position"]]
            assert set(frame["revisions"]) <= {0}
            # The person sends again what was never answered: one rating, whether it had arrived or not.
            if last < PAGES:
                again = store.save("R01", last + 1, values=saver.values(last + 1), comment="", seconds=1,
                                   form=f"form {last + 1}")  # fmt: skip
                assert again == ("repeated" if answered > last else "saved")
            known = store.rater("R01").answered
    assert known > 5


def test_two_processes_send_the_same_forms_at_once(database_url: str) -> None:
    begin(database_url, raters=1, pages=60)
    processes = [start(database_url) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    said = [one for process in processes for one in acknowledged(process)]
    assert [process.returncode for process in processes] == [0, 0]
    assert Counter(position for position, word in said if word == "saved") == Counter(range(1, 61))
    assert {word for _, word in said} <= {"saved", "repeated"}
    with HumanStore.open(database_url) as store:
        frame = store.ratings()
        assert (frame.height, set(frame["revisions"])) == (60, {0})
        assert store.rater("R01").step == "comments"


def test_several_processes_save_for_their_own_raters(database_url: str) -> None:
    begin(database_url, raters=3, pages=40)
    processes = [start(database_url, rater) for rater in ("R01", "R02", "R03")]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
        assert [said for _, said in acknowledged(process)] == ["saved"] * 40
    with HumanStore.open(database_url) as store:
        assert store.ratings().height == 120
