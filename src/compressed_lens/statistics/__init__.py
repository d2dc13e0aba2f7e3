"""Statistics of paired comparisons: bootstrap intervals, rates, flips. NumPy, and SciPy where it has them."""

from compressed_lens.statistics.agreement import alpha_interval, cohen_kappa, krippendorff_alpha
from compressed_lens.statistics.bootstrap import (
    FEW_CHANGES,
    bootstrap_means,
    mean_interval,
    mean_intervals,
    paired_bootstrap,
    paired_bootstraps,
)
from compressed_lens.statistics.concordance import Concordance, concordance
from compressed_lens.statistics.correlation import Correlation, correlation
from compressed_lens.statistics.crossed import crossed_difference, crossed_mean
from compressed_lens.statistics.effects import cliffs_delta, standardized_difference
from compressed_lens.statistics.equivalence import FEWEST_ALIKE, FEWEST_PAIRS, MarginTest, margin_test, stands
from compressed_lens.statistics.flips import Flips, flip_odds, flips, mcnemar_mid_p, mcnemar_p
from compressed_lens.statistics.hierarchical import HierarchicalInterval, hierarchical_interval
from compressed_lens.statistics.interval import Interval, normal_quantile, paired_rate_interval, rate_interval
from compressed_lens.statistics.linear_mixed import LinearFit, linear_mixed
from compressed_lens.statistics.multiplicity import benjamini_hochberg, benjamini_yekutieli, holm, max_statistic_p
from compressed_lens.statistics.ordinal_mixed import OrdinalFit, ordinal_mixed
from compressed_lens.statistics.permutation import exact_sign_flip_p, sign_flip_p
from compressed_lens.statistics.power import (
    detectable,
    items_for,
    items_for_margin,
    items_for_rates,
    items_to_decide,
    mcnemar_power,
)
from compressed_lens.statistics.ppi import PredictionPowered, judge_trust, prediction_powered
from compressed_lens.statistics.ranks import RankTest, average_ranks, rank_test
from compressed_lens.statistics.rating_power import (
    RatingSpread,
    contrast_error,
    contrast_power,
    detectable_contrast,
    rating_spread,
)
from compressed_lens.statistics.resampling import replicate_means, unit_sums
from compressed_lens.statistics.signed_rank import SignedRank, signed_rank
from compressed_lens.statistics.wald import WaldInterval

__all__ = [
    "FEWEST_ALIKE",
    "FEWEST_PAIRS",
    "FEW_CHANGES",
    "Concordance",
    "Correlation",
    "Flips",
    "HierarchicalInterval",
    "Interval",
    "LinearFit",
    "MarginTest",
    "OrdinalFit",
    "PredictionPowered",
    "RankTest",
    "RatingSpread",
    "SignedRank",
    "WaldInterval",
    "alpha_interval",
    "average_ranks",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "bootstrap_means",
    "cohen_kappa",
    "cliffs_delta",
    "concordance",
    "contrast_error",
    "contrast_power",
    "correlation",
    "crossed_difference",
    "crossed_mean",
    "detectable",
    "detectable_contrast",
    "exact_sign_flip_p",
    "flip_odds",
    "flips",
    "hierarchical_interval",
    "holm",
    "items_for",
    "items_for_margin",
    "items_for_rates",
    "items_to_decide",
    "judge_trust",
    "krippendorff_alpha",
    "linear_mixed",
    "margin_test",
    "max_statistic_p",
    "mcnemar_mid_p",
    "mcnemar_p",
    "mcnemar_power",
    "mean_interval",
    "mean_intervals",
    "normal_quantile",
    "ordinal_mixed",
    "paired_bootstrap",
    "paired_bootstraps",
    "paired_rate_interval",
    "prediction_powered",
    "rank_test",
    "rate_interval",
    "rating_spread",
    "replicate_means",
    "sign_flip_p",
    "signed_rank",
    "standardized_difference",
    "stands",
    "unit_sums",
]
