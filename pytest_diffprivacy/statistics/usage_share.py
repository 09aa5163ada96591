"""Usage share: how much of a set was used for training, from decisions whose errors are known on reference models.

An image counts as used where its score reaches a threshold. How often that is wrong is seen on models whose training
images are known; the share follows by the algebra of Rogan and Gladen.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pytest_diffprivacy.errors import AuditError, InsufficientProbes, UsageError
from pytest_diffprivacy.statistics.arguments import FloatArray, check_significance
from pytest_diffprivacy.statistics.p_values import p_value_from_bounds
from pytest_diffprivacy.statistics.statistic import Statistic, Stored, only, statistic
from pytest_diffprivacy.statistics.verdict import Bounded

DRAWS: Final = 1_000
DRAWS_AT_ONCE: Final = 50
LEAST_GAP: Final = 0.02
LEAST_IMAGES: Final = 20
OWN_GAP: Final = 0.1
PRIOR: Final = 4

Rates = Literal["global", "per_image"]
Decision = Literal["at least", "above"]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class UsageShare(Bounded):
    """Share of the suspects that was used, not clipped to [0, 1], with one-sided bounds at `confidence`.

    Attributes:
        tpr: share of the references' training images that are decided to be used, for each choice.
        fpr: share of the references' other images.
        threshold: of the score.
        counted: share of the suspects that is decided to be used.
        each: the share by each choice; `value` is their mean.
        gap_low: lower bound of TPR - FPR, the smallest over the choices.
        spread: root mean square error of the references taken as targets, whose shares are known; None where none can
            be, because no other reference is left.
        suspects: images.
        references: models.
    """

    tpr: tuple[float, ...]
    fpr: tuple[float, ...]
    threshold: tuple[float, ...]
    counted: tuple[float, ...]
    each: tuple[float, ...]
    gap_low: float
    spread: float | None
    suspects: int
    references: int

    @property
    def transfers(self) -> bool:
        """Whether the bounds hold a share at all: otherwise the references' errors are not those of this target."""
        return self.high >= 0.0 and self.low <= 1.0

    @property
    def clipped(self) -> float:
        """The share as a reader expects it, in [0, 1]."""
        return min(1.0, max(0.0, self.value))


def usage_share(
    target: ArrayLike,
    references: ArrayLike,
    members: ArrayLike,
    *,
    confidence: float = 0.95,
    rates: Rates = "global",
    decision: Decision = "at least",
    seed: int = 0,
) -> UsageShare:
    """Estimate which share of a set was used: `(counted - FPR) / (TPR - FPR)`.

    The threshold is the first that maximizes TPR - FPR over all references. The bounds resample images, with all that
    target and references say of them, and choose the threshold anew in each draw; they reach at least as far as the
    references taken as targets err, since one target does not show how trainings differ.

    Args:
        target: (images,) scores of the suspects, higher = more likely used; or (choices, images), one row for each
            choice of the models that attack.
        references: (references, images) scores of the same images by models attacked alike; or one for each choice.
        members: bool, the same shape: whether the reference was trained on the image.
        confidence: of each bound.
        rates: "global": TPR and FPR are one number each; "per_image": each image's own, shrunk towards them.
        decision: "above" decides as the released code does, which counts rates by "at least".
        seed: of the draws.

    Raises:
        UsageError: shapes that do not fit, numbers that are not finite, a bad argument.
        InsufficientProbes: fewer than 20 images, or TPR and FPR so close that their gap may be below 0.02.

    Source: Follows Tong et al. 2025 (DUCI), except for the bounds and the decision (METHODS 3.17).
    """
    return _Estimate.of(target, references, members, rates, decision, seed).at(confidence)


@dataclass(frozen=True, slots=True, eq=False)
class _Estimate:
    """What does not depend on the confidence.

    Attributes:
        points: of each choice.
        members: of each choice, which reference saw which suspect.
        suspects: images.
        references: models.
        drawn: the resampled shares; NaN where one is undefined.
        errors: of the references taken as targets.
    """

    points: list[_Point]
    members: BoolArray
    suspects: int
    references: int
    drawn: FloatArray
    errors: list[float]

    @classmethod
    def of(
        cls, target: ArrayLike, references: ArrayLike, members: ArrayLike, rates: Rates, decision: Decision, seed: int
    ) -> _Estimate:
        own, others, saw = _checked(target, references, members, rates, decision)
        choices = list(zip(own, others, saw, strict=True))
        drawn = np.mean([_resampled(*choice, rates, decision, seed) for choice in choices], 0)
        errors = [e for o, s in zip(others, saw, strict=True) for e in _errors(o, s, rates, decision)]
        points = [_point(*choice, rates, decision) for choice in choices]
        return cls(points, saw, own.shape[1], others.shape[1], drawn, errors)

    def at(self, confidence: float) -> UsageShare:
        """The share with its bounds."""
        significance = check_significance(confidence)
        gaps = [_gap_low(point, inside, significance) for point, inside in zip(self.points, self.members, strict=True)]
        if self.suspects < LEAST_IMAGES or not min(gaps) > LEAST_GAP:
            raise InsufficientProbes(
                f"The share is not defined: the references' TPR minus FPR is at least {min(gaps):.3f} at this "
                f"confidence, and must exceed {LEAST_GAP:g}. Use a stronger attack or more suspects.",
                needed=max(LEAST_IMAGES, _images_needed(self.points, significance)),
            )
        each = [point.share for point in self.points]
        value = float(np.mean(each))
        spread = math.sqrt(float(np.mean(np.square(self.errors)))) if self.errors else None
        # Attacked by every pair, the same trainings err alike.
        freedom = len(self.points) if len(self.points) > 1 else len(self.errors)
        reach = 0.0 if spread is None else float(special.stdtrit(freedom, 1.0 - significance)) * spread
        # The percentiles of the draws and their mirror images: a threshold that was picked flatters its own rates,
        # which moves the draws once more in the direction in which it moved the estimate.
        left = float(np.quantile(np.nan_to_num(self.drawn, nan=-np.inf), significance))
        right = float(np.quantile(np.nan_to_num(self.drawn, nan=np.inf), 1.0 - significance))
        return UsageShare(
            value=value,
            low=min(left, 2.0 * value - right, value - reach),
            high=max(right, 2.0 * value - left, value + reach),
            confidence=float(confidence),
            tpr=tuple(p.tpr for p in self.points),
            fpr=tuple(p.fpr for p in self.points),
            threshold=tuple(p.threshold for p in self.points),
            counted=tuple(p.counted for p in self.points),
            each=tuple(each),
            gap_low=min(gaps),
            spread=spread,
            suspects=self.suspects,
            references=self.references,
        )


@statistic("usage_share")
@dataclass(frozen=True, slots=True, kw_only=True)
class UsageShareStatistic(Statistic):
    """The share of a set that was used for training.

    Attributes:
        confidence: of each bound.
        rates: "global" or "per_image".
        seed: of the draws.
    """

    confidence: float = 0.95
    rates: Rates = "global"
    seed: int = 0

    def measure(self, arrays: Stored) -> UsageShare:
        """`usage_share` of the roles target, references and members."""
        return self._estimate(arrays).at(self.confidence)

    def p_value(self, arrays: Stored, limit: float) -> float:
        """The bounds inverted, with the draws made once."""
        found = self._estimate(arrays)

        def lower(confidence: float) -> float:
            with contextlib.suppress(InsufficientProbes):
                return found.at(confidence).low
            return -math.inf

        return p_value_from_bounds(lower, limit)

    def _estimate(self, arrays: Stored) -> _Estimate:
        target, references, members = (only(arrays, role) for role in ("target", "references", "members"))
        return _Estimate.of(target, references, members, self.rates, "at least", self.seed)

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """The share that must be observed, by how well the attack recognises members."""
        (suspects, *_), z = counts, -float(special.ndtri(check_significance(self.confidence)))
        reach = {gap: z * 0.5 / math.sqrt(suspects) / gap for gap in (0.2, 0.5, 0.9)}
        below = ", ".join(f"{limit - wide:.2g} at {gap:g}" for gap, wide in reach.items() if limit > wide)
        above = ", ".join(f"{limit + wide:.2g} at {gap:g}" for gap, wide in reach.items() if limit + wide < 1.0)
        none = "cannot: too few suspects, even where TPR - FPR is 0.9"
        return {
            "probes": f"{suspects} suspects",
            "to pass": f"a share of at most about {below} of TPR - FPR" if below else none,
            "to fail": f"a share of at least about {above} of TPR - FPR" if above else none,
        }

    def needed(self, arrays: Stored, measured: UsageShare, limit: float) -> str:
        """Suspects with which the interval would clear the limit, if it shrank as their root."""
        del arrays
        reach, distance = (measured.high - measured.low) / 2.0, abs(measured.value - limit)
        trainings = "" if measured.spread is None else " Part of the interval is how trainings differ."
        if distance == 0.0:
            return "The share is at the limit: no number of suspects decides." + trainings
        count = math.ceil(measured.suspects * (reach / distance) ** 2)
        return f"about {count} suspects would decide, if their scores go on like these.{trainings}"


@dataclass(frozen=True, slots=True)
class _Point:
    """What one choice gives."""

    tpr: float
    fpr: float
    threshold: float
    counted: float
    share: float


def per_image_rates(scores: ArrayLike, members: ArrayLike, threshold: float) -> tuple[FloatArray, FloatArray]:
    """Each image's own TPR and FPR, (4 r + hits) / (4 + n), r the global rate and n its references on that side.

    Where they are less than 0.1 apart, the global rates.

    Args:
        scores: (references, images).
        members: bool (references, images).
        threshold: hits reach it.

    Returns:
        float64 (images,) twice.

    Source: ours (METHODS 3.17).
    """
    found, saw = np.asarray(scores) >= threshold, np.asarray(members, dtype=np.bool_)
    overall, own = [], []
    for side in (saw, ~saw):
        rate = float(found[side].mean())
        overall.append(rate)
        own.append((PRIOR * rate + (found & side).sum(axis=0)) / (PRIOR + side.sum(axis=0)))
    close = own[0] - own[1] < OWN_GAP
    return np.where(close, overall[0], own[0]), np.where(close, overall[1], own[1])


def _checked(
    target: ArrayLike, references: ArrayLike, members: ArrayLike, rates: str, decision: str
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """(choices, images), (choices, references, images) twice."""
    own, others, saw = (
        np.asarray(target, dtype=np.float64),
        np.asarray(references, dtype=np.float64),
        np.asarray(members),
    )
    if own.ndim == 1:
        own, others, saw = own[None], others[None], saw[None]
    fits = own.ndim == 2 and others.ndim == 3 and own.shape == others.shape[::2] and 0 not in others.shape
    if not fits or saw.shape != others.shape or saw.dtype != np.bool_:
        raise UsageError(
            f"`references` and `members` must be (references, images) for a target of (images,), got {others.shape}, "
            f"{saw.dtype} {saw.shape} and {own.shape}."
        )
    if not (np.isfinite(own).all() and np.isfinite(others).all()):
        raise AuditError("Scores of suspects must be finite, got NaN or infinite ones.")
    if rates not in get_args(Rates) or decision not in get_args(Decision):
        raise UsageError(f"`rates` and `decision` must be among {get_args(Rates)} and {get_args(Decision)}.")
    if not (saw.any(axis=(1, 2)).all() and (~saw).any(axis=(1, 2)).all()):
        raise UsageError("`members` must have images of both sides: references that saw some suspects and not others.")
    return own, others, saw


def _point(target: FloatArray, references: FloatArray, members: BoolArray, rates: Rates, decision: Decision) -> _Point:
    """The estimate of one choice."""
    ones = np.ones((1, target.size))
    (tpr,), (fpr,), (threshold,) = _best(references, members, ones)
    used = target >= threshold if decision == "at least" else target > threshold
    if rates == "per_image":
        own_tpr, own_fpr = per_image_rates(references, members, threshold)
        share = float(np.mean((used - own_fpr) / (own_tpr - own_fpr)))
    else:
        share = float((used.mean() - fpr) / (tpr - fpr)) if tpr > fpr else math.nan
    return _Point(float(tpr), float(fpr), float(threshold), float(used.mean()), share)


def _best(references: FloatArray, members: BoolArray, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """TPR, FPR and threshold of the first maximum of TPR - FPR, for each row of weights (draws, images)."""
    order = np.argsort(-references, axis=None, kind="stable")
    scores, inside = references.reshape(-1)[order], members.reshape(-1)[order]
    ends = np.flatnonzero(np.append(np.diff(scores) != 0.0, True))
    weighed = weights[:, order % references.shape[1]]
    above = [np.cumsum(weighed * side, axis=1) for side in (inside, ~inside)]
    with np.errstate(invalid="ignore", divide="ignore"):
        tpr, fpr = (sums[:, ends] / sums[:, -1:] for sums in above)
    best, rows = np.argmax(tpr - fpr, axis=1), np.arange(len(weights))
    return tpr[rows, best], fpr[rows, best], scores[ends[best]]


def _resampled(
    target: FloatArray, references: FloatArray, members: BoolArray, rates: Rates, decision: Decision, seed: int
) -> FloatArray:
    """The share in each draw of images; per-image rates move with the global ones, so that these are drawn."""
    rng, count = np.random.default_rng(seed), target.size
    point, plain = (_point(target, references, members, kind, decision) for kind in (rates, "global"))
    shares = []
    for start in range(0, DRAWS, DRAWS_AT_ONCE):
        weights = rng.multinomial(count, np.full(count, 1.0 / count), size=min(DRAWS_AT_ONCE, DRAWS - start)).astype(
            float
        )
        tpr, fpr, threshold = _best(references, members, weights)
        above = target[None] >= threshold[:, None] if decision == "at least" else target[None] > threshold[:, None]
        counted = (weights * above).sum(axis=1) / count
        with np.errstate(invalid="ignore", divide="ignore"):
            shares.append(np.where(tpr > fpr, (counted - fpr) / (tpr - fpr), np.nan))
    return np.concatenate(shares) + (point.share - plain.share)


def _errors(references: FloatArray, members: BoolArray, rates: Rates, decision: Decision) -> list[float]:
    """By how much the share of each reference comes out wrong if the others say how it errs."""
    found = []
    for number in range(len(references)):
        rest = np.arange(len(references)) != number
        if rest.any() and members[rest].any() and not members[rest].all():
            point = _point(references[number], references[rest], members[rest], rates, decision)
            found.append(point.share - float(members[number].mean()))
    return [error for error in found if math.isfinite(error)]


def _gap_low(point: _Point, members: BoolArray, significance: float) -> float:
    """Lower bound of TPR - FPR, which was maximized: the largest gap of two equal laws is below what is taken off.

    Images recur in every reference, so that no side counts as more than the images.
    """
    images = members.shape[1]
    sides = (min(int(members.sum()), images), min(int((~members).sum()), images))
    return point.tpr - point.fpr - math.sqrt(-math.log(significance) / 2.0 * sum(1.0 / n for n in sides))


def _images_needed(points: list[_Point], significance: float) -> int:
    """Images with which this gap would do."""
    gap = min(p.tpr - p.fpr for p in points) - LEAST_GAP
    return math.ceil(-math.log(significance) / gap**2) if gap > 0.0 else 10**9
