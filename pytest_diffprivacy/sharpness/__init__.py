"""Is the landscape needle-sharp here? Norms of the score and its products, spectra, traces and intrinsic dimension."""

from collections.abc import Mapping
from typing import Final

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.sharpness.arnoldi import ArnoldiValues, arnoldi
from pytest_diffprivacy.sharpness.curvature import CURVATURE, curvature_scores
from pytest_diffprivacy.sharpness.flipd import LID, LidCurve, flipd_curve, flipd_scores
from pytest_diffprivacy.sharpness.hessian import LinearMap, ScoreHessian
from pytest_diffprivacy.sharpness.hessian_score import HESSIAN_SCORE, hessian_score_scores
from pytest_diffprivacy.sharpness.hutchinson import ProbedEstimate, hutchinson_trace, nonnegative_eigenvalues
from pytest_diffprivacy.sharpness.lanczos import LanczosValues, lanczos
from pytest_diffprivacy.sharpness.products import hessian_score_product, score
from pytest_diffprivacy.sharpness.score_norm import SCORE_NORM, score_norm_scores
from pytest_diffprivacy.sharpness.spectrum import Spectrum, full_spectrum
from pytest_diffprivacy.sharpness.statistic import SharpnessStatistic
from pytest_diffprivacy.sharpness.trajectory import (
    SamplingSpectra,
    TrajectoryMoments,
    sampling_spectra,
    trajectory_moments,
)

STATISTICS: Final[Mapping[str, SharpnessStatistic]] = {
    statistic.name: statistic for statistic in (CURVATURE, HESSIAN_SCORE, SCORE_NORM, LID)
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
    "LID",
    "STATISTICS",
    "ArnoldiValues",
    "LanczosValues",
    "LidCurve",
    "LinearMap",
    "ProbedEstimate",
    "SamplingSpectra",
    "ScoreHessian",
    "SharpnessStatistic",
    "Spectrum",
    "TrajectoryMoments",
    "arnoldi",
    "curvature_scores",
    "find_statistic",
    "flipd_curve",
    "flipd_scores",
    "full_spectrum",
    "hessian_score_product",
    "hessian_score_scores",
    "hutchinson_trace",
    "lanczos",
    "nonnegative_eigenvalues",
    "sampling_spectra",
    "score",
    "score_norm_scores",
    "trajectory_moments",
]
