"""Trimmed mean of a range's scores: few samples of a range hit the member, so the ones that say least are dropped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_diffprivacy.errors import UsageError

Keep: TypeAlias = Literal["highest", "lowest", "all"]


def trimmed_mean(
    scores: ArrayLike, trim: float, keep: Keep = "highest", *, rounding: Literal["exact", "published"] = "exact"
) -> NDArray[np.float64]:
    """Return the mean of each range's scores without the `trim` of them that say least.

    Args:
        scores: (..., samples), higher = more likely member.
        trim: share of the samples that is dropped, in [0, 1): floor(trim * samples) of them; one is always kept.
        keep: "highest" drops the lowest scores (few samples hit the member), "lowest" the highest, "all" none.
        rounding: "published" keeps int((1 - trim) * samples) as the authors' code does, whose floating point keeps one
            sample too few now and then (10 samples at 0.8), or none.

    Returns:
        float64 (...).

    Raises:
        UsageError: an argument is out of range, or the published rounding keeps none.

    Source: Follows Tao and Shokri 2024 (METHODS 3.18), except that the count is exact and at least one.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim < 1 or values.shape[-1] == 0 or not np.isfinite(values).all():
        raise UsageError(f"`scores` must be finite, (..., samples) with at least one sample, got shape {values.shape}.")
    if not 0.0 <= trim < 1.0:
        raise UsageError(f"`trim` must be in [0, 1), got {trim!r}. It is the share of samples that is dropped.")
    if keep not in ("highest", "lowest", "all") or rounding not in ("exact", "published"):
        raise UsageError(f"`keep` must be highest, lowest or all and `rounding` exact or published, got {keep!r}.")
    count = values.shape[-1]
    kept = int((1 - trim) * count) if rounding == "published" else max(1, count - _floor(trim * count))
    if keep == "all":
        kept = count
    if kept == 0:
        raise UsageError(f"`rounding` must be exact for {count} samples at {trim:g}, got published, which keeps none.")
    ordered = np.sort(values, axis=-1, kind="stable")
    chosen = ordered[..., count - kept :] if keep == "highest" else ordered[..., :kept]
    return np.asarray(chosen.mean(-1), dtype=np.float64)


def _floor(product: float) -> int:
    """The whole part of a share times a count, without the rounding error of the product."""
    return math.floor(round(product, 9))


@dataclass(frozen=True, slots=True)
class Trim:
    """How the scores of a range become one: see `trimmed_mean`."""

    trim: float
    keep: Keep


def tune_trim(scores: ArrayLike, members: ArrayLike) -> Trim:
    """Return the trim with the highest AUROC on ranges of a calibration half, **which must not be scored later**.

    Args:
        scores: (ranges, samples), higher = more likely member.
        members: (ranges,), whether each holds a training image.

    Raises:
        UsageError: shapes do not fit, or one kind of range is missing.

    Source: Follows Tao and Shokri 2024, except that `trim` is the dropped share for both directions.
    """
    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(members, dtype=np.bool_)
    if values.ndim != 2 or labels.shape != values.shape[:1] or labels.all() or not labels.any():
        raise UsageError(
            f"`scores` must be (ranges, samples) and `members` (ranges,) of both kinds, got {values.shape} and "
            f"{labels.shape}."
        )
    from sklearn.metrics import roc_auc_score

    count = values.shape[1]
    candidates = [Trim(k / count, keep) for keep in ("highest", "lowest") for k in range(count)]
    areas = [roc_auc_score(labels, trimmed_mean(values, one.trim, one.keep)) for one in candidates]
    return candidates[int(np.argmax(areas))]
