"""Many raters at once: how long pages of a human study take while 50 people go through it at twenty times their pace.

    python benchmarks/human_load.py [--raters 50] [--pace 20] [--database postgresql://...] [--burst]

A real `clens human serve` process answers; this process is the raters, each with a connection and cookies of their own,
from the consent page to the last one. A person takes 30 s for a page, 15 to 45, divided by the pace. With --burst all
send their answers at the same moment instead, page after page. Every request is timed by itself, redirects, too.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import os
import random
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
from tests.human.paper_run import build_run
from tests.human.serving import ServerProcess, clens, run_apart, serving

from compressed_lens.human.design import POINTS, Questionnaire
from compressed_lens.human.reading import default_design
from compressed_lens.human.store import HumanStore

PAGE_S = 30.0
"""Seconds a person takes for a page."""
PACE = 20.0
"""How many times faster than people the raters are."""
BUDGET_MS = 300.0
BURSTS = 10


@dataclass(kw_only=True)
class Load:
    """What was measured.

    Attributes:
        milliseconds: Of every request, by what was asked.
        errors: Requests without the answer that a person expects.
        seconds: From the first request to the last.
        processor: Seconds of processor time that the server used.
    """

    milliseconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0
    processor: float = 0.0

    def table(self) -> str:
        """Return requests and quantiles of their times, by kind and of all."""
        kinds = {
            **dict(sorted(self.milliseconds.items())),
            "all": [one for many in self.milliseconds.values() for one in many],
        }
        lines = [f"{'request':28}{'number':>8}{'median':>9}{'95 %':>9}{'99 %':>9}{'max':>9}  ms"]
        for kind, times in kinds.items():
            numbers = "".join(f"{value:9.1f}" for value in (*np.quantile(times, (0.5, 0.95, 0.99)), max(times)))
            lines.append(f"{kind:28}{len(times):8}{numbers}")
        return "\n".join(lines)

    @property
    def p95(self) -> float:
        """Return the 95th percentile of all requests, in milliseconds."""
        return float(np.quantile(self._all, 0.95))

    @property
    def _all(self) -> list[float]:
        return [one for many in self.milliseconds.values() for one in many]


@dataclass(frozen=True, kw_only=True)
class Way:
    """How raters reach the study: its address, and a proxy that may lead each request to another server."""

    address: str
    proxy: str | None = None


class Rater:
    """One person, who goes through the pages as a browser without scripts would."""

    def __init__(
        self, load: Load, way: Way, link: str, questionnaire: Questionnaire, *, pace: float, seed: int
    ) -> None:
        self._load = load
        self._link = link
        self._questionnaire = questionnaire
        self._pace = pace
        self._random = random.Random(seed)
        # No certificates are needed, and reading them for every client takes longer than the study.
        self._client = httpx.AsyncClient(
            base_url=way.address,
            proxy=way.proxy,
            verify=False,  # noqa: S501 (it is http)
            timeout=60,
            headers={"origin": way.address},
            limits=httpx.Limits(max_keepalive_connections=0 if way.proxy else 1),
        )
        self._path, self._page = "", ""

    async def take_part(self, together: asyncio.Barrier | None) -> None:
        """Go from the personal link to the last page; or, with a barrier, send `BURSTS` answers with all others."""
        try:
            await self._take_part(together)
        except Exception:
            if together is not None:
                await together.abort()  # nobody waits for who is gone
            raise

    async def _take_part(self, together: asyncio.Barrier | None) -> None:
        rated = 0
        async with self._client:
            if together is None:
                await asyncio.sleep(self._random.uniform(0, PAGE_S / self._pace))
            await self._ask("GET", self._link, "open the personal link")
            while self._path != "/done" and rated < (BURSTS if together else sys.maxsize):
                answer = self._answer()
                if together is None:
                    await asyncio.sleep(self._random.uniform(0.5, 1.5) * PAGE_S / self._pace)
                elif self._path.startswith("/rate/"):
                    await together.wait()
                rated += self._path.startswith("/rate/")
                before = self._path
                await self._ask("POST", self._path, f"save /{before.split('/')[1]}", answer)
                if self._path == before:
                    raise RuntimeError(f"{before} does not take {answer}: {self._page[-500:]}")

    def _answer(self) -> Mapping[str, str]:
        """Return what a person sends from the page that is open."""
        form = re.search(r'<input[^>]*name="form"[^>]*value="([^"]+)"', self._page)
        if form is None:
            raise RuntimeError(f"{self._path} has no form: {self._page[-500:]}")
        answer = {"form": unescape(form[1])}
        if self._path == "/consent":
            answer["answer"] = "agree"
        for place, question in enumerate(self._questionnaire.comprehension if self._path == "/comprehension" else ()):
            answer[f"q{place}"] = str(question.correct)
        for dimension in self._questionnaire.dimensions if self._path.startswith("/rate/") else ():
            titles = "|".join(map(re.escape, dimension.title.values()))
            asked = re.search(rf"(?:{titles}): <b>([1-5])</b>", self._page)  # by an attention check
            answer[f"r-{dimension.name}"] = asked[1] if asked else str(self._random.choice(POINTS))
        if self._path.startswith(("/rate/", "/comments")):
            answer["comment"] = ""
        return answer

    async def _ask(self, verb: str, path: str, kind: str, answer: Mapping[str, str] | None = None) -> None:
        """Ask and follow where the answer leads, timing each request."""
        while path:
            started = time.perf_counter()
            response = await self._client.request(verb, path, data=answer)
            self._load.milliseconds[kind].append((time.perf_counter() - started) * 1000)
            if response.status_code not in {httpx.codes.OK, httpx.codes.SEE_OTHER}:
                raise RuntimeError(f"{verb} {path}: {response.status_code} {response.text[-500:]}")
            self._path, self._page = urlsplit(str(response.url)).path, response.text
            path, verb, answer = response.headers.get("location", ""), "GET", None
            kind = f"show /{urlsplit(path).path.split('/')[1]}" if path else kind


async def attend(way: Way, links: Sequence[str], *, pace: float = PACE, burst: bool = False) -> Load:
    """Let one person take part with each link, all at once."""
    load, questionnaire = Load(), default_design().questionnaire
    together = asyncio.Barrier(len(links)) if burst else None
    raters = [Rater(load, way, link, questionnaire, pace=pace, seed=seed) for seed, link in enumerate(links)]
    started = time.perf_counter()
    for ended in await asyncio.gather(*(rater.take_part(together) for rater in raters), return_exceptions=True):
        if isinstance(ended, Exception):
            load.errors.append(f"{type(ended).__name__}: {ended}")
    load.seconds = time.perf_counter() - started
    return load


def prepare(run: Path, folder: Path, *options: str, database: str | None = None) -> list[str]:
    """Create the study of a run and return the paths of the personal links."""
    clens("human", "create", run, *options, database=database)
    clens("human", "links", run, "--out", folder / "links.csv", database=database)
    with (folder / "links.csv").open(newline="") as file:
        return [urlsplit(row["link"]).path for row in csv.DictReader(file)]


def measure(server: ServerProcess, links: Sequence[str], *, pace: float = PACE, burst: bool = False) -> Load:
    """Let everybody take part, and add what that cost the server."""
    before = _processor(server.process)
    load = run_apart(attend(Way(address=server.address), links, pace=pace, burst=burst))
    load.processor = _processor(server.process) - before
    return load


def _processor(process: int) -> float:
    """Return the seconds of processor time of a process of this machine (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure once and print the table; 1 if something failed or took too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raters", type=int, default=50)
    parser.add_argument("--pace", type=float, default=PACE)
    parser.add_argument("--database", help="URL of an empty PostgreSQL database; default: SQLite")
    parser.add_argument("--burst", action="store_true", help="all send at the same moment")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        run = build_run(folder / "run")
        links = prepare(run, folder, "--raters", str(given.raters), database=given.database)
        with serving(run, folder / "log", database=given.database) as server:
            load = measure(server, links, pace=given.pace, burst=given.burst)
            if load.errors:
                print(*load.errors, server.log, sep="\n", file=sys.stderr)
        url = given.database or f"sqlite:///{run / 'human' / 'main' / 'ratings.sqlite'}"
        with HumanStore.open(url) as store:
            ratings = store.ratings().height
    print(load.table())
    print(f"{len(links)} raters, {ratings} pages saved, {len(load.errors)} errors, {load.seconds:.1f} s; ", end="")
    print(f"server: {load.processor:.1f} s of processor time; load average {os.getloadavg()[0]:.1f}")
    return int(bool(load.errors) or load.p95 > BUDGET_MS)


if __name__ == "__main__":
    sys.exit(main())
