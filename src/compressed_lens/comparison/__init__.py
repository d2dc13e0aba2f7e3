"""Comparing variants over a run: figures, transitions, curves, agreement of tests, saturation, model size, ranks."""

from compressed_lens.comparison.bottleneck import Bottleneck, LossPair, bottlenecks, bottlenecks_frame
from compressed_lens.comparison.correlation import Agreement, agreements, agreements_frame
from compressed_lens.comparison.curves import VariantCurve, curves, curves_frame
from compressed_lens.comparison.effects import Effect, effects, effects_frame
from compressed_lens.comparison.frames import figures_frame, metrics_table
from compressed_lens.comparison.items import Reach, reaches, reaches_frame
from compressed_lens.comparison.measures import Figure, figures
from compressed_lens.comparison.mosaic import HopTable, hop_tables, hop_tables_frame
from compressed_lens.comparison.outcomes import OutcomeTable, outcome_tables
from compressed_lens.comparison.overall import Overall, overall, overall_frame
from compressed_lens.comparison.published import lower_is_better, published
from compressed_lens.comparison.ranking import Ranked, Ranking, long_frame, ranking, rankings, rankings_frame
from compressed_lens.comparison.saturation import GroupLoss, Saturation, saturations, saturations_frame
from compressed_lens.comparison.scale import (
    SizeChoice,
    SizeTrend,
    choices_frame,
    size_choices,
    size_trends,
    trends_frame,
)
from compressed_lens.comparison.transitions import Transition, transitions, transitions_frame
from compressed_lens.comparison.uses import USES, UseVerdict, use_frame, use_verdicts

__all__ = [
    "USES",
    "Agreement",
    "Bottleneck",
    "Effect",
    "Figure",
    "GroupLoss",
    "HopTable",
    "LossPair",
    "OutcomeTable",
    "Overall",
    "Ranked",
    "Ranking",
    "Saturation",
    "Reach",
    "SizeChoice",
    "SizeTrend",
    "Transition",
    "UseVerdict",
    "VariantCurve",
    "agreements",
    "agreements_frame",
    "bottlenecks",
    "bottlenecks_frame",
    "choices_frame",
    "curves",
    "curves_frame",
    "effects",
    "effects_frame",
    "figures",
    "figures_frame",
    "hop_tables",
    "hop_tables_frame",
    "long_frame",
    "lower_is_better",
    "metrics_table",
    "outcome_tables",
    "overall",
    "overall_frame",
    "published",
    "ranking",
    "rankings",
    "rankings_frame",
    "reaches",
    "reaches_frame",
    "saturations",
    "saturations_frame",
    "size_choices",
    "size_trends",
    "transitions",
    "transitions_frame",
    "trends_frame",
    "use_frame",
    "use_verdicts",
]
