"""Corrected rate: how often it really happens, if the detector that counts it misses some and invents others."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pytest_diffprivacy.errors import AuditError, InsufficientProbes, UsageError
from pytest_diffprivacy.statistics.arguments import FloatArray, check_count, check_significance
from pytest_diffprivacy.statistics.binomial import lower_bound, upper_bound
from pytest_diffprivacy.statistics.sample_size import MOST, clears
from pytest_diffprivacy.statistics.statistic import WORDS, Statistic, Stored, only, statistic
from pytest_diffprivacy.statistics.verdict import Bounded

LEAST = 30
LEAST_YOUDEN = 0.1
DRAWS = 20_000
GROWTH = 1.25
PERFECT = "a detector without an error: what its correction adds to the bounds depends on its counts"


@dataclass(frozen=True, slots=True)
class Detector:
    """What a detector did on labelled pairs: how it does on the truth and on what only looks like it.

    Attributes:
        detected: copies that it called copies ...
        copies: ... of this many known copies.
        false_alarms: others that it called copies ...
        others: ... of this many images known to be none.

    Raises:
        UsageError: counts that do not fit.
        InsufficientProbes: fewer than 30 labelled images of a kind.
        AuditError: sensitivity + specificity - 1 is below 0.1: it hardly tells copies from others.
    """

    detected: int
    copies: int
    false_alarms: int
    others: int

    def __post_init__(self) -> None:
        for part, whole in (("detected", "copies"), ("false_alarms", "others")):
            count, of = getattr(self, part), check_count(whole, getattr(self, whole), least=1)
            if check_count(part, count, least=0) > of:
                raise UsageError(f"`{part}` must be at most `{whole}` ({of}), got {count}. Count again.")
            _check_enough(whole, of)
        if self.sensitivity + self.specificity - 1.0 < LEAST_YOUDEN:
            raise AuditError(
                f"The detector's sensitivity {self.sensitivity:.3g} and specificity {self.specificity:.3g} hardly tell "
                f"copies from others (their sum less 1 must be at least {LEAST_YOUDEN}). Use a better detector."
            )

    @property
    def sensitivity(self) -> float:
        """Share of copies that it finds."""
        return self.detected / self.copies

    @property
    def specificity(self) -> float:
        """Share of others that it leaves alone."""
        return 1.0 - self.false_alarms / self.others


@dataclass(frozen=True, slots=True)
class CorrectedRate(Bounded):
    """A rate corrected for its detector, with one-sided bounds at `confidence`.

    Attributes:
        value: the corrected rate, in [0, 1].
        observed: the share that the detector reported.
        successes: how often it did ...
        trials: ... of how many.
        detector: what it did on labelled pairs.
    """

    observed: float
    successes: int
    trials: int
    detector: Detector


def corrected_rate(
    successes: int, trials: int, detector: Detector, *, confidence: float = 0.95, seed: int = 0
) -> CorrectedRate:
    """Correct an observed rate for what its detector misses and invents.

    `rate = (observed - (1 - specificity)) / (sensitivity + specificity - 1)`, clipped to [0, 1]. Its bounds bootstrap
    all three samples. Resampled counts never leave 0 of n, so each count is drawn from the distribution whose quantile
    is its exact bound: the upper one for the upper bound of the rate, the lower one for the lower. No correction makes
    them tighter than `trials` without any, or with nothing but, reports of a perfect detector would.

    Args:
        successes: what the detector reported, 0 to `trials`.
        trials: independent trials, e.g. generations.
        detector: its counts on labelled pairs that played no part in making it.
        confidence: of each bound, in (0.5, 1).
        seed: of the draws.

    Raises:
        UsageError: counts or confidence out of range.
        InsufficientProbes: fewer than 30 trials.
        AuditError: it reported less than its false alarms alone explain: it was labelled on images of another kind.

    Source: Implements Rogan and Gladen 1978 with the refusals of METHODS 6.1, except that the bootstrap draws from
        Clopper and Pearson's distributions.
    """
    significance = check_significance(confidence)
    n = check_count("trials", trials, least=1)
    k = check_count("successes", successes, least=0)
    if k > n:
        raise UsageError(f"`successes` must be at most `trials` ({n}), got {k}. Count again.")
    _check_enough("trials", n)
    alarms = lower_bound(detector.false_alarms, detector.others, significance / 2.0)
    if upper_bound(k, n, significance / 2.0) < alarms:
        raise AuditError(
            f"The detector reported {k} of {n}, less than its false alarm rate of {1.0 - detector.specificity:.3g} "
            "explains. Label others that are like the images it is used on."
        )
    stream = np.random.default_rng(seed)
    missed, kept = detector.copies - detector.detected, detector.others - detector.false_alarms
    value = _corrected(np.array([k / n]), np.array([detector.sensitivity]), np.array([detector.specificity]))[0]
    # The rate grows with the observed share and with the specificity, and falls with the sensitivity.
    high = _corrected(
        _drawn(stream, k + 1, n - k),
        _drawn(stream, detector.detected, missed + 1),
        _drawn(stream, kept + 1, detector.false_alarms),
        undefined=1.0,
    )
    low = _corrected(
        _drawn(stream, k, n - k + 1),
        _drawn(stream, detector.detected + 1, missed),
        _drawn(stream, kept, detector.false_alarms + 1),
        undefined=0.0,
    )
    return CorrectedRate(
        value=float(value),
        low=min(float(value), float(np.quantile(low, significance)), lower_bound(n, n, significance)),
        high=max(float(value), float(np.quantile(high, 1.0 - significance)), upper_bound(0, n, significance)),
        confidence=float(confidence),
        observed=k / n,
        successes=k,
        trials=n,
        detector=detector,
    )


def _corrected(
    observed: FloatArray, sensitivity: FloatArray, specificity: FloatArray, *, undefined: float = 0.0
) -> FloatArray:
    youden = sensitivity + specificity - 1.0
    rates = np.full(len(observed), undefined)
    np.divide(observed - (1.0 - specificity), youden, out=rates, where=youden > 0.0)
    clipped: FloatArray = rates.clip(0.0, 1.0)
    return clipped


def _drawn(stream: np.random.Generator, a: int, b: int) -> FloatArray:
    """Draws of Beta(a, b), which is a point where one of them is 0."""
    if a == 0 or b == 0:
        return np.full(DRAWS, 1.0 if b == 0 else 0.0)
    return stream.beta(a, b, DRAWS)


def _check_enough(name: str, count: int) -> None:
    if count < LEAST:
        raise InsufficientProbes(
            f"Cannot correct a rate with {count} {name}: at least {LEAST} are needed. Label or generate more.",
            needed=LEAST,
        )


@statistic("corrected_rate")
@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedRateStatistic(Statistic):
    """The rate of the array "hits", corrected for a detector whose counts on labelled pairs are the first four fields.

    Attributes:
        rule: the statistic whose rule finds the hits; it plans. None: no plan.
        given: the condition of that plan.
    """

    detected: int
    copies: int
    false_alarms: int
    others: int
    confidence: float = 0.95
    seed: int = 0
    rule: Statistic | None = field(default=None, metadata=WORDS, compare=False)
    given: str = field(default=PERFECT, metadata=WORDS, compare=False)

    @property
    def detector(self) -> Detector:
        """What the detector did on labelled pairs."""
        return Detector(int(self.detected), int(self.copies), int(self.false_alarms), int(self.others))

    def measure(self, arrays: Stored) -> CorrectedRate:
        """`corrected_rate` of the hits."""
        hits = only(arrays, "hits").astype(np.bool_)
        return corrected_rate(int(hits.sum()), len(hits), self.detector, confidence=self.confidence, seed=self.seed)

    def needed(self, arrays: Stored, measured: CorrectedRate, limit: float) -> str:
        """Generations that would decide, with the detector's counts as they are."""
        n, detector = float(measured.trials), measured.detector
        while n < MOST:
            n *= GROWTH
            count = round(n)
            hits = round(measured.observed * count)
            found = corrected_rate(hits, count, detector, confidence=measured.confidence, seed=self.seed)
            if clears(found, limit):
                return f"about {count} generations would decide at the observed rate"
        return (
            "no number of generations decides at the observed rate, because the detector's own error leaves it open: "
            "label more copies and others"
        )

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """Plan for the counts of `rule`, as if the detector made no error."""
        facts = {} if self.rule is None else self.rule.plan(counts, limit)
        return facts | ({"given": self.given} if self.given else {})
