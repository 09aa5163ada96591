"""Each claim at its edges, in seconds: the cases of the benchmark `edge_calibration` with few runs."""

import pytest

from pytest_diffprivacy.statistics.statistic import STATISTICS
from tests.benchmarks.edge_calibration import CASES, allowed


def test_every_statistic_that_judges_has_an_edge():
    assert {case.statistic for case in CASES} - {""} == STATISTICS.keys()


@pytest.mark.parametrize("case", CASES, ids=[f"{case.claim}: {case.edge}" for case in CASES])
def test_a_claim_is_wrong_at_most_as_often_as_it_says(case):
    runs = max(20, case.runs // 20)
    assert max(case.errors(runs, seed=2)) <= allowed(runs)
