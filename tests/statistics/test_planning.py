import numpy as np
import pytest
from scipy import stats

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics import (
    Verdict,
    auroc,
    decide,
    probes_needed_for_auroc,
    probes_needed_for_tpr,
    rate,
    tpr_at_fpr,
    tpr_pass_needs,
    trials_needed,
)


def test_no_success_needs_the_printed_number_of_trials():
    assert [trials_needed(0.0, limit) for limit in (0.05, 0.01, 0.001)] == [59, 299, 2_995]
    assert trials_needed(0.0, 0.01, power=0.99) == trials_needed(0.0, 0.01, power=0.5)


def chance_of(verdict, trials, value, limit):
    """Go through every count that n trials can give."""
    counts = np.arange(trials + 1)
    hit = [decide(rate(k, trials), limit).verdict is verdict for k in counts]
    return stats.binom.pmf(counts, trials, value)[hit].sum()


@pytest.mark.parametrize(
    ("value", "limit", "verdict"),
    [(0.02, 0.1, Verdict.PASS), (0.1, 0.2, Verdict.PASS), (0.2, 0.1, Verdict.FAIL), (0.9, 0.5, Verdict.FAIL)],
)
def test_the_planned_number_of_trials_decides_with_the_promised_power(value, limit, verdict):
    planned = trials_needed(value, limit, power=0.8)
    assert chance_of(verdict, planned, value, limit) >= 0.8
    assert chance_of(verdict, planned - 1, value, limit) < 0.8
    assert chance_of(verdict, planned // 2, value, limit) < 0.8


def test_what_lies_on_the_limit_is_never_decided():
    assert trials_needed(0.01, 0.01) is None
    assert tpr_pass_needs(0.01, 0.01) is None
    assert tpr_pass_needs(0.01, 0.05) is None


def test_a_limit_of_zero_can_be_refuted_but_never_proven():
    assert trials_needed(0.0, 0.0) is None
    assert trials_needed(0.5, 0.0) == 3  # 1 - 0.5^3 = 0.875 is the first chance of any success above 0.8


def test_closer_to_the_limit_needs_more():
    planned = [trials_needed(value, 0.01) for value in (0.0, 0.002, 0.005, 0.008)]
    assert planned == sorted(planned)


POWER_OF_NO_LEAK = [
    (0.03, 500, 0.32),
    (0.03, 1_000, 0.69),
    (0.03, 2_000, 0.97),
    (0.05, 500, 0.88),
    (0.1, 100, 0.64),
]


@pytest.mark.parametrize(("limit", "size", "power"), POWER_OF_NO_LEAK)
def test_passing_without_a_leak_needs_what_the_printed_table_says(limit, size, power):
    assert tpr_pass_needs(limit, 0.01, power=power - 0.02) <= size
    assert tpr_pass_needs(limit, 0.01, power=power + 0.02) > size


def scores_of(size, shift):
    """Return the quantiles of both Gaussians: a sample without noise."""
    grid = stats.norm.ppf((np.arange(size) + 0.5) / size)
    return grid + shift, grid


@pytest.mark.parametrize(("true", "limit"), [(0.20, 0.05), (0.10, 0.02), (0.02, 0.10)])
def test_the_planned_number_of_probes_decides_with_the_promised_power(true, limit):
    shift = stats.norm.isf(0.01) - stats.norm.isf(true)
    planned = probes_needed_for_tpr(*scores_of(100_000, shift), limit, max_fpr=0.01)
    rng, wanted = np.random.default_rng(20), Verdict.FAIL if true > limit else Verdict.PASS

    def simulated_power(size, runs=2_000):
        pairs = ((rng.normal(shift, 1, size), rng.normal(0, 1, size)) for _ in range(runs))
        found = (tpr_at_fpr(*pair, max_fpr=0.01, limit=limit) for pair in pairs)
        return np.mean([decide(f, limit).verdict is wanted for f in found])

    assert simulated_power(planned) >= 0.78
    assert simulated_power(planned - 1) <= 0.82  # a change of rank may lift the power far above 0.8 at once


@pytest.mark.parametrize("power", [0.01, 0.8])
def test_a_plan_asks_for_more_than_was_not_enough(power):
    rng = np.random.default_rng(21)
    for size in (100, 200, 400):
        member, nonmember = rng.normal(1, 1, size), rng.normal(0, 1, size)
        for limit in (0.02, 0.05, 0.2):
            found = tpr_at_fpr(member, nonmember, max_fpr=0.01, limit=limit)
            planned = probes_needed_for_tpr(member, nonmember, limit, max_fpr=0.01, power=power)
            if decide(found, limit).verdict is Verdict.INCONCLUSIVE and planned is not None:
                assert planned > size


def test_a_plan_for_a_fail_respects_the_smallest_number_of_non_members():
    member, nonmember = np.arange(200) + 1_000.0, np.arange(200.0)
    assert probes_needed_for_tpr(member, nonmember, 0.5, max_fpr=0.01) == 299


def test_a_plan_below_the_resolution_is_undefined():
    with pytest.raises(InsufficientProbes):
        probes_needed_for_tpr(np.arange(50), np.arange(50), 0.1, max_fpr=0.01)


@pytest.mark.parametrize(("true", "printed"), [(0.55, 413), (0.60, 104), (0.65, 46)])
def test_an_auroc_above_chance_needs_about_what_the_printed_table_says(true, printed):
    measured = auroc(*scores_of(20, np.sqrt(2) * stats.norm.ppf(true)))
    assert probes_needed_for_auroc(measured, 0.5) == pytest.approx(printed, rel=0.12)


def test_a_perfect_auroc_is_planned_from_its_exact_bound():
    measured = auroc(np.arange(5) + 10.0, np.arange(5))
    planned = probes_needed_for_auroc(measured, 0.9)
    assert 0.05 ** (1 / planned) > 0.9 >= 0.05 ** (1 / (planned - 1))
    assert probes_needed_for_auroc(auroc([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]), 0.5) is None


def test_arguments_out_of_range_are_refused():
    with pytest.raises(UsageError, match=r"`value` must be between 0 and 1, got 1\.1"):
        trials_needed(1.1, 0.1)
    with pytest.raises(UsageError, match="`limit` must be at least 0 and below 1, got 1"):
        trials_needed(0.1, 1)
    with pytest.raises(UsageError, match="`power` must be strictly between 0 and 1, got 1"):
        trials_needed(0.1, 0.2, power=1)
