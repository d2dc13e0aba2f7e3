"""What is rated: texts drawn from a run's records, the same items under every variant, blinded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from compressed_lens.errors import StudyError
from compressed_lens.human.choice import Chosen, Part, choose
from compressed_lens.human.design import Kind, Sample, Shown
from compressed_lens.human.hints import Hints
from compressed_lens.ids import digest
from compressed_lens.runner.results import Run
from compressed_lens.terminal import visible

LONGEST = 6_000
"""Characters of the longest text that is shown; a rater would not read a longer one."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text to be rated, and what raters must not know of it.

    Attributes:
        id: Opaque (`t001`), in an order that tells nothing.
        cell: Code of its model x variant x task x kind (`C01`), as opaque.
        shown: What raters see.
        analysis: Analysis of the run whose record holds it.
    """

    id: str
    cell: str
    shown: Shown
    model: str
    variant: str
    task: str
    analysis: str
    item: str


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Why an item could not be drawn, by the variant that is the cause; "" where a field does not narrow it down."""

    task: str
    kind: str
    item: str
    model: str
    variant: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class _Pool:
    """The items of one task and kind that have a text under every variant."""

    part: Part
    kind: Kind
    items: tuple[str, ...]
    texts: Mapping[tuple[str, str, str], Shown]  # (model, variant, item)
    usable: frozenset[str]
    left_out: tuple[LeftOut, ...]


def draw(run: Run, sample: Sample) -> tuple[tuple[Text, ...], tuple[LeftOut, ...]]:
    """Draw the texts of a human study from a run.

    An item can be drawn only if every chosen model and variant wrote a text with a word in it: else the sample would
    compare different items. Among those the draw depends on the seed, the task, the kind and the item's id alone.

    Args:
        run: The run; records of its analyses of the methods `nle` and `counterfactual` are read.
        sample: What to draw.

    Returns:
        The texts by id, and the items (with the variant and the reason) that could not be drawn.

    Raises:
        StudyError: The sample names what the run has not, or too few items can be drawn.
    """
    chosen = choose(run, sample)
    hints = Hints.of(run)
    pools = [_pool(run, chosen, part, kind, hints) for part in chosen.parts for kind in part.analyses]
    drawn: list[tuple[_Pool, str]] = []
    for part in chosen.parts:
        own = [pool for pool in pools if pool.part is part]
        for pool, items in zip(own, _drawn(own, sample), strict=True):
            drawn += [(pool, item) for item in items]
    rows = [(pool, model, variant, item) for pool, item in drawn for model, variant in chosen.variants]
    cells = list(dict.fromkeys((model, variant, pool.part.task, pool.kind) for pool, model, variant, _ in rows))
    secret = _secret(sample.seed, (pool.texts[model, variant, item] for pool, model, variant, item in rows))
    codes = dict(zip(cells, _codes("C", len(cells), secret), strict=True))
    texts = [
        Text(
            id=code,
            cell=codes[model, variant, pool.part.task, pool.kind],
            shown=pool.texts[model, variant, item],
            model=model,
            variant=variant,
            task=pool.part.task,
            analysis=pool.part.analyses[pool.kind],
            item=item,
        )
        for code, (pool, model, variant, item) in zip(_codes("t", len(rows), secret), rows, strict=True)
    ]
    absent = [
        LeftOut(task="", kind="", item="", model=model, variant=variant, reason=reason)
        for model, variant, reason in chosen.absent
    ]
    left_out = [*absent, *(row for pool in pools for row in pool.left_out)]
    return tuple(sorted(texts, key=lambda text: text.id)), tuple(left_out)


def _secret(seed: int, shown: Iterable[Shown]) -> int:
    """Return the seed of the codes. Who knows the design but not the run could work them out from its seed alone."""
    return int(digest([seed, [text.model_dump() for text in shown]], length=16), 16)


def _codes(letter: str, count: int, secret: int) -> list[str]:
    """Return opaque codes in a shuffled order."""
    digits = max(3 if letter == "t" else 2, len(str(count)))
    order = np.random.default_rng([secret, ord(letter)]).permutation(count)
    return [f"{letter}{place + 1:0{digits}d}" for place in order]


def _pool(run: Run, chosen: Chosen, part: Part, kind: Kind, hints: Hints) -> _Pool:
    contents = {
        item: json.loads(content)
        for item, content in run.items.filter(pl.col("task") == part.task).select("item", "content").iter_rows()
    }
    found = _values(run, part.task, part.analyses[kind])
    texts: dict[tuple[str, str, str], Shown] = {}
    left_out: list[LeftOut] = []
    for item, content in contents.items():
        for model, variant in chosen.variants:
            told = found.get((model, variant, item))
            shown = "not done yet" if told is None else _shown(kind, part, content, *told)
            if isinstance(shown, Shown):
                hint = hints.found(shown)
                shown = f"it tells '{hint}'" if hint else shown
            if isinstance(shown, Shown):
                texts[model, variant, item] = shown
                continue
            left_out.append(
                LeftOut(task=part.task, kind=kind, item=item, model=model, variant=variant, reason=visible(shown))
            )
    without = {row.item for row in left_out}
    return _Pool(
        part=part,
        kind=kind,
        items=tuple(contents),
        texts=texts,
        usable=frozenset(item for item in contents if item not in without),
        left_out=tuple(left_out),
    )


def _values(run: Run, task: str, analysis: str) -> dict[tuple[str, str, str], tuple[dict[str, Any], str | None]]:
    """Return (values, reason of failure) of the first record of each (model, variant, item)."""
    records = run.records.filter((pl.col("task") == task) & (pl.col("analysis") == analysis)).sort(
        "repeat", maintain_order=True
    )
    found: dict[tuple[str, str, str], tuple[dict[str, Any], str | None]] = {}
    for row in records.select("model", "variant", "item", "values", "failed").iter_rows():
        found.setdefault((row[0], row[1], row[2]), (json.loads(row[3]), row[4]))
    return found


def _shown(
    kind: Kind, part: Part, content: Mapping[str, Any], values: Mapping[str, Any], failed: str | None
) -> Shown | str:
    """Return what raters see of a record, or why there is nothing to rate."""
    if failed is not None:
        return f"failed: {failed}"
    fields = {name: content["fields"][name] for name in (*part.fields, *content["fields"]) if name in content["fields"]}
    text = values.get("explanation" if kind == "explanation" else "edited")
    label = values.get("prediction" if kind == "explanation" else "target")
    if text is None or not any(character.isalnum() for character in text):
        return f"no text with a word in it ({values.get('outcome') or 'empty'})"
    if label is None:
        return "no answer was found, so there is nothing that the text explains"
    if len(text) > LONGEST:
        return f"the text is longer than {LONGEST:,} characters"
    edited = ""
    if kind == "counterfactual":
        same = [name for name, before in fields.items() if before == values.get("original")]
        if len(same) != 1:
            return "the field that was edited cannot be told"
        (edited,) = same
    options = content.get("choices") or ()
    told = [*fields.items(), *([("options", "; ".join(map(str, options)))] if options else [])]
    return Shown(
        kind=kind,
        instruction=visible(part.instruction),
        fields=tuple((visible(name), visible(said)) for name, said in told),
        label=visible(str(label)),
        text=visible(text),
        edited=visible(edited),
    )


def _drawn(pools: Sequence[_Pool], sample: Sample) -> list[tuple[str, ...]]:
    """Draw the items of one task, by kind, in the order of the task."""
    from scipy.optimize import linear_sum_assignment

    wanted = sample.items
    for pool in pools:
        if len(pool.usable) < wanted:
            raise _too_few([pool], len(pool.usable), wanted)
    if not sample.separate_items or len(pools) == 1:
        chances = {item: _chance(sample.seed, pools[0].part.task, item) for pool in pools for item in pool.usable}
        return [_in_order(pool, sorted(pool.usable, key=chances.__getitem__)[:wanted]) for pool in pools]
    # Each place of each kind takes one item, none twice, so that the sum of random costs is least: a random draw that
    # succeeds whenever one can.
    either = sorted(frozenset().union(*(pool.usable for pool in pools)))
    task = pools[0].part.task
    costs = np.array(
        [
            [_chance(sample.seed, task, item, pool.kind) if item in pool.usable else 10.0 * wanted for item in either]
            for pool in pools
            for _ in range(wanted)
        ]
    )
    if len(either) < len(costs):
        raise _too_few(pools, len(either), len(costs))
    places, items = linear_sum_assignment(costs)
    taken: list[list[str]] = [[] for _ in pools]
    for place, item in zip(places, items, strict=True):
        taken[place // wanted].append(either[item])
    return [_in_order(pool, own) for pool, own in zip(pools, taken, strict=True)]


def _chance(seed: int, *what: str) -> float:
    """Return a random number from 0 to 1 that belongs to an item, whatever else is in the run."""
    return int(digest([seed, *what], length=12), 16) / 16**12


def _in_order(pool: _Pool, items: Sequence[str]) -> tuple[str, ...]:
    places = {item: place for place, item in enumerate(pool.items)}
    return tuple(sorted(items, key=places.__getitem__))


def _too_few(pools: Sequence[_Pool], found: int, wanted: int) -> StudyError:
    kinds = " or ".join(pool.kind for pool in pools)
    apart = ", no item for both" if len(pools) > 1 else ""
    return StudyError(
        f"Of the {len(pools[0].items)} items of {pools[0].part.task}, {found} have a text to rate ({kinds}) under "
        f"every variant, and {wanted} are wanted{apart}.",
        fix=_remedy(pools, found // len(pools)),
    )


def _remedy(pools: Sequence[_Pool], possible: int) -> str:
    """Return what would help: fewer items, or doing without the variant that alone is in the way of most."""
    fewer = f"Take {possible} item{'s' * (possible > 1)} or fewer" if possible else "Run more items"
    to_blame: dict[tuple[str, str], set[str]] = {}
    for row in (row for pool in pools for row in pool.left_out):
        to_blame.setdefault((row.kind, row.item), set()).add(row.variant)
    alone = Counter(next(iter(variants)) for variants in to_blame.values() if len(variants) == 1)
    short = len(frozenset().union(*(pool.usable for pool in pools))) < len(pools[0].items)
    if not alone or not short:
        return f"{fewer}."
    ((worst, count),) = alone.most_common(1)
    return f"{fewer}, or leave out {worst}, which alone lacks {count}."
