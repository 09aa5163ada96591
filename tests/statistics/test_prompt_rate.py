import numpy as np
import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import binomial_lower, binomial_upper, excess_rate, prompt_rate


def table(*rows):
    return np.array(rows, dtype=bool)


HITS = table([1, 0], [0, 0], [0, 1], [1, 1], *[[0, 0]] * 16)
NONE = np.zeros_like(HITS)


def test_a_prompt_counts_once_whatever_the_number_of_guidance_scales():
    found = prompt_rate(HITS, NONE)
    assert (found.hits, found.prompts, found.value) == (3, 20, 0.15)
    assert found.low == binomial_lower(3, 20, confidence=0.95)
    assert found.high == binomial_upper(3, 20, confidence=0.95)
    assert found.false_matches is None


def test_matches_with_unseen_images_are_taken_off_the_lower_bound_only():
    found = prompt_rate(HITS, NONE, HITS)
    assert found.low == 0.0
    assert found.high == prompt_rate(HITS, NONE).high
    everything = np.ones_like(HITS)
    assert prompt_rate(everything, NONE, NONE).low == excess_rate(20, 20, 0, 20, confidence=0.95).low


def test_an_undecided_prompt_is_a_hit_above_and_none_below():
    undecided = table(*[[0, 1]] * 20)
    found = prompt_rate(HITS, undecided)
    assert (found.undecided, found.value) == (17, 0.15)
    assert (found.low, found.high) == (prompt_rate(HITS, NONE).low, 1.0)


@pytest.mark.parametrize("other", [NONE[:19], NONE[:, :1], NONE[:, 0]])
def test_tables_of_different_shapes_are_refused(other):
    with pytest.raises(UsageError, match=r"must be \(prompts, scales\)"):
        prompt_rate(HITS, other)
