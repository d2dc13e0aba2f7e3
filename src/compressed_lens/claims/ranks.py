"""Claims on the ranking of quantizers and on model size (2601.00282)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from compressed_lens.claims.claim import SELF_EXPLANATIONS, Part, Recomputed, claim, unpublished
from compressed_lens.claims.own_ranks import REPLICATES, first_in, leaders
from compressed_lens.claims.published import TABLE_ONE, Published, signs
from compressed_lens.comparison import Ranking, published, ranking
from compressed_lens.comparison.ranking import RULES, TIES
from compressed_lens.statistics import Concordance, concordance

if TYPE_CHECKING:
    import polars as pl

_SEED = 20_240_614
_FEWEST = 2
_FULL_RANKS: Mapping[str, str] = {"awq": "2.58", "gptq4": "2.62", "bib8": "2.76", "bib4": "3.13", "gptq8": "3.36"}
_QWEN_RANKS: Mapping[str, str] = {"awq": "2.74", "gptq4": "2.75", "bib8": "2.99", "bib4": "3.16", "gptq8": "3.36"}
_COMMON_RANKS: Mapping[str, str] = {"awq": "2.28", "gptq4": "2.43", "bib8": "2.47", "bib4": "2.82"}
_BILLIONS = {"Qwen2.5-7B": 7, "Qwen2.5-14B": 14, "Qwen2.5-32B": 32, "Qwen2.5-72B": 72, "Llama3-8B": 8, "Llama3-70B": 70}
_ALPHA = 0.05


def _rules() -> str:
    return f"{TIES}; {RULES['skip']}; rows are (model, column) pairs"


def _ranked(frame: pl.DataFrame, rule: str = "skip") -> Ranking:
    return ranking(frame, rule="common" if rule == "common" else "skip", replicates=REPLICATES)


def _parts(found: Ranking, told: str = "") -> tuple[Part, ...]:
    return tuple(
        Part(name=f"{told}{one.variant}", value=one.mean_rank, unit="mean rank", low=one.low, high=one.high)
        for one in found.ranked
    )


def _agrees(found: Ranking, stated: Mapping[str, str]) -> bool:
    told = {one.variant: f"{one.mean_rank:.2f}" for one in found.ranked}
    return told == dict(stated) and list(told) == list(stated)


@claim(
    id="se-quality-rank",
    paper=SELF_EXPLANATIONS,
    section="2.11 no. 10; 2.12 no. 6; 6 no. 10",
    statement="AWQ ranks first for the quality of self-explanations (by our rule with 2.58, before gptq4 2.62, bib8 "
    "2.76, bib4 3.13 and gptq8 3.36).",
    stated=2.58,
    unit="mean rank",
    mark="A",
    uses=(TABLE_ONE,),
    formula=f"{_rules()}. Follows if order and ranks are the stated ones.",
    own=first_in("quality", "awq"),
)
def quality_rank(tables: Published) -> Recomputed:
    """Rank the quantizers over Table 1."""
    import polars as pl

    long = published(tables.frames[TABLE_ONE])
    whole = _ranked(long)
    qwen = _ranked(long.filter(pl.col("model").str.starts_with("Qwen")))
    common = _ranked(long, "common")
    first, second = whole.ranked[:2]
    right = _agrees(whole, _FULL_RANKS) and _agrees(qwen, _QWEN_RANKS) and _agrees(common, _COMMON_RANKS)
    return Recomputed(
        follows="follows" if right else "does not follow",
        value=first.mean_rank,
        unit="mean rank",
        low=first.low,
        high=first.high,
        parts=(*_parts(whole), *_parts(qwen, "Qwen2.5 only: "), *_parts(common, "quantizers of every model: ")),
        why=f"{first.variant} is first, {second.mean_rank - first.mean_rank:.2f} before {second.variant}; two "
        f"quantizers differ beyond {whole.critical_difference:.2f}, and Friedman's p is {whole.p:.2f}: the table "
        "does not show that any quantizer is better than another.",
    )


@claim(
    id="se-halves-disagree",
    paper=SELF_EXPLANATIONS,
    section="2.12 no. 6",
    statement="The two halves of Table 1 disagree: awq is first on CFEs (2.26) but fourth on NLEs (3.04), where gptq4 "
    "leads (2.27).",
    stated=2.26,
    unit="mean rank",
    mark="D",
    uses=(TABLE_ONE,),
    formula=f"{_rules()}, CFE and NLE columns apart. Follows if these three ranks and places are the stated ones.",
)
def halves_disagree(tables: Published) -> Recomputed:
    """Rank the quantizers over each half of Table 1."""
    import polars as pl

    long = published(tables.frames[TABLE_ONE])
    edits, texts = (_ranked(long.filter(pl.col("column").str.starts_with(kind))) for kind in ("cfe", "nle"))
    places = [one.variant for one in texts.ranked]
    ranks = (f"{edits.ranked[0].mean_rank:.2f}", f"{texts.ranked[0].mean_rank:.2f}",
             f"{texts.ranked[places.index('awq')].mean_rank:.2f}")  # fmt: skip
    right = (edits.ranked[0].variant, places[0], places.index("awq"), ranks) == (
        "awq", "gptq4", 3, ("2.26", "2.27", "3.04"))  # fmt: skip
    return Recomputed(
        follows="follows" if right else "does not follow",
        value=edits.ranked[0].mean_rank,
        unit="mean rank",
        low=edits.ranked[0].low,
        high=edits.ranked[0].high,
        parts=(*_parts(edits, "CFE: "), *_parts(texts, "NLE: ")),
        why="First place overall hides that the leader of one half is near the end of the other.",
    )


@claim(
    id="se-bits-no-order",
    paper=SELF_EXPLANATIONS,
    section="2.12 no. 6",
    statement="Bit width does not order quality: gptq8 is last.",
    mark="D",
    uses=(TABLE_ONE,),
    formula=f"{_rules()}. Follows if gptq8 has the largest mean rank among all and among Qwen2.5 only.",
)
def bits_no_order(tables: Published) -> Recomputed:
    """Look for the widest quantizer at the end of the ranking."""
    import polars as pl

    long = published(tables.frames[TABLE_ONE])
    whole, qwen = _ranked(long), _ranked(long.filter(pl.col("model").str.starts_with("Qwen")))
    last = {found.ranked[-1].variant for found in (whole, qwen)}
    return Recomputed(
        follows="follows" if last == {"gptq8"} else "does not follow",
        value=whole.ranked[-1].mean_rank,
        unit="mean rank",
        low=whole.ranked[-1].low,
        high=whole.ranked[-1].high,
        parts=_parts(qwen, "Qwen2.5 only: "),
        why="gptq8 exists for Qwen2.5 only, so the second ranking is the fair one. That one quantizer is worse than "
        "another is not shown by either.",
    )


@claim(
    id="se-size-quality",
    paper=SELF_EXPLANATIONS,
    section="2.11 no. 7",
    statement="In quality, larger models are not clearly more resilient to quantization.",
    mark="A",
    uses=(TABLE_ONE,),
    formula="Spearman's correlation of model size and share of worse cells over the six models, and over the four "
    "Qwen2.5; follows if its p is not below 5 %.",
)
def size_quality(tables: Published) -> Recomputed:
    """Correlate model size with the share of worse cells."""
    shares = {}
    for model in _BILLIONS:
        better, worse, same = signs([c for c in tables.table_one if c.model == model])
        shares[model] = worse / (better + worse + same)
    found = _size_correlation(list(shares), shares)
    qwen = _size_correlation([name for name in shares if name.startswith("Qwen")], shares)
    return Recomputed(
        follows="does not follow" if found.p < _ALPHA else "follows",
        value=found.estimate,
        unit="rho",
        parts=(
            Part(name="Qwen2.5 only", value=qwen.estimate, unit="rho"),
            *(Part(name=f"{model}: share of worse cells", value=100 * v, unit="%") for model, v in shares.items()),
        ),
        why=f"p is {found.p:.2f} with six models: no trend is shown, and only a nearly perfect order would be.",
    )


def _size_correlation(models: Sequence[str], shares: Mapping[str, float]) -> Concordance:
    return concordance([_BILLIONS[m] for m in models], [shares[m] for m in models], seed=_SEED)


_RANKS_ONLY = "Figure 11 gives ranks without the values they come from"

CLAIMS = (
    quality_rank,
    halves_disagree,
    bits_no_order,
    size_quality,
    unpublished(
        id="se-task-rank", paper=SELF_EXPLANATIONS, section="2.11 no. 10", mark="A",
        statement="GPTQ8 ranks first for task performance.", why=f"{_RANKS_ONLY}; accuracies are not published.",
        own=first_in("task", "gptq8"),
    ),
    unpublished(
        id="se-faithfulness-rank", paper=SELF_EXPLANATIONS, section="2.11 no. 10", mark="A",
        statement="bib8 ranks first for faithfulness.", why=f"{_RANKS_ONLY}, and Table 2 is not among the tables we "
        "have.",
        own=first_in("faithfulness", "bib8"),
    ),
    unpublished(
        id="se-no-winner", paper=SELF_EXPLANATIONS, section="2.11 no. 10; 6 no. 10", mark="A",
        statement="No quantizer ranks first in task performance, quality and faithfulness alike; explanation and task "
        "preservation trade off.",
        why="It follows from the three stated first places (gptq8, awq, bib8), of which only that of quality can be "
        "recomputed. Nothing is published on how sure the places are.",
        own=leaders,
    ),
)  # fmt: skip
