"""Is the landscape needle-sharp here? Curvature and norms of the score and its Hessian product; higher = sharper."""

from collections.abc import Mapping
from typing import Final

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.sharpness.curvature import CURVATURE, curvature_scores
from pytest_diffprivacy.sharpness.hessian_score import HESSIAN_SCORE, hessian_score_scores
from pytest_diffprivacy.sharpness.products import hessian_score_product, score
from pytest_diffprivacy.sharpness.score_norm import SCORE_NORM, score_norm_scores
from pytest_diffprivacy.sharpness.statistic import SharpnessStatistic

STATISTICS: Final[Mapping[str, SharpnessStatistic]] = {
    statistic.name: statistic for statistic in (CURVATURE, HESSIAN_SCORE, SCORE_NORM)
}


def find_statistic(name: str) -> SharpnessStatistic:
    """The statistic of that name.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    try:
        return STATISTICS[name]
    except KeyError:
        raise UsageError(f"`statistic` must be one of {', '.join(STATISTICS)}, got {name!r}.") from None


__all__ = [
    "STATISTICS",
    "SharpnessStatistic",
    "curvature_scores",
    "find_statistic",
    "hessian_score_product",
    "hessian_score_scores",
    "score",
    "score_norm_scores",
]
