"""Claims on two-hop reasoning (2505.13963, TwoHopFact)."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from compressed_lens.claims.claim import FACTUAL_KNOWLEDGE, Part, Recomputed, claim, unpublished
from compressed_lens.claims.own import Target
from compressed_lens.claims.own_changes import change
from compressed_lens.claims.own_knowledge import bridge_bottleneck, counted, hop_losses, same_answers
from compressed_lens.claims.published import (
    RECALL,
    RECALL_ITEMS,
    ROUNDING,
    TWO_HOPS,
    Change,
    Published,
    percent_difference,
)
from compressed_lens.comparison.measures import SEED
from compressed_lens.statistics import correlation

_FIRST, _SECOND, _BOTH = "r1_e1", "r2_e2", "r2_r1_e1"
_LLAMA = "Llama3-8B"
_MAX_STATED, _MEAN_STATED, _RHO_STATED = 30.08, 4.25, 0.93
_PROMPTS, _TYPES = 45_595, 52


def _of(tables: Published, column: str) -> dict[tuple[str, str], Change]:
    return {(c.model, c.variant): c for c in tables.two_hops if c.column == column}


def rounding(change: Change) -> tuple[float, float]:
    """Return the least and the largest relative loss in per cent that cells printed to two decimals allow."""
    ends = [
        100 * (full - value) / full
        for full in (change.full - ROUNDING, change.full + ROUNDING)
        for value in (change.value - ROUNDING, change.value + ROUNDING)
    ]
    return min(ends), max(ends)


@claim(
    id="fkr-first-hop-max",
    paper=FACTUAL_KNOWLEDGE,
    section="3.4; 8 no. 5",
    statement="The first hop loses up to 30.08 %.",
    stated=_MAX_STATED,
    unit="%",
    mark="B",
    uses=(TWO_HOPS,),
    formula="largest (full - quantized) / full of hop one over all cells, and what rounding to two decimals leaves "
    "open; follows if the stated number is in that range.",
)
def first_hop_max(tables: Published) -> Recomputed:
    """Find the largest relative loss of the first hop."""
    worst = max(_of(tables, _FIRST).values(), key=lambda c: -c.relative)
    low, high = rounding(worst)
    return Recomputed(
        follows="follows" if low <= _MAX_STATED <= high else "does not follow",
        value=-worst.relative,
        unit="%",
        low=low,
        high=high,
        parts=(
            Part(name=f"{worst.model} {worst.variant}, hop one", value=worst.value, unit="%"),
            Part(name=f"{worst.model} full, hop one", value=worst.full, unit="%"),
            Part(name="loss in points", value=-worst.gain, unit="points"),
        ),
        why=f"The cells give {-worst.relative:.2f} % ({worst.model} {worst.variant}), and rounding allows {low:.2f} "
        f"to {high:.2f}. The direction holds; the number is from other cells.",
    )


@claim(
    id="fkr-first-hop-most",
    paper=FACTUAL_KNOWLEDGE,
    section="3.4; 6 no. 5",
    statement="The biggest loss is at the first hop, which loses more than the second.",
    mark="B",
    uses=(TWO_HOPS,),
    formula="relative loss of hop one minus that of hop two in each quantized row, bib4 and bib8 (one printed row) "
    "once, Llama3-8B left out. Follows if the largest loss of all is of hop one, and hop one loses more in every AWQ "
    "row.",
    own=hop_losses,
)
def first_hop_most(tables: Published) -> Recomputed:
    """Compare the losses of the hops row by row."""
    first, second = _of(tables, _FIRST), _of(tables, _SECOND)
    rows = [key for key in first if key[1] != "bib8" and key[0] != _LLAMA]
    apart = {key: second[key].relative - first[key].relative for key in rows}
    largest = max(tables.two_hops, key=lambda c: -c.relative)
    awq = all(value > 0 for key, value in apart.items() if key[1] == "awq")
    return Recomputed(
        follows="follows" if largest.column == _FIRST and awq else "does not follow",
        value=sum(value > 0 for value in apart.values()),
        unit=f"of {len(rows)} rows",
        parts=tuple(
            Part(name=f"{model} {variant}: hop one minus hop two", value=value, unit="%")
            for (model, variant), value in apart.items()
        ),
        why="It rests on AWQ and two models; under bitsandbytes both hops move by a few tenths of a per cent either "
        "way. For 7B the two-hop prompt loses more than hop one, relatively.",
    )


@claim(
    id="fkr-second-hop",
    paper=FACTUAL_KNOWLEDGE,
    section="3.4",
    statement="The second hop loses 4.25 % on average.",
    stated=_MEAN_STATED,
    unit="%",
    mark="B",
    uses=(TWO_HOPS,),
    formula="mean loss of hop two, relative and in points, over six sets of rows; follows if the plain mean over all "
    "quantized rows rounds to 4.25.",
)
def second_hop(tables: Published) -> Recomputed:
    """Search the plain averages of the second hop's loss."""
    found = second_hop_means(tables)
    closest = sorted(found.items(), key=lambda item: abs(item[1] - _MEAN_STATED))
    plain = found["relative, all quantized rows"]
    hits = sum(abs(value - _MEAN_STATED) < ROUNDING for value in found.values())
    return Recomputed(
        follows="follows" if abs(plain - _MEAN_STATED) < ROUNDING else "does not follow",
        value=closest[0][1],
        unit="%",
        parts=tuple(Part(name=name, value=value, unit="%") for name, value in closest),
        why=f"The plain mean is {plain:.1f} % (Llama3-8B gains). Of {len(found)} plain averages {hits} give 4.25; the "
        f"closest is {closest[0][1]:.2f} ({closest[0][0]}). Which rows the paper averages is not said, and not all "
        "of them may be printed.",
    )


def second_hop_means(tables: Published) -> dict[str, float]:
    """Return the plain averages of the second hop's loss, positive worse: formula to value."""
    rows = _of(tables, _SECOND)
    sets: Mapping[str, list[Change]] = {
        "all quantized rows": list(rows.values()),
        "Qwen2.5": [c for c in rows.values() if c.model != _LLAMA],
        "Qwen2.5, bib4 and bib8 once": [c for c in rows.values() if c.model != _LLAMA and c.variant != "bib8"],
        "Qwen2.5, rows that lose, bib4 and bib8 once": [
            c for c in rows.values() if c.model != _LLAMA and c.variant != "bib8" and c.gain < 0
        ],
        "AWQ of Qwen2.5": [c for c in rows.values() if c.model != _LLAMA and c.variant == "awq"],
        "AWQ of all models": [c for c in rows.values() if c.variant == "awq"],
    }
    found = {}
    for name, changes in sets.items():
        found[f"relative, {name}"] = fmean(-c.relative for c in changes)
        found[f"points, {name}"] = fmean(-c.gain for c in changes)
    return found


@claim(
    id="fkr-bottleneck",
    paper=FACTUAL_KNOWLEDGE,
    section="3.4; 6 no. 5",
    statement="The loss of two-hop accuracy follows the ability to predict the bridge: Spearman's 0.93.",
    stated=_RHO_STATED,
    unit="rho",
    mark="B",
    uses=(TWO_HOPS,),
    formula="Spearman's correlation of the loss in points of the two-hop prompt with that of hop one, and with that "
    "of hop two, over the eight quantized rows and without Llama3-8B; follows if hop one's rounds to 0.93.",
    own=bridge_bottleneck,
)
def bottleneck(tables: Published) -> Recomputed:
    """Correlate the losses over the rows of the table."""
    found = {}
    for told, keep in (("eight rows", True), ("Qwen2.5 only", False)):
        keys = [key for key in _of(tables, _BOTH) if keep or key[0] != _LLAMA]
        both = [_of(tables, _BOTH)[key].gain for key in keys]
        for hop, column in (("hop one", _FIRST), ("hop two", _SECOND)):
            rows = _of(tables, column)
            found[f"{hop}, {told}"] = correlation([rows[key].gain for key in keys], both, seed=SEED)
    first = found["hop one, eight rows"]
    return Recomputed(
        follows="follows" if round(first.estimate, 2) == _RHO_STATED else "does not follow",
        value=first.estimate,
        low=first.low,
        high=first.high,
        unit="rho",
        parts=tuple(Part(name=name, value=c.estimate, unit="rho") for name, c in found.items()),
        why=f"Over the printed rows hop one gives {first.estimate:.2f} and hop two "
        f"{found['hop two, eight rows'].estimate:.2f}, so the table does not single out the first hop. The paper "
        "does not say over what its 0.93 is; composition types, layers or EntRec are possible.",
    )


@claim(
    id="fkr-bib-equal",
    paper=FACTUAL_KNOWLEDGE,
    section="3.4; 8 no. 4",
    statement="bib4 and bib8 do equally well on TwoHopFact (one shared row).",
    mark="C",
    uses=(TWO_HOPS, RECALL),
    formula="bib8 minus bib4 in points on TwoHopFact, by the shared row zero, against LRE. Follows if they are within "
    "1 point on LRE, too.",
    own=same_answers,
)
def bib_equal(tables: Published) -> Recomputed:
    """Hold the shared row to the difference on LRE."""
    recall = {(c.model, c.variant): c.value for c in tables.recall}
    apart = {model: recall[model, "bib8"] - recall[model, "bib4"] for model, variant in recall if variant == "bib8"}
    return Recomputed(
        follows="follows" if max(apart.values()) < 1 else "does not follow",
        value=max(apart.values()),
        unit="points apart on LRE",
        parts=tuple(
            Part(name=f"{model}: bib8 minus bib4 on LRE", value=v, unit="points") for model, v in apart.items()
        ),
        why=f"On LRE the two are {min(apart.values()):.1f} to {max(apart.values()):.1f} points apart; equality to "
        "0.01 in three accuracies would be odd. One run may have been loaded twice.",
    )


@claim(
    id="fkr-llama-full",
    paper=FACTUAL_KNOWLEDGE,
    section="3.4; 8 no. 3",
    statement="Quantized Llama3-8B does better than full precision: 19.56 and 20.94 against 4.45 % on two hops.",
    stated=4.45,
    unit="%",
    mark="B",
    uses=(TWO_HOPS, RECALL),
    formula="full - quantized in all three accuracies, against the same on LRE. Follows as an effect of quantization "
    "only if full precision is below the quantized variants on LRE, too.",
)
def llama_full(tables: Published) -> Recomputed:
    """Hold full precision of Llama3-8B to its quantized rows and to LRE."""
    rows = [c for c in tables.two_hops if c.model == _LLAMA]
    recall = [c for c in tables.recall if c.model == _LLAMA]
    return Recomputed(
        follows="follows" if all(c.gain > 0 for c in recall) else "does not follow",
        value=min(c.gain for c in rows if c.column == _BOTH),
        unit="points gained by quantization",
        parts=tuple(Part(name=f"{c.variant} {c.column}: gain", value=c.gain, unit="points") for c in rows),
        why=f"All {sum(c.gain > 0 for c in rows)} of {len(rows)} cells gain, up to {max(c.gain for c in rows):.1f} "
        f"points, where on LRE {sum(c.gain < 0 for c in recall)} of {len(recall)} lose and full precision has "
        f"{recall[0].full:.2f} %: almost certainly a fault of the set-up (BOS, chat template, dtype or checkpoint).",
    )


@claim(
    id="fkr-bitsandbytes-safest",
    paper=FACTUAL_KNOWLEDGE,
    section="3.4",
    statement="bitsandbytes is the safest quantizer overall; the loss is modest.",
    mark="B",
    uses=(TWO_HOPS, RECALL),
    formula="mean loss in points of bib4, awq and gptq4 over the models on LRE (without the suspect cell), and of "
    "bib4 and awq over Qwen2.5 and the three accuracies on TwoHopFact; follows if bib4's is the smallest in both.",
)
def bitsandbytes_safest(tables: Published) -> Recomputed:
    """Compare mean losses of the 4-bit quantizers."""
    recall = {
        name: fmean(-c.gain for c in tables.recall if c.variant == name and c.model != "Qwen2.5-14B")
        for name in ("bib4", "awq", "gptq4")
    }
    hops = {
        name: fmean(-c.gain for c in tables.two_hops if c.variant == name and c.model != _LLAMA)
        for name in ("bib4", "awq")
    }
    every = {name: fmean(-c.gain for c in tables.recall if c.variant == name) for name in ("bib4", "awq")}
    cells = {(c.model, c.variant): c.value for c in tables.recall}
    apart = [
        percent_difference(cells[model, "awq"], cells[model, "bib4"], RECALL_ITEMS)
        for model, variant in cells
        if variant == "awq"
    ]
    shown = sum(one.low > 0 for one in apart)
    right = all(min(d, key=d.__getitem__) == "bib4" for d in (every, recall, hops))
    return Recomputed(
        follows="follows" if right else "does not follow",
        value=recall["awq"] - recall["bib4"],
        unit="points less lost by bib4 than by awq on LRE",
        parts=(
            *(Part(name=f"LRE without 14B, {name}", value=value, unit="points lost") for name, value in recall.items()),
            *(Part(name=f"LRE, {name}", value=value, unit="points lost") for name, value in every.items()),
            *(Part(name=f"TwoHopFact, {name}", value=value, unit="points lost") for name, value in hops.items()),
        ),
        why=f"On LRE bib4 is ahead of awq beyond chance in {shown} of {len(apart)} models; on TwoHopFact by points, "
        "in a row it shares with bib8. That loss is modest is a judgement for which no margin is given.",
    )


CLAIMS = (
    unpublished(
        id="fkr-chains", paper=FACTUAL_KNOWLEDGE, section="3.4; 6 no. 1", mark="B", stated=_PROMPTS, unit="chains",
        statement="TwoHopFact has 45,595 chains of 52 kinds.",
        own=counted("two_hop", "twohopfact", items=_PROMPTS, groups=_TYPES),
        why="The counts by kind are not among the tables we have.",
    ),
    first_hop_max,
    first_hop_most,
    second_hop,
    bottleneck,
    bib_equal,
    llama_full,
    bitsandbytes_safest,
    unpublished(
        id="fkr-deep-layers", paper=FACTUAL_KNOWLEDGE, section="3.4", mark="B",
        statement="EntRec and CnstScore of quantized Llama3-8B are above full precision in deep layers.",
        why="Shown as a figure, and of a model whose full-precision accuracies look faulty (fkr-llama-full).",
        own=change(
            FACTUAL_KNOWLEDGE, Target("entity_recall", "entity_recall"), Target("consistency", "consistency"),
            expected="positive", about="Llama3-8B",
        ),
    ),
    unpublished(
        id="fkr-noise-conjecture", paper=FACTUAL_KNOWLEDGE, section="3.5", mark="B",
        statement="Improvements under quantization are noise or regularization.", why="The authors' conjecture.",
    ),
    unpublished(
        id="fkr-compute", paper=FACTUAL_KNOWLEDGE, section="3.1", mark="B", stated=30, unit="hours",
        statement="Attribution takes up to 10 hours and multi-hop reasoning 30 on average, on A100 or H100.",
        why="Times of single cells are not published.",
    ),
    unpublished(
        id="fkr-venue", paper=FACTUAL_KNOWLEDGE, section="1; 8 no. 10", mark="A",
        statement="The paper is often cited as ACL 2026; it is of the TrustNLP workshop there (2026.trustnlp-main.2).",
        why="A matter of citation, not of cells: cite the workshop.",
    ),
)  # fmt: skip
