"""Sharpness of the landscape at a point: norms of the score and its products, spectra, traces, intrinsic dimension."""

from collections.abc import Mapping
from typing import Final

from pytest_diffprivacy.methods import Kind, Method
from pytest_diffprivacy.methods.registry import methods_in
from pytest_diffprivacy.sharpness.curvature import curvature_scores
from pytest_diffprivacy.sharpness.flipd import flipd_curve, flipd_scores
from pytest_diffprivacy.sharpness.hessian import ScoreHessian, full_spectrum
from pytest_diffprivacy.sharpness.hessian_score import hessian_score_scores
from pytest_diffprivacy.sharpness.krylov import arnoldi, hutchinson_trace, lanczos, nonnegative_eigenvalues
from pytest_diffprivacy.sharpness.landscape import hessian_score_product, score
from pytest_diffprivacy.sharpness.score_norm import score_norm_scores
from pytest_diffprivacy.sharpness.trajectory import sampling_spectra, trajectory_moments

STATISTICS: Final[Mapping[str, Method]] = methods_in(
    __name__, Kind.SHARPNESS, first=("curvature", "hessian_score", "score_norm", "lid")
)


__all__ = [
    "STATISTICS",
    "ScoreHessian",
    "arnoldi",
    "curvature_scores",
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
