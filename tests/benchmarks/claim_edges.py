"""Draws at the edges of claims that stop early, correct a detector or join several parts; of `edge_calibration`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from pytest_diffprivacy.errors import AuditError
from pytest_diffprivacy.statistics import epsilon_lower_bound, excess_tpr, sequential_mean
from pytest_diffprivacy.statistics.copies import CopyRateStatistic
from pytest_diffprivacy.statistics.dcr import dcr_share
from pytest_diffprivacy.statistics.detector import Detector, corrected_rate
from pytest_diffprivacy.statistics.early_plan import look_sizes, share_at_zero
from pytest_diffprivacy.statistics.erasure import ErasureStatistic
from pytest_diffprivacy.statistics.group_sequential import group_sequential_auroc
from pytest_diffprivacy.statistics.one_run import one_run_epsilon
from pytest_diffprivacy.statistics.prompt_rate import PromptRateStatistic
from pytest_diffprivacy.statistics.recovered_share import RecoveredShareStatistic
from pytest_diffprivacy.statistics.similarity import alike_rate
from pytest_diffprivacy.statistics.two_looks import two_looks_tpr
from pytest_diffprivacy.statistics.usage_share import usage_share

X = 0.05
Vector: TypeAlias = NDArray[np.float64]
Wrong: TypeAlias = tuple[bool, bool]
Run: TypeAlias = Callable[[np.random.Generator], Wrong]


def wrong(found: Any, truth: float) -> Wrong:
    """Whether the lower bound lies above the truth, and the upper bound below."""
    return found.low > truth, found.high < truth


def at_step(rng: np.random.Generator, members: int, others: int, rate: float, *, fails: bool) -> tuple[Vector, Vector]:
    """Worst cases of METHODS 7.2: TPR at the limit up to the FPR and 1 beyond it, or 0 below it and the limit then."""
    beyond = rng.random(members) < rate
    scores = np.where(beyond, 2.0, 1.0 - X) if fails else np.where(beyond, 1.0 - X, 0.0)
    return scores, rng.random(others)


def hubs_by_distances(rng: np.random.Generator) -> Wrong:
    """Generations that are alike near to both sides crowd about few of 100 records a side."""
    count, size = 300, 100
    share = rng.dirichlet(np.full(2 * size, 0.5))
    owner = rng.choice(2 * size, count, p=share)
    nearest = [np.where(owner // size == side, owner % size, rng.integers(size, size=count)) for side in (0, 1)]
    distances = [np.where(owner // size == side, 0.2, 0.4) for side in (0, 1)]
    return wrong(dcr_share(*distances, *nearest, records=size, permutations=99), 0.5)


def excess_at_step(rng: np.random.Generator) -> Wrong:
    """80 fine-tuning images of which 10 % more than chance are recognised."""
    both = (excess_tpr(*at_step(rng, 80, 400, X + 0.1, fails=fails), max_fpr=X, limit=0.1) for fails in (True, False))
    return next(both).low > 0.1, next(both).high < 0.1


def two_looks(rng: np.random.Generator) -> Wrong:
    """Both looks at 400 a side, stopping where one decides."""
    claimed = two_looks_tpr(400, 400, max_fpr=X, limit=0.1)
    sides = (at_step(rng, 400, 400, 0.1, fails=fails) for fails in (True, False))
    found = [claimed.trajectory({"members": [a], "nonmembers": [b]}) for a, b in sides]
    return any(one.low > 0.1 for one in found[0]), any(one.high < 0.1 for one in found[1])


def few_pairs(rng: np.random.Generator) -> Wrong:
    """Cauchy scores at an AUROC of 0.6, at every look at up to 120 pairs."""
    shift = 2.0 * float(stats.cauchy.ppf(0.6))
    arrays = {"members": [rng.standard_t(1, 120) + shift], "nonmembers": [rng.standard_t(1, 120)]}
    found = group_sequential_auroc(0.6, 120).trajectory(arrays)
    return any(one.low > 0.6 for one in found), any(one.high < 0.6 for one in found)


def by_pairs(rng: np.random.Generator) -> Wrong:
    """A rate of 3 %, looked at after each of 300 pairs."""
    return wrong(sequential_mean((rng.random(300) < 0.03).astype(float)), 0.03)


def early_copies(rng: np.random.Generator) -> Wrong:
    """1 % of generations copy, 2 % of them and of all others match unseen images; looked at after any of 1,000."""
    count, images, copied, false = 1_000, 200, 0.01, 0.02
    hits, matches = rng.random(count) < copied + false, rng.random(count) < false
    nearest, unseen = rng.integers(images, size=(2, count))
    arrays = {
        "l2": [np.where(hits, 0.0, 1.0)], "adaptive": [np.where(hits, 0.0, 1.0)], "nearest": [nearest],
        "control_l2": [np.where(matches, 0.0, 1.0)], "control_adaptive": [np.where(matches, 0.0, 1.0)],
        "control_nearest": [unseen], "compared": [np.arange(images)], "null": [np.ones(300)],
    }  # fmt: skip
    limit = 0.05
    statistic = CopyRateStatistic(
        delta=0.1, max_false_match_rate=0.05, ceiling=0.5, confidence=0.95, planned=count,
        at_zero=share_at_zero(limit, count),
    )  # fmt: skip
    found = statistic.trajectory(arrays, np.array(look_sizes(limit, count, at_zero=statistic.at_zero)))
    return found[-1].low > copied, found[-1].high < copied + false


def early_prompts(rng: np.random.Generator) -> Wrong:
    """5 % of 200 prompts bring an image back, 2 % an unseen one, 2 % are left undecided."""
    flagged, undecided = rng.random((200, 1)) < 0.05, rng.random((200, 1)) < 0.02
    arrays = {
        "flagged": [flagged], "undecided": [undecided & ~flagged], "l2": [np.zeros((200, 1))],
        "compared_l2": [np.zeros((200, 1))],
        "control_l2": [np.where(rng.random((200, 1)) < 0.4, 0.0, 1.0)],
    }  # fmt: skip
    statistic = PromptRateStatistic(delta=0.1, confidence=0.95, compared=1, planned=200)
    found = statistic.trajectory(arrays, np.array([200]))  # of all prompts, each of which is looked at
    return found[-1].low > 0.05 * 0.6, found[-1].high < 0.05


def few_recovered(rng: np.random.Generator) -> Wrong:
    """10 % of 30 fine-tuning images come back, and 3 % of 30 others seem to."""
    sides = {"members": [1.0 * (rng.random(30) < 0.13)], "nonmembers": [1.0 * (rng.random(30) < 0.03)]}
    found = RecoveredShareStatistic(copy_from=0.5).measure(sides)
    return found.low > 0.1, found.high < 0.13


def corrected(rng: np.random.Generator) -> Wrong:
    """A rate of 10 % counted by a detector of sensitivity 0.8 and specificity 0.95, which 40 images each showed."""
    rate, sensitivity, alarms = 0.1, 0.8, 0.05
    try:
        shown = Detector(int(rng.binomial(40, sensitivity)), 40, int(rng.binomial(40, alarms)), 40)
        hits = int(rng.binomial(150, rate * sensitivity + (1.0 - rate) * alarms))
        return wrong(corrected_rate(hits, 150, shown, seed=int(rng.integers(2**31))), rate)
    except AuditError:  # undefined: no verdict
        return False, False


def alike(rng: np.random.Generator) -> Wrong:
    """No generation copies; 60 unseen images calibrate the rule, 60 others control it."""
    found = alike_rate(
        rng.random(200), rng.random(60), rng.random(60), copy_from=0.0, max_false_match_rate=0.1, rule_confidence=0.95
    )
    return found.low > 0.0, found.high < 1.0 - found.threshold


def erasure_at_margin(parts: int) -> Run:
    """All parts of 40 images a side just at what is allowed, the recognition by Cauchy scores."""
    margin, allowed = 0.1, 0.05
    heavy = 2.0 * float(stats.cauchy.ppf(0.5 + margin))
    normal = math.sqrt(2.0) * float(special.ndtri(0.5 + margin))

    def run(rng: np.random.Generator) -> Wrong:
        arrays = {"forget": [rng.standard_t(1, 40) + heavy], "never_seen": [rng.standard_t(1, 40)]}
        if parts > 1:
            arrays |= {"forget_gain": [rng.normal(normal, 1.0, 40)], "never_seen_gain": [rng.normal(size=40)]}
            arrays |= {"forget_distance": [1.0 * (rng.random(40) > allowed)], "never_seen_distance": [np.ones(40)]}
        return wrong(ErasureStatistic(margin=margin, max_copies=allowed).measure(arrays), 0.0)

    return run


def drifting_share(rng: np.random.Generator) -> Wrong:
    """30 % of 100 suspects, of unequal difficulty, by four references; each training moves all of its scores."""
    count, references = 100, 4
    difficulty = rng.normal(0.0, 0.5, count)
    members = rng.random((references, count)) < 0.5
    used = rng.permutation(count) < 30

    def scores(saw: NDArray[np.bool_]) -> Vector:
        drift = rng.normal(0.0, 0.1, (*saw.shape[:-1], 1)) if saw.ndim > 1 else rng.normal(0.0, 0.1)
        return np.asarray(difficulty + 2.0 * saw + rng.normal(0.0, 0.7, saw.shape) + drift)

    try:
        found = usage_share(scores(used), scores(members), members, seed=int(rng.integers(2**31)))
    except AuditError:  # undefined: no verdict
        return False, False
    return wrong(found, 0.3)


@lru_cache(maxsize=4096)
def _told(correct: int) -> float:
    return one_run_epsilon(300, 100, correct).low


def randomized_response(rng: np.random.Generator) -> Wrong:
    """Each of 100 guesses is right exactly as often as an epsilon of 1 allows."""
    return _told(int(rng.binomial(100, math.e / (1.0 + math.e)))) > 1.0, False


def two_valued_canaries(rng: np.random.Generator) -> Wrong:
    """150 trials a side of randomized response at epsilon 1, by the better of a split and of every vertex."""
    right = math.e / (1.0 + math.e)
    sides = (1.0 * (rng.random(150) < right), 1.0 * (rng.random(150) < 1.0 - right))
    split, vertices = (epsilon_lower_bound(*sides, threshold=way) for way in ("split", "every vertex"))
    return split.value > 1.0, vertices.value > 1.0  # both are lower bounds
