"""What the differences hang on: raters who failed a check, straight-liners, quick pages, and each single rater."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compressed_lens.human.estimates import Effect, effects
from compressed_lens.human.findings import frame
from compressed_lens.study.schema import FULL

if TYPE_CHECKING:
    import polars as pl

STRAIGHT = 0.9
"""A rater who gave one point to this share of the texts or more, on every dimension, is a straight-liner."""
FEWEST_TEXTS = 5
"""Below this many texts nobody is called a straight-liner."""
FASTEST = 0.1
"""Share of pages that the quickest ones are."""

MOVERS = 3
"""How many raters are left out in turn at either end of a variant."""

MAIN = "main"
Verdicts = Callable[[Sequence[Effect]], list[tuple[float, str, str]]]


def rater_table(long: pl.DataFrame, checks: pl.DataFrame, *, exclude: bool) -> pl.DataFrame:
    """Return the table `raters`: one row a rater of the study who rated something or answered a check.

    Args:
        long: All ratings.
        checks: `HumanRatings.checks`.
        exclude: Whether a failed attention check excludes a rater.
    """
    import polars as pl

    by_rater = {str(rater): part for (rater,), part in long.group_by(["rater"])}
    known = {row["rater"]: row for row in checks.iter_rows(named=True)}
    rows: list[tuple[Any, ...]] = []
    for rater in sorted({*by_rater, *known}):
        told = known.get(rater, {"checks": 0, "failed": 0, "finished": False})
        part = by_rater.get(rater)
        left_out = exclude and told["failed"] > 0
        texts = 0 if part is None else part["text"].n_unique()
        if not texts and not told["checks"]:
            continue
        figures: tuple[Any, ...] = (None, None, None, None, False)
        if part is not None:
            pages = part.unique("text")["seconds"].drop_nulls().to_numpy()
            commonest = _commonest(part)
            spread = float(part["rating"].to_numpy().std(ddof=1)) if len(part) > 1 else None
            straight = texts >= FEWEST_TEXTS and commonest >= STRAIGHT
            seconds = float(np.median(pages)) if len(pages) else None
            figures = (seconds, float(part["rating"].to_numpy().mean()), spread, commonest, straight)
        rows.append((rater, texts, told["finished"], told["checks"], told["failed"], left_out, *figures))
    return frame("raters", rows).sort(pl.col("rater"))


def _commonest(part: pl.DataFrame) -> float:
    """Return the share of a rater's commonest point, on the dimension where it is smallest."""
    shares = []
    for _, own in part.group_by(["dimension"]):
        _, counts = np.unique(own["rating"].to_numpy(), return_counts=True)
        shares.append(float(counts.max() / counts.sum()))
    return min(shares)


def sensitivity(long: pl.DataFrame, raters: pl.DataFrame, *, verdicts: Verdicts) -> pl.DataFrame:
    """Return the table `sensitivity`: the pooled headline differences on other choices of ratings.

    Args:
        long: All ratings, of excluded raters, too.
        raters: What `rater_table` gives.
        verdicts: Gives (p adjusted, verdict, leaning) of a family of effects.
    """
    import polars as pl

    rows: list[tuple[Any, ...]] = []
    excluded = raters.filter("excluded")["rater"].to_list()
    main = long.filter(~pl.col("rater").is_in(excluded))
    for place, part in main.group_by(["kind", "dimension"], maintain_order=True):
        kind, dimension = place
        everyone = long.filter((pl.col("kind") == kind) & (pl.col("dimension") == dimension))
        for data, left_out, chosen in _choices(everyone, part, raters):
            found = effects(chosen, by_model=False)
            for effect, (_, verdict, _) in zip(found, verdicts(found), strict=True):
                rows.append((kind, dimension, effect.variant, data, left_out, *_figures(effect), verdict))
        rows += [(kind, dimension, *row) for row in _without_each(part, verdicts)]
    return frame("sensitivity", rows)


def _choices(
    everyone: pl.DataFrame, main: pl.DataFrame, raters: pl.DataFrame
) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """Yield (name, who or what is left out, ratings) of each choice of ratings that differs from the main one."""
    import polars as pl

    excluded = raters.filter("excluded")["rater"].to_list()
    yield MAIN, ", ".join(excluded), main
    if excluded:
        yield "everyone", "", everyone
    for name, condition in (("without straight-liners", "straight"), ("finished raters only", None)):
        column = pl.col(condition) if condition else ~pl.col("finished")
        others = raters.filter(column & ~pl.col("excluded"))["rater"].to_list()
        chosen = main.filter(~pl.col("rater").is_in(others))
        if others and len(chosen):
            yield name, ", ".join(others), chosen
    timed = main["seconds"].drop_nulls()
    if len(timed):
        limit = float(np.quantile(timed.to_numpy(), FASTEST))
        slower = main.filter(pl.col("seconds").is_null() | (pl.col("seconds") > limit))
        if len(slower):
            yield f"without the fastest {FASTEST:.0%} of pages", f"pages of {limit:.1f} s or less", slower


def _without_each(part: pl.DataFrame, verdicts: Verdicts) -> Iterator[tuple[Any, ...]]:
    """Yield the lowest and the highest estimate of each variant that leaving out one rater leads to.

    Models are fitted anew without each of the raters that move a variant's mean the most.
    """
    import polars as pl

    found: dict[str, list[tuple[float, str, Effect, str]]] = {}
    for rater in _movers(part):
        family = effects(part.filter(pl.col("rater") != rater), by_model=False)
        for effect, (_, verdict, _) in zip(family, verdicts(family), strict=True):
            if not np.isnan(effect.estimate):
                found.setdefault(effect.variant, []).append((effect.estimate, rater, effect, verdict))
    for variant, each in found.items():
        for name, choose in (("lowest", min), ("highest", max)):
            _, rater, effect, verdict = choose(each, key=lambda one: one[:2])
            yield variant, f"without one rater: {name}", rater, *_figures(effect), verdict


def _movers(part: pl.DataFrame) -> list[str]:
    """Return the raters who pull some variant's difference to full precision down or up the most.

    A rater's pull is the sum of what the ratings are above their cell and above the rater's own level, in the variant's
    share less in that of full precision.
    """
    import polars as pl

    cell = pl.col("rating") - pl.col("rating").mean().over("model", "variant", "task")
    left = part.with_columns(left=cell).with_columns(left=pl.col("left") - pl.col("left").mean().over("rater"))
    share = pl.col("left") / pl.len().over("variant")
    pulls = left.with_columns(pull=share).group_by("rater", "variant", maintain_order=True).agg(pl.col("pull").sum())
    table = pulls.pivot(on="variant", index="rater", values="pull").fill_null(0.0)
    chosen: dict[str, None] = {}
    for variant in table.columns[1:]:
        if variant != FULL and FULL in table.columns:
            order = np.argsort((table[variant] - table[FULL]).to_numpy(), kind="stable")
            raters = table["rater"].to_list()
            chosen |= dict.fromkeys(raters[n] for n in (*order[:MOVERS], *order[-MOVERS:]))
    return list(chosen)


def _figures(effect: Effect) -> tuple[Any, ...]:
    return effect.raters, effect.ratings, effect.estimate, effect.low, effect.high
