"""DCR share: whether generations are nearer to the training set than to as many unseen images (closest records).

A share of one half means no copying. Generations that have the same nearest record share how the records happened to be
split into training set and holdout, so that the plain binomial test rejects far too often; the p-value here
re-draws the split, and the bounds count such generations as fewer.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import FloatArray, check_count, check_scores, check_significance
from pytest_diffprivacy.statistics.rate import trials_needed
from pytest_diffprivacy.statistics.sample_size import HINT
from pytest_diffprivacy.statistics.shared_records import share_facts
from pytest_diffprivacy.statistics.statistic import Statistic, Stored, only, recorded_arguments, statistic
from pytest_diffprivacy.statistics.verdict import Bounded

PERMUTATIONS = 9_999
CHUNK_VALUES = 2**22


@dataclass(frozen=True, slots=True)
class DcrShare(Bounded):
    """The share of generations that are nearer to the training set, with one-sided bounds at `confidence`.

    Attributes:
        value: the share; ties count one half.
        p_value: of "the split into training set and holdout does not matter", one-sided, by permutation.
        nearer: V, generations nearer to the training set, ties one half.
        generations: m.
        effective: m_eff = m^2 / sum c_x^2, where c_x generations have the nearest record x: the number of independent
            generations that are worth as much.
        records: of each side.
    """

    p_value: float
    nearer: float
    generations: int
    effective: float
    records: int


def dcr_share(
    training_distances: ArrayLike,
    holdout_distances: ArrayLike,
    nearest_training: ArrayLike,
    nearest_holdout: ArrayLike,
    *,
    records: int,
    confidence: float = 0.95,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> DcrShare:
    """Estimate the share of generations whose nearest record is a training record.

    Args:
        training_distances: (m,) of each generation to its nearest training record; lower = closer.
        holdout_distances: (m,) to its nearest record of the holdout, which has the same size.
        nearest_training: (m,) which training record that is, 0..records-1.
        nearest_holdout: (m,) which record of the holdout.
        records: size of each of the two sets.
        confidence: of each bound, in (0.5, 1).
        permutations: random splits of the pooled records; the smallest p-value is 1 / (permutations + 1).
        seed: of the splits.

    Raises:
        UsageError: arguments that do not fit each other.

    Source: Implements METHODS 6.2: permutation over splits and Clopper-Pearson bounds on effective counts.
    """
    size = check_count("records", records, least=2)
    to_training = check_scores("training_distances", training_distances)
    to_holdout = check_scores("holdout_distances", holdout_distances)
    own = _positions("nearest_training", nearest_training, size, len(to_training))
    other = _positions("nearest_holdout", nearest_holdout, size, len(to_training))
    if len(to_holdout) != len(to_training):
        raise UsageError(
            f"`holdout_distances` must be one for each of {len(to_training)} generations, got {len(to_holdout)}."
        )
    weight = np.where(to_training < to_holdout, 1.0, np.where(to_training > to_holdout, 0.0, 0.5))
    return dcr_share_of_counts(
        np.bincount(own, weights=weight, minlength=size),
        np.bincount(other, weights=1.0 - weight, minlength=size),
        confidence=confidence,
        permutations=permutations,
        seed=seed,
    )


def dcr_share_of_counts(
    training_counts: ArrayLike,
    holdout_counts: ArrayLike,
    *,
    confidence: float = 0.95,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> DcrShare:
    """Estimate the same share from what each record says: to how many generations it is the nearest of all records.

    Which record that is must be known and not only its side: the bounds rest on how many generations share a record.

    Args:
        training_counts: (records,) c_x of each training record; a tie between the two sets counts one half in each.
        holdout_counts: (records,) c_x of each record of the holdout.
        confidence: of each bound, in (0.5, 1).
        permutations: random splits of the pooled records; the smallest p-value is 1 / (permutations + 1).
        seed: of the splits.

    Raises:
        UsageError: sides of different sizes, negative counts, or no generation.

    Source: As `dcr_share`.
    """
    significance = check_significance(confidence)
    draws = check_count("permutations", permutations, least=99)
    ours, theirs = check_scores("training_counts", training_counts), check_scores("holdout_counts", holdout_counts)
    size = check_count("records", ours.size, least=2)
    if theirs.size != size:
        raise UsageError(f"`holdout_counts` must be one for each of {size} records, got {theirs.size}.")
    owned = np.concatenate([ours, theirs])
    m, nearer = float(owned.sum()), float(ours.sum())
    if owned.min() < 0.0 or m == 0.0:
        raise UsageError(
            f"`training_counts` and `holdout_counts` must count generations, got {owned.min():g}, sum {m:g}."
        )
    effective = m**2 / float((owned**2).sum())
    share = nearer / m
    k, n = share * effective, effective
    return DcrShare(
        value=share,
        low=0.0 if nearer == 0.0 else float(special.betaincinv(k, n - k + 1.0, significance)),
        high=1.0 if nearer == m else float(special.betaincinv(k + 1.0, n - k, 1.0 - significance)),
        confidence=float(confidence),
        p_value=_p_value(owned, size, nearer, draws, np.random.default_rng(seed)),
        nearer=nearer,
        generations=round(m),
        effective=effective,
        records=size,
    )


def split_luck(members: NDArray[np.integer[Any]], unseen: NDArray[np.integer[Any]], images: int) -> float:
    """P-value of "it does not matter which of the images were trained on", from whose copies there are.

    Args:
        members: the member that each copy of a compared member is nearest to.
        unseen: the unseen image that each false match is nearest to.
        images: how many members are compared, and as many unseen images.

    Source: Implements METHODS 7.9, the permutation of 6.2.
    """
    if not len(members):
        return 1.0
    owned = np.concatenate([np.unique(side, return_counts=True)[1] for side in (members, unseen)]).astype(np.float64)
    return _p_value(owned, images, float(len(members)), PERMUTATIONS, np.random.default_rng(0))


def _p_value(owned: FloatArray, size: int, nearer: float, draws: int, stream: np.random.Generator) -> float:
    """(1 + #{V* >= V}) / (draws + 1), V* over random choices of `size` of the 2 * `size` records.

    Only records that own a generation matter: how many of them are chosen is hypergeometric, which ones is a shuffle.
    """
    values = owned[owned > 0.0]
    reached = 0
    rows = max(1, CHUNK_VALUES // len(values))
    for start in range(0, draws, rows):
        count = min(rows, draws - start)
        chosen = stream.hypergeometric(len(values), 2 * size - len(values), size, count)
        shuffled = stream.permuted(np.broadcast_to(values, (count, len(values))), axis=1)
        running = np.concatenate([np.zeros((count, 1)), shuffled.cumsum(axis=1)], axis=1)
        drawn = running[np.arange(count), chosen]
        reached += int((drawn >= nearer - 1e-9).sum())
    return (1 + reached) / (1 + draws)


def _positions(name: str, values: ArrayLike, records: int, count: int) -> np.ndarray:
    positions = np.asarray(values)
    if positions.dtype.kind not in "iu" or positions.shape != (count,):
        raise UsageError(f"`{name}` must be {count} whole numbers, got {positions.dtype} {positions.shape}.")
    if positions.min() < 0 or positions.max() >= records:
        raise UsageError(f"`{name}` must be between 0 and {records - 1}, got {positions.min()} to {positions.max()}.")
    return positions


class NearestRecord(Statistic):
    """A DCR share; plans for (generations, members, non-members)."""

    __slots__ = ()

    def needed(self, arrays: Stored, measured: DcrShare, limit: float) -> str:
        """Generations that would decide."""
        return generations_needed(measured, limit)

    def p_value(self, arrays: Stored, limit: float) -> float:
        """The significance at which Clopper and Pearson's lower bound is the limit; 1 from 0.5 on."""
        found = self.measure(arrays)
        k, n = found.value * found.effective, found.effective
        significance = 1.0 if k == 0.0 else float(special.betainc(k, n - k + 1.0, limit))
        return significance if significance < 0.5 else 1.0

    @abc.abstractmethod
    def measure(self, arrays: Stored) -> DcrShare:
        """The share."""

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """Between records that are nearest equally often, and hubs."""
        return share_facts(counts, limit, self.confidence)


@statistic("dcr_share")
@dataclass(frozen=True, slots=True, kw_only=True)
class DcrShareStatistic(NearestRecord):
    """The DCR share from distances and nearest records; arrays as the first four arguments of `dcr_share`.

    Attributes:
        records: size of each of the two sets.
        seed: of the permutations.
    """

    records: int
    confidence: float = 0.95
    seed: int = 0

    def measure(self, arrays: Stored) -> DcrShare:
        """`dcr_share` of the four arrays."""
        roles = ("training_distances", "holdout_distances", "nearest_training", "nearest_holdout")
        return dcr_share(*(only(arrays, role) for role in roles), **recorded_arguments(self))


@statistic("dcr_share_of_counts")
@dataclass(frozen=True, slots=True, kw_only=True)
class DcrCountsStatistic(NearestRecord):
    """The DCR share from the generations of each record; arrays "training_counts" and "holdout_counts"."""

    confidence: float = 0.95
    seed: int = 0

    def measure(self, arrays: Stored) -> DcrShare:
        """`dcr_share_of_counts` of both arrays."""
        roles = ("training_counts", "holdout_counts")
        return dcr_share_of_counts(*(only(arrays, role) for role in roles), **recorded_arguments(self))


def generations_needed(share: DcrShare, limit: float) -> str:
    """Generations that decide, if they share nearest records as these do.

    Of n generations that have record x with probability p_x, about `n / (1 + (n - 1) s)` count as independent, with
    `s = sum p_x^2`: no more than 1 / s, however many there are.
    """
    decided = trials_needed(share.value, limit, confidence=share.confidence, power=HINT)
    if decided is None:
        return "at the observed share no number of generations decides"
    m = share.generations
    shared = max(0.0, (m / share.effective - 1.0) / (m - 1)) if m > 1 else 0.0
    if decided * shared >= 1.0:
        return (
            f"no number of generations decides, since they share nearest records and never count as more than "
            f"{1.0 / shared:.3g} independent ones: more members and non-members, or a generator of more variety, would"
        )
    wanted = decided * (1.0 - shared) / (1.0 - decided * shared)
    return f"about {math.ceil(wanted)} generations, or more members and non-members, would decide"
