"""Claims on people's and judges' ratings (2601.00282, Tables 4 and 5)."""

from __future__ import annotations

import math
from statistics import fmean

from compressed_lens.claims.claim import SELF_EXPLANATIONS, Part, Recomputed, claim, unpublished
from compressed_lens.claims.own_explanations import judges_apart
from compressed_lens.claims.published import JUDGES, Published, select
from compressed_lens.statistics import concordance, normal_quantile

_JUDGES = ("deepseek_r1", "gpt_oss_120b", "gemma3_27b")
_DIMENSIONS = ("nle_trust", "nle_coherence", "cfe_trust", "cfe_coherence")
_STATED = {
    "nle_trust": (-0.09, -0.28, 0.0),
    "nle_coherence": (0.0, -0.23, -0.06),
    "cfe_trust": (0.25, -0.40, 0.10),
    "cfe_coherence": (0.31, -0.38, 0.19),
}
_ITEMS = 15
_HUNDRED = 100
_TWO = 2
_NO_TABLE_FOUR = "Its Table 4 (means of people's ratings) is not among the tables we have."
_SEED = 20_240_615


def judge_changes(tables: Published, leave_out: str = "") -> dict[str, tuple[float, ...]]:
    """Return, for each dimension, each judge's mean over quantized cells minus its mean over full-precision cells."""
    found: dict[str, tuple[float, ...]] = {}
    for dimension in _DIMENSIONS:
        means = []
        for judge in _JUDGES:
            cells = [c for c in select(tables.judges, columns=(f"{dimension}_{judge}",)) if c.model != leave_out]
            full = {c.model: c.full for c in cells}
            means.append(fmean(c.value for c in cells) - fmean(full.values()))
        found[dimension] = tuple(means)
    return found


@claim(
    id="se-judge-signs",
    paper=SELF_EXPLANATIONS,
    section="2.12 no. 7; 6 no. 11",
    statement="Judges disagree even on the sign of the effect: for CFE trust +0.25, -0.40, +0.10, for CFE coherence "
    "+0.31, -0.38, +0.19 (DeepSeek-R1, GPT-OSS-120B, Gemma3-27B).",
    mark="D",
    uses=(JUDGES,),
    formula="mean of 9 quantized cells minus mean of 3 full-precision cells, by judge and dimension (for NLEs -0.09, "
    "-0.28, 0.00 and 0.00, -0.23, -0.06); follows if all twelve round to the stated ones and signs differ in both "
    "CFE dimensions.",
    own=judges_apart,
)
def judge_signs(tables: Published) -> Recomputed:
    """Average the judges' ratings over quantized and full-precision cells."""
    found = judge_changes(tables)
    right = all(
        abs(value - stated) <= 0.005 + 1e-9  # noqa: PLR2004 - half a unit of the last printed digit
        for name, values in found.items()
        for value, stated in zip(values, _STATED[name], strict=True)
    )
    split = [name for name, values in found.items() if min(values) < 0 < max(values)]
    return Recomputed(
        follows="follows" if right and {"cfe_trust", "cfe_coherence"} <= set(split) else "does not follow",
        value=len(split),
        unit=f"of {len(found)} dimensions with both signs",
        parts=tuple(
            Part(name=f"{name}, {judge}", value=value, unit="points of 1 to 5")
            for name, values in found.items()
            for judge, value in zip(_JUDGES, values, strict=True)
        ),
        why="The CFE dimensions have both signs by a wide margin; in NLE coherence one of the signs is a rounding "
        "error.",
    )


@claim(
    id="se-judge-one-cell",
    paper=SELF_EXPLANATIONS,
    section="2.12 no. 7",
    statement="The fall that GPT-OSS-120B sees in CFEs rests on one cell, Qwen2.5-32B at full precision (2.87 and "
    "3.73).",
    mark="D",
    uses=(JUDGES,),
    formula="the same difference without Qwen2.5-32B; follows if its size falls below a quarter in both dimensions.",
)
def one_cell(tables: Published) -> Recomputed:
    """Leave the model out whose full-precision cell stands out."""
    place = _JUDGES.index("gpt_oss_120b")
    whole, rest = judge_changes(tables), judge_changes(tables, leave_out="Qwen2.5-32B")
    pairs = {name: (whole[name][place], rest[name][place]) for name in ("cfe_trust", "cfe_coherence")}
    return Recomputed(
        follows="follows" if all(4 * abs(left) < abs(all_) for all_, left in pairs.values()) else "does not follow",
        value=pairs["cfe_trust"][1],
        unit="points of 1 to 5",
        parts=tuple(
            Part(name=f"{name}, {told}", value=value, unit="points of 1 to 5")
            for name, values in pairs.items()
            for told, value in zip(("all models", "without Qwen2.5-32B"), values, strict=True)
        ),
        why="Without that model the judge sees next to no change.",
    )


@claim(
    id="se-judge-noise",
    paper=SELF_EXPLANATIONS,
    section="2.12 no. 7",
    statement="With 15 items a cell, none of the judges' mean changes is significant.",
    mark="D",
    uses=(JUDGES,),
    formula="spread of single ratings at which a difference of means of 9 x 15 and 3 x 15 ratings just reaches 95 %: "
    "|difference| / (1.96 sqrt(1/135 + 1/45)). Ratings on 1 to 5 cannot spread by more than 2.",
)
def judge_noise(tables: Published) -> Recomputed:
    """Say how far single ratings would have to spread for the changes to be noise."""
    factor = normal_quantile(0.95) * math.sqrt(1 / (9 * _ITEMS) + 1 / (3 * _ITEMS))
    needed = {
        f"{name}, {judge}": abs(value) / factor
        for name, values in judge_changes(tables).items()
        for judge, value in zip(_JUDGES, values, strict=True)
    }
    largest = sorted(needed.items(), key=lambda item: -item[1])
    return Recomputed(
        follows="cannot be computed",
        value=largest[0][1],
        unit="points of standard deviation",
        parts=tuple(Part(name=name, value=value, unit="points of standard deviation") for name, value in largest),
        why="Spreads of single ratings are not published. The largest changes are noise only if ratings spread by "
        f"more than {largest[0][1]:.2f} points; ratings of one item under several precisions go together, which "
        "helps a paired test.",
    )


@claim(
    id="se-judges-agree",
    paper=SELF_EXPLANATIONS,
    section="2.9; 6 no. 11",
    statement="Judges can agree strongly with each other.",
    mark="A",
    uses=(JUDGES,),
    formula="Spearman's correlation of each pair of judges over the 12 cells of a dimension; follows if one exceeds "
    "0.7.",
)
def judges_agree(tables: Published) -> Recomputed:
    """Correlate the judges over the cells of each dimension."""
    frame = tables.frames[JUDGES]
    pairs = [(a, b) for n, a in enumerate(_JUDGES) for b in _JUDGES[n + 1 :]]
    parts = []
    for dimension in _DIMENSIONS:
        for a, b in pairs:
            found = concordance(frame[f"{dimension}_{a}"].to_numpy(), frame[f"{dimension}_{b}"].to_numpy(), seed=_SEED)
            parts.append(Part(name=f"{dimension}: {a} and {b}", value=found.estimate, unit="rho", low=found.low,
                              high=found.high))  # fmt: skip
    best = max(parts, key=lambda part: part.value)
    strong = sum(part.value > 0.7 for part in parts)  # noqa: PLR2004 - stated in the formula
    edits = max(part.value for part in parts if part.name.startswith("cfe"))
    return Recomputed(
        follows="follows" if strong else "does not follow",
        value=best.value,
        unit="rho",
        low=best.low,
        high=best.high,
        parts=tuple(parts),
        why=f"{strong} of {len(parts)} pairs exceed 0.7, all on NLEs; on CFEs the highest is {edits:.2f}. These are "
        "means of cells; agreement on single items, as in Figures 6 and 8, needs their ratings.",
    )


def printed_as(value: float, items: int) -> bool:
    """Whether a mean of `items` whole ratings from 1 to 5 could be printed so, rounded or cut to two decimals."""
    hundredths = round(value * _HUNDRED)
    totals = range(items, 5 * items + 1)
    return any(hundredths in (total * _HUNDRED // items, round(total * _HUNDRED / items)) for total in totals)


@claim(
    id="se-15-items",
    paper=SELF_EXPLANATIONS,
    section="2.8",
    statement="Judges rated 15 items a cell: 142 of 144 cells are multiples of 1/15, the others of 1/14.",
    stated=142,
    unit="cells",
    mark="D",
    uses=(JUDGES,),
    formula="cells that are k/15 for a whole k, rounded or cut to two decimals; the others as k/14. Follows if 142 "
    "and 2.",
)
def fifteen_items(tables: Published) -> Recomputed:
    """Count the cells that fifteen whole ratings could give."""
    frame = tables.frames[JUDGES]
    cells = [value for name in frame.columns[2:] for value in frame[name].to_list()]
    others = [value for value in cells if not printed_as(value, _ITEMS)]
    fourteenths = [value for value in others if printed_as(value, _ITEMS - 1)]
    fits = len(cells) - len(others)
    return Recomputed(
        follows="follows" if (fits, len(others), len(fourteenths)) == (142, 2, 2) else "does not follow",
        value=fits,
        unit=f"cells of {len(cells)}",
        parts=tuple(Part(name="a multiple of 1/14 instead", value=value) for value in fourteenths),
        why="A mean of 14 is what one unreadable rating of 15 would leave.",
    )


@claim(
    id="se-bookkeeping",
    paper=SELF_EXPLANATIONS,
    section="2.8; 9.1 F18",
    statement="48 people with 15 explanations each are 3 models x 4 precisions x 30 explanations x 2 raters = 720.",
    stated=720,
    unit="ratings",
    mark="D",
    uses=(JUDGES,),
    formula="48 x 15 against models x precisions of Table 5 x 30 x 2; follows if they are equal.",
)
def bookkeeping(tables: Published) -> Recomputed:
    """Multiply the design of the human study out."""
    cells = len(tables.frames[JUDGES])
    return Recomputed(
        follows="follows" if cells * 30 * 2 == 48 * 15 else "does not follow",
        value=cells * 30 * 2,
        unit="ratings",
        parts=(Part(name="model-precision pairs of Table 5", value=cells), Part(name="48 x 15", value=48 * 15)),
        why="The design closes with 15 NLEs and 15 CFEs a model-precision pair, each rated by two people.",
    )


CLAIMS = (
    unpublished(
        id="se-human-fall", paper=SELF_EXPLANATIONS, section="2.8; 2.11 no. 4", mark="A", stated=-8.5, unit="%",
        statement="People find explanations of quantized models less trustworthy and coherent, by up to 8.5 %.",
        why=_NO_TABLE_FOUR,
    ),
    unpublished(
        id="se-human-agreement", paper=SELF_EXPLANATIONS, section="2.8", mark="A", stated=0.71, unit="alpha",
        statement="Krippendorff's alpha of the raters is 0.71 for NLEs and 0.64 for CFEs.",
        why="Single ratings are not published.",
    ),
    unpublished(
        id="se-human-stable", paper=SELF_EXPLANATIONS, section="4; 8 no. 9", mark="A",
        statement="People's ratings are mostly lower under quantization; the first version of the work reported them "
        "mixed.",
        why=f"The authors' two studies differ, and neither's ratings are here. {_NO_TABLE_FOUR}",
    ),
    unpublished(
        id="se-judges-fail", paper=SELF_EXPLANATIONS, section="2.9; 2.11 no. 12", mark="A",
        statement="Judges fail to track the effect that people see; correlations are weak or negative, worse for CFEs.",
        why=f"Figures 6 to 9 have no numbers. {_NO_TABLE_FOUR} The signs of the judges are checked in se-judge-signs.",
    ),
    judge_signs,
    one_cell,
    judge_noise,
    judges_agree,
    fifteen_items,
    bookkeeping,
)  # fmt: skip
