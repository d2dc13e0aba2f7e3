"""Claims on label flips and on the faithfulness of self-explanations (2601.00282)."""

from __future__ import annotations

import math
from statistics import fmean

from compressed_lens.claims.claim import SELF_EXPLANATIONS, Part, Recomputed, claim, unpublished
from compressed_lens.claims.own import BIASING, CC_SHAP, EDIT_TEST, FLIPS, SELF_CHECK
from compressed_lens.claims.own_changes import change, kept
from compressed_lens.claims.own_explanations import larger_choice, size_trend, standard_errors
from compressed_lens.claims.published import EDIT_ITEMS, TABLE_ONE, Published, percent_difference, select, signs

_NLE_METHODS = ("edit_test", "biasing", "cc_shap")
_NO_TABLE_TWO = (
    "Its Table 2 (faithfulness of each model) is not among the tables we have; Table 1 has no NLE faithfulness."
)
_STEP = 0.2
_ROUNDED = 0.0051
_QWEN = {"Qwen2.5-7B": 7, "Qwen2.5-14B": 14, "Qwen2.5-32B": 32, "Qwen2.5-72B": 72}


@claim(
    id="se-lfr-rises",
    paper=SELF_EXPLANATIONS,
    section="2.12, table and no. 2",
    statement="Mean label flip rate does not fall under quantization, it rises: +0.18 points on e-SNLI, +1.62 on AG "
    "News.",
    stated=0.90,
    unit="points",
    mark="D",
    uses=(TABLE_ONE,),
    formula="mean of (quantized - full) over 28 cells a data set, and over all 56; follows if all three are the "
    "stated ones.",
    own=change(SELF_EXPLANATIONS, FLIPS, expected="positive"),
)
def lfr_rises(tables: Published) -> Recomputed:
    """Average the changes of LFR."""
    changes = select(tables.table_one, ends="lfr")
    means = {column: fmean(c.gain for c in select(changes, columns=(column,))) for column in
             ("cfe_esnli_lfr", "cfe_ag_lfr")}  # fmt: skip
    overall = fmean(c.gain for c in changes)
    holds = [round(value, 2) for value in (*means.values(), overall)] == [0.18, 1.62, 0.90]
    better, worse, same = signs(changes)
    return Recomputed(
        follows="follows" if holds else "does not follow",
        value=overall,
        unit="points",
        parts=(
            *(Part(name=f"mean of {name}", value=value, unit="points") for name, value in means.items()),
            Part(
                name="mean without Llama3-8B, whose texts are rewritten on AG News",
                value=fmean(c.gain for c in changes if c.model != "Llama3-8B"),
                unit="points",
            ),
        ),
        why=f"{better} cells rise, {worse} fall, {same} stay.",
    )


@claim(
    id="se-cfe-faithfulness",
    paper=SELF_EXPLANATIONS,
    section="2.11 no. 2; 2.12 no. 2; 8 no. 6",
    statement="The faithfulness of CFEs falls by 1.54 % on average; the text says it equals the label flip rate.",
    stated=-1.54,
    unit="%",
    mark="A",
    uses=(TABLE_ONE,),
    formula="mean of (quantized - full) of LFR over 56 cells, in points and relative; follows if one of them rounds "
    "to the stated one.",
    own=change(SELF_EXPLANATIONS, SELF_CHECK, FLIPS, expected="negative"),
)
def cfe_faithfulness(tables: Published) -> Recomputed:
    """Hold the stated fall to the rise of LFR."""
    changes = select(tables.table_one, ends="lfr")
    points, relative = fmean(c.gain for c in changes), fmean(c.relative for c in changes)
    by = {
        name: fmean(c.gain for c in changes if c.variant == name) for name in ("bib4", "bib8", "gptq4", "gptq8", "awq")
    }
    hit = any(round(value, 2) == -1.54 for value in (points, relative))  # noqa: PLR2004 - the stated number
    return Recomputed(
        follows="follows" if hit else "does not follow",
        value=relative,
        unit="%",
        parts=(
            Part(name="mean change", value=points, unit="points"),
            *(Part(name=f"mean change under {name}", value=value, unit="points") for name, value in by.items()),
        ),
        why=f"If faithfulness is the label flip rate, it rises by {points:.2f} points ({relative:+.2f} % relative) in "
        "Table 1. The text may average another set, or the transitions of Figure 3.",
    )


@claim(
    id="se-lfr-noise",
    paper=SELF_EXPLANATIONS,
    section="2.12 no. 3",
    statement="With 500 items a label flip rate has a standard error of about 2.1 points, so most changes in Table 1 "
    "may be noise.",
    stated=2.1,
    unit="points",
    mark="D",
    uses=(TABLE_ONE,),
    formula="sqrt(p (1 - p) / 500), mean over the 56 quantized cells; Newcombe's unpaired 95 % interval of each "
    "change, which is conservative. Follows if the standard error rounds to 2.1 and most intervals hold zero.",
    own=standard_errors,
)
def lfr_noise(tables: Published) -> Recomputed:
    """Count the changes of LFR whose interval holds zero."""
    changes = select(tables.table_one, ends="lfr")
    errors = [100 * math.sqrt(c.value / 100 * (1 - c.value / 100) / EDIT_ITEMS) for c in changes]
    intervals = [(c, percent_difference(c.full, c.value, EDIT_ITEMS)) for c in changes]
    apart = [(c, i) for c, i in intervals if i.excludes_zero]
    small = sum(abs(c.gain) < 4 for c in changes)  # noqa: PLR2004 - the size that the statement of 2.12 names
    error = fmean(errors)
    return Recomputed(
        follows="follows" if round(error, 1) == 2.1 and 2 * len(apart) < len(changes) else "does not follow",  # noqa: PLR2004
        value=error,
        unit="points",
        parts=(
            Part(name=f"changes whose interval holds zero, of {len(changes)}", value=len(changes) - len(apart)),
            Part(name="changes below 4 points", value=small),
            *(
                Part(name=f"{c.model} {c.variant} {c.column}", value=i.estimate, unit="points", low=i.low, high=i.high)
                for c, i in apart
            ),
        ),
        why=f"{len(changes) - len(apart)} of {len(changes)} changes could be noise by an unpaired interval; paired "
        f"ones need the items, which are not published. {0.05 * len(changes):.1f} would leave out zero by chance "
        "alone.",
    )


@claim(
    id="se-500-items",
    paper=SELF_EXPLANATIONS,
    section="2.4",
    statement="CFE cells rest on 500 items: 67 of 68 label flip rates are multiples of 0.2 %, the other is 310 of 490.",
    stated=67,
    unit="cells",
    mark="D",
    uses=(TABLE_ONE,),
    formula="LFR cells, full precision included, that are k/500; smallest n of which all are k/n. Follows if 67 of 68.",
)
def five_hundred(tables: Published) -> Recomputed:
    """Count the multiples of 1/500 among the label flip rates."""
    frame = tables.frames[TABLE_ONE]
    cells = [value for column in ("cfe_esnli_lfr", "cfe_ag_lfr") for value in frame[column].to_list()]
    exact = [value for value in cells if abs(value / _STEP - round(value / _STEP)) < 1e-6]  # noqa: PLR2004
    others = [value for value in cells if value not in exact]
    fitting = next(n for n in range(1, 501) if all(abs(round(v / 100 * n) / n * 100 - v) < _ROUNDED for v in exact))
    return Recomputed(
        follows="follows"
        if (len(exact), len(cells), others) == (67, 68, [round(31_000 / 490, 2)])
        else "does not follow",
        value=len(exact),
        unit=f"cells of {len(cells)}",
        parts=(
            Part(name="smallest number of items that gives all of them", value=fitting, unit="items"),
            *(Part(name="not a multiple", value=value, unit="%") for value in others),
        ),
        why=f"No fewer than {fitting} items give these cells to two decimals; the odd one fits 310 of 490.",
    )


@claim(
    id="se-nle-mean-of-tests",
    paper=SELF_EXPLANATIONS,
    section="2.11 no. 2 and 3",
    statement="NLE faithfulness falls by 2.38 % on average, -1.6 % in the counterfactual test and -3.8 % with biasing "
    "features.",
    stated=-2.38,
    unit="%",
    mark="A",
    uses=(),
    formula="plain mean of the stated changes of the two rates, also with CC-SHAP's -0.04; follows if one rounds to "
    "-2.38.",
)
def nle_mean_of_tests(_: Published) -> Recomputed:
    """Average the stated changes of the tests."""
    two, three = fmean((-1.6, -3.8)), fmean((-1.6, -3.8, -0.04))
    return Recomputed(
        follows="follows" if -2.38 in (round(two, 2), round(three, 2)) else "cannot be computed",  # noqa: PLR2004
        value=two,
        unit="%",
        parts=(
            Part(name="with CC-SHAP as it is printed", value=three, unit="%"),
            Part(name="what a third test would need to have lost", value=-3 * 2.38 + 1.6 + 3.8, unit="%"),
        ),
        why="The mean of the stated changes is another one, but the paper may average the cells of its Table 2, which "
        "we do not have, or count CC-SHAP in per cent.",
    )


@claim(
    id="se-larger-quantized-cfe",
    paper=SELF_EXPLANATIONS,
    section="2.11 no. 8",
    statement="A larger quantized model is more often faithful than a smaller full-precision one (here: its CFEs).",
    mark="A",
    uses=(TABLE_ONE,),
    formula="LFR of each quantized Qwen2.5 cell against that of every smaller full-precision Qwen2.5; follows if it "
    "is higher in more than half.",
    own=larger_choice("self_consistency", "counterfactual"),
)
def larger_quantized_cfe(tables: Published) -> Recomputed:
    """Compare larger quantized with smaller full-precision models by LFR."""
    changes = [c for c in select(tables.table_one, ends="lfr") if c.model in _QWEN]
    full = {(c.model, c.column): c.full for c in changes}
    won: dict[str, list[bool]] = {}
    for c in changes:
        for (model, column), value in full.items():
            if column == c.column and _QWEN[model] < _QWEN[c.model]:
                won.setdefault(column, []).append(c.value > value)
    every = [one for wins in won.values() for one in wins]
    return Recomputed(
        follows="follows" if 2 * sum(every) > len(every) else "does not follow",
        value=sum(every),
        unit=f"pairs of {len(every)}",
        parts=tuple(Part(name=f"{name}, of {len(wins)}", value=sum(wins), unit="pairs") for name, wins in won.items()),
        why="Label flip rates of Qwen2.5 fall with size at full precision, too, so a larger model is behind by this "
        "measure. The statement may be meant for NLEs only, for which we have no cells.",
    )


CLAIMS = (
    lfr_rises,
    cfe_faithfulness,
    lfr_noise,
    five_hundred,
    nle_mean_of_tests,
    unpublished(
        id="se-counterfactual-test", paper=SELF_EXPLANATIONS, section="2.11 no. 3", mark="A", stated=-1.6, unit="%",
        statement="Fewer NLEs pass the counterfactual test: -1.6 %.", why=_NO_TABLE_TWO,
        own=change(SELF_EXPLANATIONS, EDIT_TEST, expected="negative"),
    ),
    unpublished(
        id="se-biasing-features", paper=SELF_EXPLANATIONS, section="2.11 no. 3", mark="A", stated=-3.8, unit="%",
        statement="Fewer NLEs pass the test with biasing features: -3.8 %.", why=_NO_TABLE_TWO,
        own=change(SELF_EXPLANATIONS, BIASING, expected="negative"),
    ),
    unpublished(
        id="se-cc-shap", paper=SELF_EXPLANATIONS, section="2.11 no. 3", mark="A", stated=-0.04, unit="",
        statement="CC-SHAP of NLEs falls by 0.04.", why=_NO_TABLE_TWO,
        own=change(SELF_EXPLANATIONS, CC_SHAP, expected="negative"),
    ),
    unpublished(
        id="se-llama-hurt-more", paper=SELF_EXPLANATIONS, section="2.11 no. 6; 6 no. 9", mark="A",
        statement="NLE faithfulness of Llama3 is hurt more than that of Qwen2.5, above all at 4 bits.",
        why=_NO_TABLE_TWO,
    ),
    unpublished(
        id="se-larger-keep-it", paper=SELF_EXPLANATIONS, section="2.11 no. 7; 6 no. 9", mark="A",
        statement="NLEs of larger models are more faithful and keep it better under quantization.", why=_NO_TABLE_TWO,
        own=size_trend(*_NLE_METHODS),
    ),
    unpublished(
        id="se-larger-quantized-nle", paper=SELF_EXPLANATIONS, section="2.11 no. 8", mark="A",
        statement="A larger quantized model is more often faithful than a smaller full-precision one (its NLEs).",
        why=_NO_TABLE_TWO, own=larger_choice(*_NLE_METHODS),
    ),
    larger_quantized_cfe,
    unpublished(
        id="se-status-kept", paper=SELF_EXPLANATIONS, section="2.11 no. 9; 6 no. 8", mark="A",
        statement="Most items keep their faithfulness status; more are lost than gained.",
        why="Figure 3 shows it without numbers; item-level outcomes are not published.",
        own=kept(SELF_EXPLANATIONS, EDIT_TEST, BIASING, SELF_CHECK, FLIPS),
    ),
)  # fmt: skip
