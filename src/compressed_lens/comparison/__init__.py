"""Comparing variants over a whole run: paired figures, transitions, agreement of tests, model size, quantizer ranks."""

from compressed_lens.comparison.correlation import Agreement, agreements, agreements_frame
from compressed_lens.comparison.measures import Figure, figures, figures_frame, metrics_table
from compressed_lens.comparison.outcomes import OutcomeTable, outcome_tables
from compressed_lens.comparison.published import lower_is_better, published
from compressed_lens.comparison.ranking import Ranked, Ranking, long_frame, ranking, rankings, rankings_frame
from compressed_lens.comparison.scale import (
    SizeChoice,
    SizeTrend,
    choices_frame,
    size_choices,
    size_trends,
    trends_frame,
)
from compressed_lens.comparison.transitions import Transition, transitions, transitions_frame

__all__ = [
    "Agreement",
    "Figure",
    "OutcomeTable",
    "Ranked",
    "Ranking",
    "SizeChoice",
    "SizeTrend",
    "Transition",
    "agreements",
    "agreements_frame",
    "choices_frame",
    "figures",
    "figures_frame",
    "long_frame",
    "lower_is_better",
    "metrics_table",
    "outcome_tables",
    "published",
    "ranking",
    "rankings",
    "rankings_frame",
    "size_choices",
    "size_trends",
    "transitions",
    "transitions_frame",
    "trends_frame",
]
