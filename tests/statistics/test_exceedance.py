"""How unusual a score is among reference scores: counted by hand, and calibrated."""

import numpy as np
import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import exceedance_p_values


def test_it_counts_reference_scores_as_high_or_higher():
    p_values = exceedance_p_values([5.0, 3.0, 2.5, 0.0], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(p_values, [1 / 4, 2 / 4, 2 / 4, 1.0])


def test_it_is_at_most_x_with_probability_at_most_x():
    rng = np.random.default_rng(3)
    drawn = rng.integers(0, 30, (4000, 20)).astype(float)  # with ties
    p_values = np.array([exceedance_p_values(row[:1], row[1:])[0] for row in drawn])
    for x in (0.05, 0.1, 0.5):
        assert (p_values <= x).mean() <= x + 3 * np.sqrt(x * (1 - x) / 4000)


@pytest.mark.parametrize("scores", [[], [np.nan]])
def test_scores_that_are_none_are_refused(scores):
    with pytest.raises(UsageError, match="`scores`"):
        exceedance_p_values(scores, [1.0])
