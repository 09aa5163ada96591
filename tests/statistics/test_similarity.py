from __future__ import annotations

import numpy as np
import pytest

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics import alike_rate, binomial_lower, binomial_upper
from pytest_diffprivacy.statistics.statistic import recompute, recomputed_p_value

RNG = np.random.default_rng(1)
UNSEEN = RNG.normal(0.3, 0.05, 800)
BOUNDS = {"copy_from": 0.5, "max_false_match_rate": 0.01, "rule_confidence": 0.95, "confidence": 0.95}


def test_a_limit_that_no_unseen_image_reaches_stands_and_the_bounds_are_exact():
    made = np.r_[np.full(30, 0.9), np.full(970, 0.2)]
    found = alike_rate(made, UNSEEN[:400], UNSEEN[400:], **BOUNDS)
    assert (found.threshold, found.copies, found.false_matches) == (0.5, 30, 0)
    assert found.value == 0.03
    assert found.high == pytest.approx(binomial_upper(30, 1000, confidence=0.95))
    lower = binomial_lower(30, 1000, confidence=0.975) - binomial_upper(0, 400, confidence=0.975)
    assert found.low == pytest.approx(lower)


def test_a_limit_that_many_unseen_images_reach_is_raised():
    found = alike_rate(UNSEEN, UNSEEN[:400], UNSEEN[400:], **{**BOUNDS, "copy_from": 0.3})
    assert found.threshold > np.sort(UNSEEN[:400])[-3]
    assert (UNSEEN[:400] >= found.threshold).mean() < 0.01
    assert found.low == 0.0


def test_false_match_rate_and_false_accusations_keep_their_error():
    """A generator that makes images like the unseen ones: the rule's false match rate, and FAIL at limit 0."""
    stream, above, accused, runs = np.random.default_rng(7), 0, 0, 400
    for _ in range(runs):
        found = alike_rate(
            stream.uniform(size=500), stream.uniform(size=150), stream.uniform(size=150),
            copy_from=0.1, max_false_match_rate=0.05, rule_confidence=0.9, confidence=0.9,
        )  # fmt: skip
        above += found.threshold < 0.95  # uniform: its true false match rate is 1 - threshold
        accused += found.low > 0.0
    assert above <= 0.1 * runs + 3.0 * np.sqrt(0.09 * runs)
    assert accused <= 0.1 * runs + 3.0 * np.sqrt(0.09 * runs)


def test_the_copies_are_those_that_were_counted():
    made = np.linspace(0.0, 1.0, 101)
    found = alike_rate(made, UNSEEN[:400], UNSEEN[400:], **BOUNDS)
    assert found.copies == found.is_copy(made).sum() == 51


def test_it_is_had_again_from_its_arrays():
    arrays = {"similarities": [UNSEEN + 0.3], "null": [UNSEEN[:400]], "control": [UNSEEN[400:]]}
    assert recompute("alike_rate", arrays, BOUNDS) == alike_rate(*(a[0] for a in arrays.values()), **BOUNDS)


def test_its_p_value_is_not_held_up_by_the_calibration_of_the_rule():
    """The rule is fixed before; at a confidence of 0.99 the same unseen images could not calibrate another."""
    arrays = {"similarities": [np.full(500, 0.9)], "null": [UNSEEN[:400]], "control": [UNSEEN[400:]]}
    assert recomputed_p_value("alike_rate", arrays, BOUNDS, 0.01) < 1e-6


def test_too_few_or_bad_numbers_are_refused():
    with pytest.raises(InsufficientProbes, match="at least 299 are needed") as caught:
        alike_rate(UNSEEN, UNSEEN[:298], UNSEEN[298:], **BOUNDS)
    assert caught.value.needed == 299
    with pytest.raises(UsageError, match="`similarities`"):
        alike_rate(np.array([np.nan]), UNSEEN[:400], UNSEEN[400:], **BOUNDS)
    with pytest.raises(UsageError, match="`max_false_match_rate`"):
        alike_rate(UNSEEN, UNSEEN, UNSEEN, copy_from=0.5, max_false_match_rate=0.0, rule_confidence=0.95)
