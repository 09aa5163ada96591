"""Plans of an AUROC: METHODS' printed sizes, simulation, and what a perfect attack shows."""

import numpy as np
import pytest
from scipy import special

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import Verdict, auroc, decide
from pytest_diffprivacy.statistics.auroc import plan_auroc


@pytest.mark.parametrize(("limit", "printed"), [(0.55, 413), (0.60, 104), (0.65, 46), (0.70, 26)])
def test_sizes_are_those_of_the_printed_formula(limit, printed):
    """The formula has the normal quantile and no logit; Student's quantile makes small sets larger."""
    assert plan_auroc(100, 100, limit=limit).pass_needs == pytest.approx(printed, rel=0.05)


@pytest.mark.parametrize(("members", "nonmembers"), [(80, 90), (40, 300)])
def test_the_promised_powers_are_kept(members, nonmembers):
    plan = plan_auroc(members, nonmembers, limit=0.65)
    shift = np.sqrt(2.0) * special.ndtri(plan.smallest)
    rng = np.random.default_rng(5)

    def share(shift, verdict):
        drawn = [auroc(rng.normal(shift, 1, members), rng.normal(0, 1, nonmembers)) for _ in range(500)]
        return np.mean([decide(found, 0.65).verdict is verdict for found in drawn])

    assert share(shift, Verdict.FAIL) == pytest.approx(0.8, abs=0.06)
    assert share(0.0, Verdict.PASS) == pytest.approx(plan.pass_chance, abs=0.06)


def test_few_probes_show_a_perfect_attack_or_nothing():
    assert plan_auroc(5, 90, limit=0.6).smallest is None
    plan = plan_auroc(6, 6, limit=0.6)
    assert (plan.fail_needs, plan.smallest) == (6, 1.0)
    assert decide(auroc(np.arange(6) + 9.0, np.arange(6.0)), 0.6).verdict is Verdict.FAIL
    assert decide(auroc(np.arange(5) + 9.0, np.arange(5.0)), 0.6).verdict is Verdict.INCONCLUSIVE


def test_at_one_half_no_number_passes():
    assert plan_auroc(100, 100, limit=0.5).pass_needs is None
    with pytest.raises(UsageError, match="`members` must be a whole number of at least 2, got 1"):
        plan_auroc(1, 100, limit=0.6)
