"""Copies among generations: a rule fixed on unseen images, its false matches, and what there is to show."""

import numpy as np
import pytest

from pytest_diffprivacy.errors import InsufficientProbes, ProbeError
from pytest_diffprivacy.extraction import adaptive_distances, calibrate_rule, filter_generations
from pytest_diffprivacy.probes import ProbeSet
from tests.models.builders import smooth_images

MEMBERS, OTHERS = smooth_images(40, 1).numpy(), smooth_images(80, 2).numpy()


def probes(members=40, others=80):
    return ProbeSet(MEMBERS[:members], OTHERS[:others])


def rule_of(found=None, **changes):
    arguments = {"delta": 0.15, "max_false_match_rate": 0.1, "confidence": 0.95, "seed": 3}
    return calibrate_rule(found or probes(), **(arguments | changes))


def noisy(images, seed=5):
    noise = np.random.default_rng(seed).normal(0, 0.01, images.shape)
    return np.clip(images + noise, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def rule():
    return rule_of()


def test_half_of_the_unseen_images_calibrate_and_the_other_half_controls(rule):
    found = probes()
    assert len(rule.null) == 40
    assert len(rule.control) == 40
    control = set(rule.control.digests)
    calibration = [i for i, digest in enumerate(found.nonmembers.digests) if digest not in control]
    assert len(calibration) == 40
    expected = adaptive_distances(found.nonmembers.load(calibration), found.members).adaptive
    np.testing.assert_array_equal(np.sort(rule.null), np.sort(expected))


def test_the_threshold_lies_below_the_distances_of_unseen_images_and_the_papers(rule):
    assert rule.threshold.threshold <= 1.0
    assert (rule.null <= rule.threshold.threshold).mean() <= 0.1
    low = rule_of(ceiling=100.0)
    assert low.threshold.threshold < np.sort(low.null)[low.threshold.rank - 1]
    assert not low.threshold.ceiling_decided


def test_the_rule_is_fixed_by_the_seed(rule):
    assert rule_of().control.digest == rule.control.digest
    assert rule_of(seed=4).control.digest != rule.control.digest


def test_the_control_is_as_large_as_the_members_it_is_compared_with():
    few_members = rule_of(probes(members=12))
    assert len(few_members.control) == len(few_members.compared) == 12
    few_others = rule_of(probes(others=60))
    assert len(few_others.control) == len(few_others.compared) == 30
    assert len(set(few_others.compared.tolist())) == 30


@pytest.mark.parametrize("others", [1, 2, 10, 57])
def test_too_few_unseen_images_are_an_error_that_says_how_many_are_needed(others):
    with pytest.raises(InsufficientProbes, match="58 are needed") as caught:
        rule_of(probes(others=others))
    assert caught.value.needed == 58


def test_two_sides_that_are_too_small_for_a_control_are_refused():
    with pytest.raises(ProbeError, match="at least 3 non-members and members, got 2"):
        rule_of(probes(others=4), max_false_match_rate=0.9, confidence=0.6)


def test_copies_of_members_are_copies_and_unseen_images_are_not(rule):
    generations = np.concatenate([noisy(MEMBERS[[4, 7, 4]]), smooth_images(6, 9).numpy()])
    found = filter_generations([generations], probes().members, rule)
    assert found.copies.tolist() == [True] * 3 + [False] * 6
    assert found.extracted.tolist() == [4, 7]
    assert not found.false_matches.any()


def test_copies_of_control_images_are_false_matches(rule):
    control = rule.control.load([0, 1])
    found = filter_generations([np.concatenate([noisy(control), noisy(MEMBERS[:1])])], probes().members, rule)
    assert found.false_matches.tolist() == [True, True, False]
    assert found.copies.tolist() == [False, False, True]
    assert found.control_matches.nearest[:2].tolist() == [0, 1]


def test_only_the_compared_members_stand_against_the_control():
    rule = rule_of(probes(others=60))
    left_out = next(i for i in range(40) if i not in rule.compared)
    chosen = int(rule.compared[0])
    found = filter_generations([noisy(MEMBERS[[left_out, chosen]])], probes().members, rule)
    assert found.copies.tolist() == [True, True]
    assert found.compared_copies.tolist() == [False, True]


def test_blocks_change_nothing(rule):
    generations = noisy(np.concatenate([MEMBERS[:5], OTHERS[:6]]))
    whole = filter_generations([generations], probes().members, rule)
    parts = filter_generations([generations[:2], generations[2:9], generations[9:]], probes().members, rule)
    np.testing.assert_array_equal(parts.copies, whole.copies)
    np.testing.assert_array_equal(parts.matches.nearest, whole.matches.nearest)
    np.testing.assert_allclose(parts.matches.adaptive, whole.matches.adaptive, rtol=1e-12)
    assert [(e.index, e.nearest) for e in parts.examples] == [(e.index, e.nearest) for e in whole.examples]


def test_examples_are_the_closest_copy_of_each_member_first(rule):
    exact, rough = MEMBERS[[2]], noisy(MEMBERS[[2, 8]])
    generations = np.concatenate([smooth_images(4, 9).numpy(), rough, exact])
    found = filter_generations([generations[:5], generations[5:]], probes().members, rule, examples=4)
    shown = found.examples
    assert len(shown) == 4
    assert [(e.index, e.nearest, e.copy) for e in shown[:2]] == [(6, 2, True), (5, 8, True)]
    assert not any(e.copy for e in shown[2:])
    assert len({e.nearest for e in shown}) == 4
    np.testing.assert_array_equal(shown[0].image, exact[0])
    for example in shown:
        assert example.adaptive == found.matches.adaptive[example.index]
        np.testing.assert_array_equal(example.image, generations[example.index])


def test_a_near_miss_in_pixels_is_no_copy():
    """Both conditions count: conspicuous, but farther than delta."""
    found = filter_generations([noisy(MEMBERS[:3])], probes().members, rule_of(delta=0.001))
    assert not found.copies.any()
    assert found.extracted.tolist() == []
