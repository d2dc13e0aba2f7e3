"""Claims on single-hop recall (2505.13963, LRE) and on where it is lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from compressed_lens.claims.claim import FACTUAL_KNOWLEDGE, SELF_EXPLANATIONS, Part, Recomputed, claim, unpublished
from compressed_lens.claims.own import EIGHT_BIT, FOUR_BIT, Target
from compressed_lens.claims.own_changes import change, within
from compressed_lens.claims.own_knowledge import counted, last_layers, saturation
from compressed_lens.claims.published import (
    RECALL,
    RECALL_ITEMS,
    RELATIONS,
    TABLE_ONE,
    Change,
    Published,
    percent_difference,
    select,
)
from compressed_lens.statistics import Interval

_RELATIONS = 26
_POINT = 1.0
_SUSPECT = ("Qwen2.5-14B", "gptq4")
_BANDS = {"Qwen2.5-7B": (2, 4), "Qwen2.5-14B": (2, 3), "Llama3-8B": (5, 7)}
_LAST = 2


def _sound(changes: Sequence[Change], among: Sequence[str]) -> list[Change]:
    """Return the changes under these quantizers without the suspect cell."""
    return [c for c in changes if c.variant in among and (c.model, c.variant) != _SUSPECT]


def _intervals(changes: Sequence[Change]) -> tuple[Part, ...]:
    return tuple(_part(f"{c.model} {c.variant}", percent_difference(c.full, c.value, RECALL_ITEMS)) for c in changes)


def _part(name: str, interval: Interval) -> Part:
    return Part(name=name, value=interval.estimate, unit="points", low=interval.low, high=interval.high)


@claim(
    id="fkr-queries",
    paper=FACTUAL_KNOWLEDGE,
    section="3.2; 6 no. 1",
    statement="The factual part of LRE has 9,696 queries over 26 relations.",
    stated=9_696,
    unit="queries",
    mark="B",
    uses=(RELATIONS,),
    formula="sum over the relations; follows if 9,696 and 26.",
    own=counted("recall", "lre", items=RECALL_ITEMS, groups=_RELATIONS),
)
def queries(tables: Published) -> Recomputed:
    """Add the relations up."""
    counts = tables.frames[RELATIONS]["queries"].to_list()
    return Recomputed(
        follows="follows" if (sum(counts), len(counts)) == (RECALL_ITEMS, _RELATIONS) else "does not follow",
        value=sum(counts),
        unit="queries",
        parts=(Part(name="relations", value=len(counts)),),
        why="The files of the data add up to it; the whole of LRE has more.",
    )


@claim(
    id="fkr-eight-bit",
    paper=FACTUAL_KNOWLEDGE,
    section="3.2; 6 no. 2",
    statement="At 8 bits (bib8, gptq8) recall stays within 1 point of full precision.",
    stated=1.0,
    unit="points",
    mark="D",
    uses=(RECALL,),
    formula="largest |quantized - full| of the five 8-bit cells, with Newcombe's unpaired intervals (n = 9,696 each). "
    "Follows if all are below 1 point.",
    own=within(FACTUAL_KNOWLEDGE, Target("recall", "recall"), margin=0.01, among=EIGHT_BIT),
)
def eight_bit(tables: Published) -> Recomputed:
    """Take the largest change at 8 bits."""
    changes = _sound(tables.recall, EIGHT_BIT)
    parts = _intervals(changes)
    largest = max(abs(c.gain) for c in changes)
    widest = max((p.high - p.low) / 2 for p in parts if p.low is not None and p.high is not None)
    shown = sum(p.low > -_POINT and p.high < _POINT for p in parts if p.low is not None and p.high is not None)
    return Recomputed(
        follows="follows" if largest < _POINT else "does not follow",
        value=largest,
        unit="points",
        parts=parts,
        why=f"All {len(changes)} cells are. That they would be again is shown by {shown} of the {len(changes)} "
        f"unpaired intervals, which reach up to {widest:.1f} points to each side; item-level outcomes would settle "
        "it.",
    )


@claim(
    id="fkr-four-bit",
    paper=FACTUAL_KNOWLEDGE,
    section="3.2; 6 no. 2",
    statement="At 4 bits recall falls: 2-4 points for Qwen2.5-7B, 2-3 for Qwen2.5-14B (without gptq4), 5-7 for "
    "Llama3-8B.",
    mark="D",
    uses=(RECALL,),
    formula="full - quantized of the 4-bit cells but the suspect one; follows if each lies in its model's band and "
    "its unpaired interval leaves out zero.",
    own=change(FACTUAL_KNOWLEDGE, Target("recall", "recall"), expected="negative", among=FOUR_BIT),
)
def four_bit(tables: Published) -> Recomputed:
    """Hold the losses at 4 bits to their bands."""
    changes = _sound(tables.recall, FOUR_BIT)
    parts = _intervals(changes)
    inside = all(_BANDS[c.model][0] <= -c.gain <= _BANDS[c.model][1] for c in changes)
    shown = all(part.high is not None and part.high < 0 for part in parts)
    return Recomputed(
        follows="follows" if inside and shown else "does not follow",
        value=fmean(-c.gain for c in changes),
        unit="points lost on average",
        parts=parts,
        why=f"All {len(changes)} losses are in their bands and beyond what {RECALL_ITEMS:,} items make by chance.",
    )


@claim(
    id="fkr-collapse",
    paper=FACTUAL_KNOWLEDGE,
    section="3.2; 8 no. 2",
    statement="GPTQ at 4 bits takes Qwen2.5-14B from 73.08 to 25.20 %: a loss of knowledge by quantization.",
    stated=25.20,
    unit="%",
    mark="B",
    uses=(RECALL, TABLE_ONE),
    formula="loss of the cell against the other 4-bit cells; changes of the same checkpoint in Table 1 of 2601.00282 "
    "against the model's other quantizers. Follows as an effect of the weights only if it is damaged there, too.",
)
def collapse(tables: Published) -> Recomputed:
    """Hold the suspect cell to the others and to the other paper."""
    cell = next(c for c in tables.recall if (c.model, c.variant) == _SUSPECT)
    others = [-c.gain for c in _sound(tables.recall, FOUR_BIT)]
    parts = []
    damaged = 0
    for name in ("nle_esnli_bart", "nle_hfc_bart", "cfe_esnli_lfr", "cfe_ag_lfr"):
        row = [c for c in select(tables.table_one, columns=(name,)) if c.model == _SUSPECT[0]]
        mine = next(c for c in row if c.variant == _SUSPECT[1])
        rest = [c.value for c in row if c is not mine]
        damaged += mine.value < min(*rest, mine.full)
        parts.append(Part(name=f"{SELF_EXPLANATIONS.key} {name}, gptq4 beside the others", value=mine.value,
                          low=min(*rest, mine.full), high=max(*rest, mine.full)))  # fmt: skip
    return Recomputed(
        follows="follows" if damaged == len(parts) else "does not follow",
        value=-cell.gain,
        unit="points lost",
        parts=(
            Part(name="other 4-bit losses", value=fmean(others), unit="points", low=min(others), high=max(others)),
            *parts,
        ),
        why=f"It lost {-cell.gain / max(others):.0f} times as much as the next. What is most likely the same "
        f"checkpoint is below all its siblings in {damaged} of {len(parts)} columns of {SELF_EXPLANATIONS.arxiv}, "
        "whose prompts are longer: GPTQ kernels of that time broke on short prompts. Not to be taken for an effect "
        "of the weights before a dequantized run.",
    )


@claim(
    id="fkr-methods",
    paper=FACTUAL_KNOWLEDGE,
    section="3.3",
    statement="GPTQ4, AWQ and bib4 damage more; bib8 and GPTQ8 are nearly clean.",
    mark="B",
    uses=(RECALL,),
    formula="smallest 4-bit loss against largest 8-bit loss of each model on LRE; follows if the former is larger in "
    "all.",
)
def methods(tables: Published) -> Recomputed:
    """Compare the losses at 4 and at 8 bits."""
    parts, right = [], True
    for model in dict.fromkeys(c.model for c in tables.recall):
        losses = {c.variant: -c.gain for c in tables.recall if c.model == model}
        four, eight = ([losses[name] for name in names if name in losses] for names in (FOUR_BIT, EIGHT_BIT))
        right = right and min(four) > max(eight)
        parts += [Part(name=f"{model}: smallest loss at 4 bits", value=min(four), unit="points"),
                  Part(name=f"{model}: largest loss at 8 bits", value=max(eight), unit="points")]  # fmt: skip
    apart = fmean(-c.gain for c in _sound(tables.recall, FOUR_BIT)) - fmean(
        -c.gain for c in _sound(tables.recall, EIGHT_BIT)
    )
    return Recomputed(
        follows="follows" if right else "does not follow",
        value=apart,
        unit="points more at 4 bits",
        parts=tuple(parts),
        why="In every model every 4-bit quantizer lost more than every 8-bit one (mean without the suspect cell). The "
        "paper says it of neurons, too, for which no numbers are printed.",
    )


@claim(
    id="fkr-smaller-loses-more",
    paper=FACTUAL_KNOWLEDGE,
    section="3.4",
    statement="Within Qwen2.5 the smaller model loses more.",
    mark="B",
    uses=(RECALL,),
    formula="loss of 7B minus loss of 14B under each quantizer on LRE, with the unpaired interval of a difference of "
    "two differences; follows if it is positive in most (without the suspect gptq4) and beyond chance in one.",
)
def smaller_loses_more(tables: Published) -> Recomputed:
    """Compare the losses of 7B and 14B."""
    by = {(c.model, c.variant): c for c in tables.recall}
    parts = []
    for name in ("bib4", "bib8", "gptq4", "gptq8", "awq"):
        seven, fourteen = by["Qwen2.5-7B", name], by["Qwen2.5-14B", name]
        first, second = (percent_difference(c.full, c.value, RECALL_ITEMS) for c in (seven, fourteen))
        apart = fourteen.gain - seven.gain
        low = math.hypot(second.estimate - second.low, first.high - first.estimate)
        high = math.hypot(second.high - second.estimate, first.estimate - first.low)
        parts.append(Part(name=name, value=apart, unit="points", low=apart - low, high=apart + high))
    sound = [part for part in parts if part.name != _SUSPECT[1]]
    more = sum(part.value > 0 for part in sound)
    shown = sum(part.low is not None and part.low > 0 for part in sound)
    return Recomputed(
        follows="follows" if 2 * more > len(sound) and shown else "does not follow",
        value=fmean(part.value for part in sound),
        unit="points more lost by 7B",
        parts=tuple(parts),
        why=f"7B loses more under {more} of {len(sound)} quantizers (without the suspect gptq4), by "
        f"{max(p.value for p in sound):.2f} points at most, and {shown} of these differences are beyond chance. On "
        "TwoHopFact it is 14B that loses more under AWQ. The paper may mean its neurons.",
    )


@claim(
    id="fkr-bits-order",
    paper=FACTUAL_KNOWLEDGE,
    section="3.4",
    statement="A lower bit width is not always worse.",
    mark="B",
    uses=(RECALL,),
    formula="4-bit cells at least as good as an 8-bit cell of the same method and model on LRE (bib, gptq); follows "
    "if there is one.",
)
def bits_order(tables: Published) -> Recomputed:
    """Look for a 4-bit cell that matches its 8-bit one."""
    by = {(c.model, c.variant): c for c in tables.recall}
    pairs = [(model, four, eight) for model in dict.fromkeys(c.model for c in tables.recall)
             for four, eight in (("bib4", "bib8"), ("gptq4", "gptq8")) if (model, eight) in by]  # fmt: skip
    parts = []
    for model, four, eight in pairs:
        apart = percent_difference(by[model, eight].value, by[model, four].value, RECALL_ITEMS)
        parts.append(_part(f"{model}: {four} minus {eight}", apart))
    good = sum(part.value >= 0 for part in parts)
    return Recomputed(
        follows="follows" if good else "does not follow",
        value=good,
        unit=f"of {len(parts)} pairs",
        parts=tuple(parts),
        why="On LRE the lower width is worse in every pair. The statement is about two-hop reasoning, where bib4 and "
        "bib8 are printed as one row (fkr-bib-equal), which is no evidence for it.",
    )


@claim(
    id="fkr-llama-gptq-label",
    paper=FACTUAL_KNOWLEDGE,
    section="3.1; 8 no. 1",
    statement="The GPTQ result of Llama3-8B (71.39) is one of 8 bits, as the table of results labels it.",
    stated=71.39,
    unit="%",
    mark="B",
    uses=(RECALL,),
    formula="the cell minus the model's 4-bit cells and minus its 8-bit cell, Newcombe's unpaired intervals; follows "
    "if it differs from all 4-bit cells and not from the 8-bit one.",
)
def llama_gptq_label(tables: Published) -> Recomputed:
    """Hold the cell to the model's 4- and 8-bit cells."""
    by = {c.variant: c for c in tables.recall if c.model == "Llama3-8B"}
    parts = []
    for name in ("bib4", "awq", "bib8"):
        parts.append(_part(f"minus {name}", percent_difference(by[name].value, by["gptq4"].value, RECALL_ITEMS)))
    apart = [part.name for part in parts if part.low is not None and part.high is not None and part.low * part.high > 0]
    return Recomputed(
        follows="follows" if apart == ["minus bib4", "minus awq"] else "does not follow",
        value=parts[-1].value,
        unit="points from bib8",
        low=parts[-1].low,
        high=parts[-1].high,
        parts=tuple(parts),
        why="It is with the 4-bit cells and far from the 8-bit one; only a 4-bit GPTQ checkpoint of the model is "
        "listed, in both papers. Filed here as gptq4.",
    )


@claim(
    id="fkr-figure-one",
    paper=FACTUAL_KNOWLEDGE,
    section="3.4",
    statement="The recall curves of Figure 1 put Llama3-8B lowest.",
    mark="A",
    uses=(RECALL,),
    formula="full-precision recall by model; follows if Llama3-8B's is the lowest.",
)
def figure_one(tables: Published) -> Recomputed:
    """Order the models by recall."""
    full = {c.model: c.full for c in tables.recall}
    return Recomputed(
        follows="follows" if min(full, key=full.__getitem__) == "Llama3-8B" else "does not follow",
        value=full["Llama3-8B"],
        unit="%",
        parts=tuple(Part(name=model, value=value, unit="%") for model, value in full.items()),
        why="In the table it is the highest: the figure is a sketch.",
    )


_FIGURES = "Shown as a figure; no numbers are printed."

CLAIMS = (
    queries,
    eight_bit,
    four_bit,
    collapse,
    methods,
    smaller_loses_more,
    bits_order,
    llama_gptq_label,
    figure_one,
    unpublished(
        id="fkr-saturation", paper=FACTUAL_KNOWLEDGE, section="3.3; 6 no. 3", mark="B", own=saturation, why=_FIGURES,
        statement="Relations that are far from saturation in the full model lose most.",
    ),
    unpublished(
        id="fkr-neurons", paper=FACTUAL_KNOWLEDGE, section="3.3; 6 no. 4", mark="B", why=_FIGURES,
        statement="Of 300 knowledge neurons fewer stay above the threshold after quantization.",
        own=change(FACTUAL_KNOWLEDGE, Target("neurons", "survivors"), expected="negative"),
    ),
    unpublished(
        id="fkr-last-layers", paper=FACTUAL_KNOWLEDGE, section="3.3; 6 no. 4", mark="B", own=last_layers, why=_FIGURES,
        statement="The loss of contribution concentrates in the last two layers (Qwen2.5-7B).",
    ),
    unpublished(
        id="fkr-compensation", paper=FACTUAL_KNOWLEDGE, section="3.3", mark="B", why=_FIGURES,
        statement="In Llama3-8B the loss lies in middle to late layers, and the final layer can rise.",
    ),
    unpublished(
        id="fkr-awq-last-layers", paper=FACTUAL_KNOWLEDGE, section="3.3", mark="B", why=_FIGURES,
        statement="AWQ hurts the last layers more than bitsandbytes.",
    ),
)  # fmt: skip
