"""Plans of what shares something: attacks that must all pass, generations with a nearest record in common."""

import numpy as np
import pytest

from pytest_diffprivacy.statistics import Verdict, decide, family_tpr
from pytest_diffprivacy.statistics.dcr import dcr_share_of_counts
from pytest_diffprivacy.statistics.family import FamilyTprStatistic, plan_tpr, tpr_pass_needs
from pytest_diffprivacy.statistics.shared_records import effective, plan_share, share_facts


@pytest.mark.parametrize("attacks", [1, 4, 8])
def test_the_chance_that_all_attacks_pass_is_that_of_independent_ones(attacks):
    rng, runs, size = np.random.default_rng([51, attacks]), 300, 150
    plan = plan_tpr(size, size, limit=0.2, max_fpr=0.05, attacks=attacks)
    passed = 0
    for _ in range(runs):
        scores = {str(i): (rng.normal(size=size), rng.normal(size=size)) for i in range(attacks)}
        passed += decide(family_tpr(scores, max_fpr=0.05, limit=0.2), 0.2).verdict is Verdict.PASS
    assert passed / runs == pytest.approx(plan.pass_chance, abs=0.03 + 2 * np.sqrt(0.25 / runs))
    needs = tpr_pass_needs(0.2, 0.05, attacks=attacks)
    assert plan_tpr(needs, needs, limit=0.2, max_fpr=0.05, attacks=attacks).pass_chance >= 0.8


def test_a_family_is_planned_as_a_family():
    alone, family = (FamilyTprStatistic(max_fpr=0.01, attacks=tuple("abcd"[:n])).plan((500, 500), 0.05) for n in (1, 4))
    assert "attacks" not in alone["to pass"]
    assert "if its 4 attacks have nothing in common" in family["to pass"]
    assert family["to fail"].startswith("at least 437 non-members")
    one, four = (plan_tpr(500, 500, limit=0.05, max_fpr=0.01, attacks=n) for n in (1, 4))
    assert four.smallest > one.smallest
    assert (four.pass_chance, four.pass_most) == (pytest.approx(one.pass_chance**4), one.pass_chance)


@pytest.mark.parametrize("hubs", [1.0, 3.0])
def test_the_plan_of_a_share_knows_that_generations_share_records(hubs):
    """2N records; with hubs their shares are gamma distributed, so that 2N times the sum of squares is `hubs`."""
    rng, runs, n, size, limit = np.random.default_rng([52, round(hubs)]), 400, 300, 200, 0.6
    plan, passed, counted = plan_share(n, size, limit, hubs=hubs), 0, []
    for _ in range(runs):
        shares = np.full(2 * size, 1.0) if hubs == 1.0 else rng.gamma(1.0 / (hubs - 1.0), size=2 * size)
        counts = rng.multinomial(n, shares / shares.sum())
        found = dcr_share_of_counts(counts[:size], counts[size:], permutations=99)
        passed += found.high <= limit
        counted.append(found.effective)
    assert np.mean(counted) == pytest.approx(plan.counted, rel=0.05)
    assert passed / runs == pytest.approx(plan.pass_chance, abs=0.03 + 2 * np.sqrt(0.25 / runs))


def test_few_records_let_no_number_of_generations_pass():
    assert plan_share(10**6, 50, 0.55, hubs=1.0).pass_needs is None
    assert effective(10**6, 50, 1.0) == pytest.approx(100, rel=1e-3)
    assert "no number" in share_facts((1_000, 50, 50), 0.55, 0.95)["to pass"]
    assert plan_share(10, 50, 0.99, hubs=1.0).smallest is None or plan_share(10, 50, 0.99, hubs=1.0).smallest > 0.99
