"""How much slower than a bare interpreter the command line starts: medians, differences and ratios.

Run it from an environment in which `clens` is installed: `python benchmarks/startup.py [--repeats 21]`.
The budget of `clens --help` is 0.3 s over the bare interpreter. Wall time grows with whatever else runs on
the machine; processor time (user and system) does not.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

CALL = "import sys; from compressed_lens.cli.main import main; sys.exit(main(sys.argv[1:]))"
CASES = {
    "python -c pass": ["-c", "pass"],
    "import compressed_lens": ["-c", "import compressed_lens"],
    "clens --help": ["-c", CALL, "--help"],
    "clens run --help": ["-c", CALL, "run", "--help"],
    "clens list variants": ["-c", CALL, "list", "variants"],
    "clens schema": ["-c", CALL, "schema"],
}


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Return wall and processor time of one fresh interpreter."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, used


def main() -> None:
    """Time every case in turn, `--repeats` times, so that a busy moment hits all of them alike."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=21)
    repeats = parser.parse_args().repeats
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    for _ in range(repeats):
        for name, arguments in CASES.items():
            times[name].append(seconds(arguments))
    print(f"{'':24}{'wall s':>10}{'over bare':>11}{'ratio':>8}{'processor s':>14}{'over bare':>11}{'ratio':>8}")
    bare = [statistics.median(column) for column in zip(*times["python -c pass"], strict=True)]
    for name, values in times.items():
        wall, used = (statistics.median(column) for column in zip(*values, strict=True))
        first = f"{wall:10.3f}{wall - bare[0]:11.3f}{wall / bare[0]:8.1f}"
        print(f"{name:24}{first}{used:14.3f}{used - bare[1]:11.3f}{used / bare[1]:8.1f}")


if __name__ == "__main__":
    main()
