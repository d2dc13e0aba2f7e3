"""The ledger: every claim with its source, formula, recomputation and what runs show; as JSON, a frame, Markdown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from compressed_lens.claims import (
    anomalies,
    factual_recall,
    flips_and_faithfulness,
    people_and_judges,
    quality,
    ranks,
    two_hops,
)
from compressed_lens.claims.claim import MARKS, PAPERS, Claim, Recomputed
from compressed_lens.claims.own import OwnFigure, OwnRun, OwnVerdict, without
from compressed_lens.claims.published import SOURCES, Published
from compressed_lens.claims.wording import told
from compressed_lens.errors import DataError
from compressed_lens.registry import nearest

if TYPE_CHECKING:
    import polars as pl

FORMAT = "compressed-lens claims, format 1"
CLAIMS: tuple[Claim, ...] = (
    *quality.CLAIMS,
    *flips_and_faithfulness.CLAIMS,
    *ranks.CLAIMS,
    *people_and_judges.CLAIMS,
    *anomalies.CLAIMS,
    *factual_recall.CLAIMS,
    *two_hops.CLAIMS,
)
_VERDICTS: tuple[OwnVerdict, ...] = ("reproduced", "not reproduced", "undecided", "not comparable")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One claim of the ledger, with what was found.

    Attributes:
        own: What each run shows, none without runs. A run that has nothing to say says why.
    """

    claim: Claim
    recomputed: Recomputed
    own: tuple[OwnFigure, ...]

    @property
    def standing(self) -> str:
        """The verdicts of the runs in a word: the decided ones first, each with its count."""
        counts = Counter(figure.verdict for figure in self.own if figure.what)
        if not counts:
            return "no figure" if self.own else ""
        return ", ".join(f"{counts[name]} {name}" for name in _VERDICTS if counts[name])


def find(name: str) -> Claim:
    """Return the claim of that id.

    Raises:
        DataError: There is none.
    """
    for one in CLAIMS:
        if one.id == name:
            return one
    hint = nearest(name, [one.id for one in CLAIMS])
    raise DataError(f"There is no claim '{name}'.", fix=hint or "See `clens claims` for their names.")


def ledger(tables: Published, runs: Sequence[OwnRun] = (), *, claims: Sequence[Claim] = CLAIMS) -> tuple[Entry, ...]:
    """Recompute every claim, and ask every run about it."""
    return tuple(
        Entry(
            claim=one,
            recomputed=one.recompute(tables),
            own=tuple(figure for run in runs for figure in _asked(one, run)),
        )
        for one in claims
    )


def _asked(one: Claim, run: OwnRun) -> tuple[OwnFigure, ...]:
    return one.own(run) if one.own is not None else without(run, "A run cannot answer it.")


def ledger_json(entries: Sequence[Entry], tables: Published, runs: Sequence[OwnRun] = ()) -> dict[str, Any]:
    """Return the ledger in JSON types; a number that is missing is null."""
    return {
        "format": FORMAT,
        "marks": dict(MARKS),
        "papers": [asdict(paper) for paper in PAPERS],
        "tables": [{"name": name, "source": SOURCES[name], "sha256": tables.digests[name]} for name in tables.frames],
        "doubts": [asdict(doubt) for doubt in tables.doubts],
        "runs": [run.name for run in runs],
        "claims": [_entry(entry) for entry in entries],
    }


def _entry(entry: Entry) -> dict[str, Any]:
    claim = entry.claim
    return {
        "id": claim.id,
        "paper": claim.paper.key,
        "arxiv": claim.paper.arxiv,
        "section": claim.section,
        "statement": claim.statement,
        "mark": claim.mark,
        "by": claim.by,
        "stated": claim.stated,
        "unit": claim.unit,
        "formula": claim.formula,
        "tables": list(claim.uses),
        "recomputed": _plain(asdict(entry.recomputed)),
        "own": [_plain(asdict(figure)) for figure in entry.own],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return None if math.isnan(value) or math.isinf(value) else round(value, 10)
    return value


def ledger_frame(entries: Sequence[Entry]) -> pl.DataFrame:
    """Return the ledger as a Polars frame, one row a (claim, figure of a run), one a claim without runs.

    Columns: `id, paper, arxiv, section, statement, mark, stated, unit, formula, tables`; `follows, value, value_unit,
    low, high, why`; `run, what, model, task, quantizers, own, own_low, own_high, own_unit, n, shows, verdict, own_why`.
    """
    import polars as pl

    texts = ("id", "paper", "arxiv", "section", "statement", "mark")
    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(texts, pl.String), "stated": pl.Float64,
        **dict.fromkeys(("unit", "formula", "tables"), pl.String),
        "follows": pl.String, "value": pl.Float64, "value_unit": pl.String, "low": pl.Float64, "high": pl.Float64,
        "why": pl.String, **dict.fromkeys(("run", "what", "model", "task", "quantizers"), pl.String),
        **dict.fromkeys(("own", "own_low", "own_high"), pl.Float64), "own_unit": pl.String, "n": pl.Int64,
        **dict.fromkeys(("shows", "verdict", "own_why"), pl.String),
    }  # fmt: skip
    rows = []
    for entry in entries:
        c, r = entry.claim, entry.recomputed
        left = (c.id, c.paper.key, c.paper.arxiv, c.section, c.statement, c.mark, c.stated, c.unit, c.formula,
                " ".join(c.uses), r.follows, r.value, r.unit, r.low, r.high, r.why)  # fmt: skip
        rows += [
            (*left, f.run, f.what, f.model, f.task, " ".join(f.quantizers),
             *map(_plain, (f.value, f.low, f.high)), f.unit, f.n, f.shows, f.verdict, f.why)
            for f in entry.own
        ]  # fmt: skip
        if not entry.own:
            rows.append((*left, *[None] * 13))
    return pl.DataFrame(rows, schema=schema, orient="row")


def counts(entries: Sequence[Entry]) -> str:
    """Say how many statements of the papers follow, and how many of our own."""
    told = []
    for by, whose in (("the paper", "of the papers"), ("us", "of our own reading of the cells (mark D)")):
        found = Counter(entry.recomputed.follows for entry in entries if entry.claim.by == by)
        told.append(
            f"{found.total()} statements {whose}: {found['follows']} follow from the published cells, "
            f"{found['does not follow']} do not, {found['cannot be computed']} cannot be computed from what is there."
        )
    return "\n".join(told)


def ledger_markdown(entries: Sequence[Entry]) -> str:
    """Return the ledger as Markdown: a table, then why of each, then what runs show."""
    lines = [
        "# Claims",
        "",
        *counts(entries).splitlines(),
        "",
        "| claim | statement | mark | stated | follows | recomputed |",
    ]
    lines += ["|---|---|---|---|---|---|"]
    for e in entries:
        stated, value = (
            told(e.claim.stated, e.claim.unit),
            told(e.recomputed.value, e.recomputed.unit, e.recomputed.low, e.recomputed.high),
        )
        cells: tuple[str, ...] = (
            f"`{e.claim.id}`",
            e.claim.statement,
            e.claim.mark,
            stated,
            e.recomputed.follows,
            value,
        )
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    lines += ["", "## Why", ""]
    lines += [
        f"* `{e.claim.id}` ({e.claim.paper.arxiv}; {e.claim.section}): {_cell(e.recomputed.why)}" for e in entries
    ]
    figures = [(e, f) for e in entries for f in e.own if f.what]
    if figures:
        lines += [
            "",
            "## Our runs",
            "",
            "| claim | run | what | value | n | verdict | why |",
            "|---|---|---|---|---|---|---|",
        ]
        for e, f in figures:
            place = ", ".join(filter(None, (f.model, f.task, " ".join(f.quantizers))))
            cells = (f"`{e.claim.id}`", f.run, f"{f.what} ({place})" if place else f.what,
                     told(f.value, f.unit, f.low, f.high), str(f.n), f.verdict, f.why)  # fmt: skip
            lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    lines += ["", "Marks: " + "; ".join(f"{mark} {what}" for mark, what in MARKS.items()) + "."]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
