"""Kill runs at random moments, resume them, and compare every record with an uninterrupted run.

    python tests/crash/kill_resume.py --kills 50

Each round starts a run in a fresh folder with a fresh cache of quantized checkpoints, kills it with SIGKILL at a
random moment, starts it again, and so on until it ends by itself. Then its records must equal those of a run that was
never interrupted: the same (cell, item, repeat), the same failures, the same values to the last bit. After every kill
no record that was there before may be gone or changed.

Importing torch takes longer than the run itself, so most processes are forked from one that has imported everything
and has not run a model. Every tenth is started with the real command instead. Moments are counted in the processor time
of the killed process, so that a busy machine does not shift them all into its first steps.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY.parent / "shared"
COMMAND_EVERY = 10
# Quantizing so small a model takes a moment that chance would miss: every fifth kill waits for it.
QUANTIZING_EVERY = 5
LONGEST = 1800.0

Key = tuple[str, str, int]
Records = dict[Key, tuple[str | None, str]]


@dataclass(kw_only=True)
class Tally:
    """What happened so far."""

    kills: int = 0
    rounds: int = 0
    commands: int = 0
    phases: Counter[str] = field(default_factory=Counter)


def cut(model: Path, folder: Path, layers: int) -> Path:
    """Write the model's first `layers` layers to `folder`: as real as the whole for this purpose, and cheaper."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["num_hidden_layers"] = layers
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    gone = tuple(f"model.layers.{n}." for n in range(layers, 100))
    weights = load_file(model / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith(gone)}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_study(folder: Path, *, model: Path, items: int) -> Path:
    """Write the study: one real model in full precision and rounded, two analyses that share questions."""
    study = {
        "name": "crash",
        "models": [{"name": "tiny", "path": str(model)}],
        "variants": ["rtn-4bit"],
        "tasks": [{"name": "esnli", "path": str(SHARED / "data" / "esnli_test"), "limit": items}],
        "analyses": ["accuracy", {"name": "nle", "settings": {"max_new_tokens": 6}}],
        "settings": {"device": "cpu", "batch_tokens": 1024, "cache_dir": "cache"},
    }
    folder.mkdir(parents=True)
    path = folder / "study.yaml"
    path.write_text(json.dumps(study), encoding="utf-8")
    return path


def read_records(folder: Path) -> Records:
    """Return every record of a run folder, or none when there is no database yet."""
    database = folder / "run.sqlite"
    if not database.is_file():
        return {}
    connection = sqlite3.connect(database)
    try:
        tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'records'").fetchone()[0]
        if not tables:
            return {}
        rows = connection.execute('SELECT cell, item, repeat, failed, "values" FROM records').fetchall()
    finally:
        connection.close()
    found = {(cell, item, repeat): (failed, values) for cell, item, repeat, failed, values in rows}
    if len(found) != len(rows):
        raise SystemExit(f"{folder} holds a record twice")
    return found


def reasons(folder: Path) -> list[tuple[str, str]]:
    """Return why variants are not sound, as (variant, reason)."""
    if not (folder / "run.sqlite").is_file():
        return []
    connection = sqlite3.connect(folder / "run.sqlite")
    try:
        return connection.execute("SELECT variant, reason FROM variants WHERE status != 'passed'").fetchall()
    finally:
        connection.close()


def phase(folder: Path, cache: Path, *, expected: int) -> str:
    """Return what a killed run was doing, from what it left behind."""
    if any(cache.glob(".*.partial")):
        return "quantizing"
    if not (folder / "run.sqlite").is_file():
        return "before the database"
    records = read_records(folder)
    if len(records) == expected:
        return "after the last record"
    connection = sqlite3.connect(folder / "run.sqlite")
    try:
        builds = connection.execute("SELECT count(*) FROM builds").fetchone()[0]
        begun = connection.execute("SELECT count(DISTINCT cell) FROM records").fetchone()[0]
    finally:
        connection.close()
    variants_asked = builds * expected // 2
    if builds == 0 or len(records) == variants_asked:
        return "loading or gate"
    return "asking" if begun else "loading or gate"


def fork_run(study: Path, folder: Path, log: Path) -> int:
    """Start a run in a forked process; return its id."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        with log.open("a") as handle:
            os.dup2(handle.fileno(), 1)
            os.dup2(handle.fileno(), 2)
        from compressed_lens.runner import run
        from compressed_lens.study.load import load_study

        code = run(load_study(study), out=folder, progress=False).exit_code
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def command_run(study: Path, folder: Path, log: Path) -> int:
    """Start a run with the real command; return its process id."""
    with log.open("a") as handle:
        command = [sys.executable, "-m", "compressed_lens", "run", str(study), "--out", str(folder), "--quiet"]
        return subprocess.Popen(command, stdout=handle, stderr=handle, env=_environment()).pid


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "HF_HUB_OFFLINE": "1"}


def processor_time(process: int) -> float:
    """Return the seconds a running process has used."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait(process: int, seconds: float | None, quantizing: Path | None = None) -> tuple[int | None, float]:
    """Wait for a process to end, or kill it once it has used `seconds` of processor time.

    With `quantizing`, a cache of checkpoints, it is killed as soon as one is being made there instead.

    Returns:
        Its exit code, None when it was killed, and the processor time it used.
    """
    started = time.monotonic()
    while True:
        ended, status, usage = os.wait4(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
        late = time.monotonic() - started > LONGEST
        due = seconds is not None and processor_time(process) >= seconds
        if quantizing is not None and seconds is not None:
            due = any(quantizing.glob(".*.partial"))
        if late or due:
            os.kill(process, signal.SIGKILL)
            _, status, usage = os.wait4(process, 0)
            if late:
                raise SystemExit(f"a run took longer than {LONGEST:.0f} s")
            code = None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)
            return code, usage.ru_utime + usage.ru_stime
        time.sleep(0.01)


def one_round(
    folder: Path,
    *,
    reference: Records,
    seconds: float,
    model: Path,
    items: int,
    draw: random.Random,
    wanted: int,
    start: float,
    tally: Tally,
) -> None:
    """Run until the end with kills on the way (as long as fewer than `wanted` happened), and compare."""
    study = write_study(folder, model=model, items=items)
    run, log = folder / "run", folder / "log.txt"
    before: Records = {}
    while True:
        real = (tally.kills + 1) % COMMAND_EVERY == 0
        moment = draw.uniform(0, seconds) + (start if real else 0)
        process = command_run(study, run, log) if real else fork_run(study, run, log)
        tally.commands += real
        aimed = folder / "cache" if tally.kills % QUANTIZING_EVERY == 0 else None
        code, _ = wait(process, moment if tally.kills < wanted else None, aimed)
        after = read_records(run)
        changed = [key for key, value in before.items() if after.get(key) != value]
        if changed:
            raise SystemExit(f"LOST OR CHANGED after kill {tally.kills}: {changed[:3]} in {run}")
        before = after
        if code is None:
            tally.kills += 1
            tally.phases[phase(run, folder / "cache", expected=len(reference))] += 1
            continue
        if code != 0:
            raise SystemExit(f"the run in {run} ended with exit code {code}: {reasons(run)}\n{log.read_text()[-2000:]}")
        break
    missing, extra = reference.keys() - after.keys(), after.keys() - reference.keys()
    different = [key for key in reference.keys() & after.keys() if reference[key] != after[key]]
    if missing or extra or different:
        raise SystemExit(f"DIFFERENT: {len(missing)} missing, {len(extra)} extra, {len(different)} changed in {run}")
    tally.rounds += 1


def main() -> None:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--items", type=int, default=16)
    parser.add_argument("--model", type=Path, default=SHARED / "models" / "stories260K" / "hf")
    parser.add_argument("--layers", type=int, default=1, help="keep so many of the model's layers; 0: all")
    options = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
    sys.path.insert(0, str(REPOSITORY / "src"))
    warm()
    start = time.process_time()
    draw, tally, started = random.Random(options.seed), Tally(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="clens-crash-") as place:
        base = Path(place)
        model = cut(options.model, base / "model", options.layers) if options.layers else options.model
        study = write_study(base / "reference", model=model, items=options.items)
        log = base / "reference" / "log.txt"
        code, seconds = wait(fork_run(study, base / "reference" / "run", log), None)
        if code != 0:
            raise SystemExit(f"the uninterrupted run failed:\n{log.read_text()}")
        reference = read_records(base / "reference" / "run")
        print(f"uninterrupted: {len(reference)} records in {seconds:.1f} s of processor time", flush=True)
        while tally.kills < options.kills:
            one_round(
                base / f"round-{tally.rounds}",
                reference=reference,
                seconds=seconds,
                model=model,
                items=options.items,
                draw=draw,
                wanted=options.kills,
                start=start,
                tally=tally,
            )
            print(f"round {tally.rounds}: {tally.kills} kills so far, records equal", flush=True)
    phases = ", ".join(f"{name} {count}" for name, count in tally.phases.most_common())
    print(
        f"{tally.kills} kills over {tally.rounds} runs ({tally.commands} processes by the real command), "
        f"{time.monotonic() - started:.0f} s; every run ended with the {len(reference)} records of the uninterrupted "
        "one."
    )
    print(f"killed while: {phases}")


def warm() -> None:
    """Import what a run imports, and run nothing: a forked process must find no thread of ours."""
    import llmcompressor
    import polars  # noqa: F401
    import torch
    import transformers.models.llama.modeling_llama

    import compressed_lens.engine
    import compressed_lens.lm.hf
    import compressed_lens.quantization.integrity
    import compressed_lens.runner
    import compressed_lens.tasks

    torch.set_num_threads(1)
    assert llmcompressor and transformers and compressed_lens


if __name__ == "__main__":
    main()
