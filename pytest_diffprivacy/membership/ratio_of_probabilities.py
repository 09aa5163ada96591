"""Ratio of probabilities: the ratio attack's published form, for scores in [0, 1] such as a classifier's confidence."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership.ratio import checked_references, mean_of
from pytest_diffprivacy.statistics.arguments import check_scores

FloatArray = NDArray[np.float64]
A = 0.3


def ratio_scores(
    target: ArrayLike, references: ArrayLike, seen: ArrayLike, *, a: float = A, online: bool = False
) -> FloatArray:
    """Score images by `p_target / p_x`, where p_x is the image's probability as models say that did not see it.

    Offline `p_x = (1 + a)/2 mean_out + (1 - a)/2`; online the mean over all references.

    Args:
        target: (images,) probabilities in [0, 1]; a loss is none: see `log_ratio_scores`.
        references: (references, images).
        seen: bool (references, images).
        a: in [0, 1], how far the mean of models without the image lies from that of all; never chosen on scored labels.
        online: whether half of the references saw each image, so that their mean needs no correction.

    Returns:
        float64 (images,), higher = more likely member.

    Raises:
        UsageError: no probabilities, shapes that do not fit, an image without a reference, or a bad argument.

    Source: Implements Zarifzadeh et al. 2024 (RMIA), with the mean over exactly the models that did not see the image.
    """
    own, others, saw = checked_references(target, references, seen)
    _check(own, others, a)
    if online:
        return np.asarray(own / _positive(others.mean(axis=0)))
    return np.asarray(own / _positive(_corrected(mean_of(others, ~saw, "did not see"), a)))


def population_share(ratios: ArrayLike, population: ArrayLike) -> FloatArray:
    """Share of population points whose ratio is below the image's: a scale for one decision.

    It has as many steps as points and changes no ROC but for ties: report small TPRs from the ratios themselves.

    Args:
        ratios: (images,), of `ratio_scores` or `log_ratio_scores`.
        population: (points,), those of images that no model saw.

    Returns:
        float64 (images,), in [0, 1].

    Raises:
        UsageError: empty arrays or numbers that are not finite.

    Source: Implements Zarifzadeh et al. 2024 (RMIA), with gamma = 1.
    """
    own, others = check_scores("ratios", ratios), np.sort(check_scores("population ratios", population))
    return np.asarray(np.searchsorted(others, own, side="left") / others.size)


def published_ratio_scores(
    target: ArrayLike,
    references: ArrayLike,
    seen: ArrayLike,
    *,
    population_target: ArrayLike,
    population_references: ArrayLike,
    a: float = A,
    used: int | None = None,
    convert: bool = True,
) -> FloatArray:
    """The released code's score, for comparison with published numbers only.

    The right one is the `population_share` of `ratio_scores`. This one takes the `used` largest signals that are not
    zeroed by membership, also of population points, of which no model is a member. With one used, all columns are
    averaged after those that saw the image were converted by `(p + a - 1) / a` (a = 0: `(p - 0.7) / 0.3`), which may be
    negative.

    Args:
        target: (images,) probabilities.
        references: (references, images).
        seen: bool (references, images).
        population_target: (points,).
        population_references: (references, points).
        a: as in `ratio_scores`.
        used: K; None: half of the references, at least 1.
        convert: whether one used model is treated as said; False: as several are, as in the second implementation.

    Returns:
        float64 (images,), higher = more likely member.

    Source: Follows the code of Zarifzadeh et al. 2024 (RMIA), mistakes included (METHODS 3.16).
    """
    own, others, saw = checked_references(target, references, seen)
    nobody = np.zeros(np.shape(population_references), dtype=np.bool_)
    points, of_points, _ = checked_references(population_target, population_references, nobody)
    count = max(len(others) // 2, 1) if used is None else used

    def expected(values: FloatArray, inside: NDArray[np.bool_]) -> FloatArray:
        if count == 1 and convert:
            converted = (values - 0.7) / 0.3 if a == 0.0 else (values + a - 1.0) / a
            return _corrected(np.where(inside, converted, values).mean(axis=0), a)
        largest = -np.sort(-(values * ~inside), axis=0)[:count]
        return _corrected(largest.mean(axis=0), a)

    ratios, of_population = own / expected(others, saw), points / expected(of_points, nobody)
    # Divided once more, as there: a ratio changes sign with its denominator.
    return np.asarray((ratios[:, None] / of_population > 1.0).mean(axis=1))


def _corrected(mean: FloatArray, a: float) -> FloatArray:
    return np.asarray((1.0 + a) / 2.0 * mean + (1.0 - a) / 2.0)


def _check(target: FloatArray, references: FloatArray, a: float) -> None:
    low, high = min(target.min(), references.min()), max(target.max(), references.max())
    if low < 0.0 or high > 1.0:
        raise UsageError(
            f"`target` and `references` must be probabilities in [0, 1], got values in [{low:g}, {high:g}]. Use "
            "log_ratio_scores for losses."
        )
    if not 0.0 <= a <= 1.0:
        raise UsageError(f"`a` must be between 0 and 1, got {a!r}.")


def _positive(expected: FloatArray) -> FloatArray:
    if not (expected > 0.0).all():
        raise UsageError(f"The references give {int((expected <= 0.0).sum())} images probability 0. Use a < 1.")
    return expected
