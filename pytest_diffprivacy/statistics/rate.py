"""Rate: the share of independent trials with a property; its trials by need, its plan, and the words of both."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import as_number, check_count, check_fraction, check_significance
from pytest_diffprivacy.statistics.binomial import check_counts, lower_bound, upper_bound
from pytest_diffprivacy.statistics.sample_size import (
    HINT,
    POWER,
    Plan,
    about,
    search_size,
    smallest_shown,
    verdict_chance,
)
from pytest_diffprivacy.statistics.statistic import WORDS, Statistic, Stored, only, statistic
from pytest_diffprivacy.statistics.verdict import Bounded, Measured


@dataclass(frozen=True, slots=True)
class RateEstimate(Bounded):
    """A rate with its exact bounds, each one-sided at `confidence`."""

    successes: int
    trials: int


def rate(successes: int, trials: int, *, confidence: float = 0.95) -> RateEstimate:
    """Estimate a rate; each bound is one-sided at `confidence` (jointly 90 % at 0.95).

    Args:
        successes: how often it happened, 0 to `trials`.
        trials: number of independent trials, at least 1.
        confidence: of each bound, in (0.5, 1).

    Returns:
        The rate, its bounds and its counts.

    Raises:
        UsageError: counts or confidence out of range.

    Source: Implements Clopper and Pearson (1934); METHODS 7.1.
    """
    significance = check_significance(confidence)
    k, n = check_counts(successes, trials)
    return RateEstimate(
        successes=k,
        trials=n,
        value=k / n,
        low=lower_bound(k, n, significance),
        high=upper_bound(k, n, significance),
        confidence=float(confidence),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """What a plan calls the trials of a rate, and what it knows of them.

    Attributes:
        name: in the plural, e.g. "generations".
        clean: what those of a model without a leak are, e.g. "without a copy".
        beside: further probes, as words.
        controls: trials of the control; 0: there is none.
        unleaked: the share of a model without a leak.
        given: a condition of the plan.
        undefined: why no number of trials decides with these probes; empty where one may.
    """

    name: str = "trials"
    clean: str = "without a hit"
    beside: str = ""
    controls: int = 0
    unleaked: float = 0.0
    given: str = ""
    undefined: str = ""


@statistic("rate")
@dataclass(frozen=True, slots=True, kw_only=True)
class RateStatistic(Statistic):
    """The share of hits in the array "hits".

    Attributes:
        trials: what a plan calls them.
    """

    confidence: float = 0.95
    trials: Trials = field(default=Trials(), metadata=WORDS, compare=False)

    def measure(self, arrays: Stored) -> RateEstimate:
        """`rate` of the hits."""
        hits = only(arrays, "hits").astype(np.bool_)
        return rate(int(hits.sum()), len(hits), confidence=self.confidence)

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """Plan for (trials,)."""
        (trials,) = counts
        return rate_facts(trials, limit, self.confidence, self.trials)


def rate_facts(trials: int, limit: float, confidence: float, words: Trials) -> dict[str, str]:
    """What so many trials can show about the share of them with a property."""
    found = plan_rate(trials, limit=limit, confidence=confidence, unleaked=words.unleaked, controls=words.controls)
    matchless = ", if the control has no false match," if words.controls else ""
    smallest = (
        f"these {words.name} can show none"
        if found.smallest is None
        else f"the smallest rate that these {words.name} show with probability {found.power:g}{matchless} is "
        f"{found.smallest:.3g}"
    )
    facts = {
        "probes": f"{trials} {words.name}" + (f", {words.beside}" if words.beside else ""),
        "to pass": f"{found.pass_needs or 'no number of'} {words.name} {words.clean} are needed; these pass with "
        f"probability {found.pass_chance:.2f}",
        "to fail": smallest,
    }
    if words.undefined:
        facts |= {"to pass": words.undefined, "to fail": words.undefined}
    return facts | ({"given": words.given} if words.given else {})


def more_trials(
    measured: Measured, control: float, limit: float, *, trials: str = "generations", remedy: str = "Lower delta"
) -> str:
    """How many trials would decide at the observed rate, less the control's rate of false matches.

    `remedy`: what to do about a control that explains what is above the limit.
    """
    decided = excess_trials_needed(measured.value, control, limit, confidence=measured.confidence, power=HINT)
    if decided is None and control > 0.0 and measured.value > limit >= measured.value - control:
        return (
            f"no number of {trials} decides at the observed rates: {control:.3g} of them match unseen images, which "
            f"explains what is above the limit. {remedy} or lower max_false_match_rate"
        )
    return f"{about(decided)} {trials} would decide at the observed rate"


def trials_needed(value: float, limit: float, *, confidence: float = 0.95, power: float = 0.8) -> int | None:
    """Return how many trials would decide a rate, if its true value is `value`.

    Args:
        value: the rate taken for the truth, in [0, 1].
        limit: the largest rate allowed, in [0, 1).
        confidence: of each bound, in (0.5, 1).
        power: probability with which that many trials decide, in (0, 1).

    Returns:
        The number of trials, for a PASS if value <= limit, else for a FAIL; None beyond 10 million. The
        chance of the verdict is exact. For value 0 the number does not depend on the power (limit 0.01: 299).

    Raises:
        UsageError: an argument is out of range.

    Source: Implements the power of the Clopper-Pearson bounds of METHODS 7.1.
    """
    significance = check_significance(confidence)
    truth = as_number("value", value)
    if not 0.0 <= truth <= 1.0:
        raise UsageError(f"`value` must be between 0 and 1, got {value!r}. Write 1 % as 0.01.")
    allowed = check_fraction("limit", limit, zero=True)
    rates = np.array([truth])
    return search_size(lambda n: verdict_chance(n, rates, allowed, significance, fails=truth > allowed), power)


def excess_trials_needed(
    value: float, control: float, limit: float, *, confidence: float = 0.95, power: float = 0.8
) -> int | None:
    """As `trials_needed`, of a rate from whose lower bound that of a control with as many trials is taken off.

    None as well whenever the control, whose rate is taken for the truth, explains what is above the limit.

    Source: Implements the power of the bounds of METHODS 1.4, those of `excess_rate`.
    """
    significance = check_significance(confidence)
    truth, false = as_number("value", value), as_number("control", control)
    allowed = check_fraction("limit", limit, zero=True)
    if truth <= allowed:
        return trials_needed(truth, allowed, confidence=confidence, power=power)
    if not 0.0 <= false <= 1.0:
        raise UsageError(f"`control` must be between 0 and 1, got {control!r}. Write 1 % as 0.01.")
    rates, half = np.array([truth]), significance / 2.0

    def chance(n: int) -> float:
        against = allowed + upper_bound(round(false * n), n, half)
        return verdict_chance(n, rates, against, half, fails=True) if against < 1.0 else 0.0

    return search_size(chance, power)


def plan_rate(
    trials: int,
    *,
    limit: float,
    confidence: float = 0.95,
    power: float = POWER,
    unleaked: float = 0.0,
    controls: int = 0,
) -> Plan:
    """Plan a rate of so many trials, e.g. of copies among generations.

    Args:
        trials: how many.
        limit: the largest rate allowed.
        confidence: of each bound.
        power: probability that a plan asks for.
        unleaked: the rate of a model without a leak, at most the limit.
        controls: trials of a control whose rate is taken off before a FAIL, as in `excess_rate`; the plan supposes that
            it has no match. 0: there is none.

    Source: Implements the power of the Clopper-Pearson bounds of METHODS 7.1, those of 1.4 where there is a control.
    """
    n, allowed = check_count("trials", trials, least=1), check_fraction("limit", limit, zero=True)
    goal, significance = check_fraction("power", power), check_significance(confidence)
    clean = check_fraction("unleaked", unleaked, zero=True)
    if clean > allowed:
        raise UsageError(f"`unleaked` must be at most the limit {allowed:g}, got {unleaked!r}. No model would pass.")
    against, half = allowed, significance
    if check_count("controls", controls, least=0):
        half = significance / 2.0
        against = min(1.0, allowed + upper_bound(0, controls, half))

    def fails(rate: float) -> float:
        return verdict_chance(n, np.array([rate]), against, half, fails=True) if against < 1.0 else 0.0

    return Plan(
        pass_chance=verdict_chance(n, np.array([clean]), allowed, significance, fails=False),
        pass_needs=trials_needed(clean, allowed, confidence=confidence, power=goal),
        smallest=smallest_shown(fails, allowed, goal),
        power=goal,
    )


@dataclass(frozen=True, slots=True)
class ExcessRate(Bounded):
    """A rate above the rate of a control, with one-sided bounds at `confidence` (see `excess_rate`)."""

    successes: int
    trials: int
    control_successes: int
    control_trials: int


def excess_rate(
    successes: int, trials: int, control_successes: int, control_trials: int, *, confidence: float = 0.95
) -> ExcessRate:
    """Estimate how much of an extraction rate is not explained by false matches.

    The control applies the same matching rule to images the model never saw; every match there is false.
    False matches may not turn into an accusation: the lower bound is the rate's lower bound minus the
    control's upper bound, each at half the significance (Bonferroni). Nor may they buy a pass: the upper
    bound is the plain one of the rate itself, without subtraction, so that a sloppy matching rule makes PASS
    harder and never easier.

    Args:
        successes: matches with training images.
        trials: generations that were compared with training images.
        control_successes: matches with images the model never saw.
        control_trials: generations that were compared with those.
        confidence: of each bound, in (0.5, 1).

    Returns:
        max(0, rate - control rate) with its bounds and all four counts.

    Raises:
        UsageError: counts or confidence out of range.

    Source: METHODS 1.4 and 7.1; the asymmetric bounds are ours.
    """
    significance = check_significance(confidence)
    k, n = check_counts(successes, trials)
    control_k, control_n = check_counts(control_successes, control_trials, prefix="control_")
    half = significance / 2.0
    return ExcessRate(
        successes=k,
        trials=n,
        control_successes=control_k,
        control_trials=control_n,
        value=max(0.0, k / n - control_k / control_n),
        low=max(0.0, lower_bound(k, n, half) - upper_bound(control_k, control_n, half)),
        high=upper_bound(k, n, significance),
        confidence=float(confidence),
    )
