"""How much slower than a bare interpreter the command line starts: medians, differences and ratios.

Run it from an environment in which `clens` is installed: `python benchmarks/startup.py [--repeats 21]`.
The budget of `clens --help` is 0.3 s over the bare interpreter.
"""

from __future__ import annotations

import argparse
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


def seconds(arguments: list[str]) -> float:
    """Return the wall time of one fresh interpreter."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Time every case in turn, `--repeats` times, so that a busy moment hits all of them alike."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=21)
    repeats = parser.parse_args().repeats
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(repeats):
        for name, arguments in CASES.items():
            times[name].append(seconds(arguments))
    bare = statistics.median(times["python -c pass"])
    print(f"{'':24}{'median s':>10}{'over bare':>11}{'ratio':>8}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:24}{median:10.3f}{median - bare:11.3f}{median / bare:8.1f}")


if __name__ == "__main__":
    main()
