"""The ratio attack: reference values, where the public code goes another way, and the attack with models."""

import re

import numpy as np
import pytest

from pytest_diffprivacy import UsageError
from pytest_diffprivacy.membership import (
    ShadowScores,
    log_ratio_scores,
    loss_measure,
    population_share,
    published_ratio_scores,
    ratio_attack,
    ratio_scores,
)
from pytest_diffprivacy.membership.ratio import leave_one_out
from pytest_diffprivacy.membership.shadow import PlannedShadows
from pytest_diffprivacy.statistics import auroc
from tests.membership.second_golden import assert_agrees, golden_input, golden_keys

GROUP = "ratio"


def signals(kind, models):
    """The target, its references and who saw what; and the population's."""
    values, population = (golden_input(GROUP, f"rmia_{name}").numpy().T for name in kind)
    columns = slice(2, 2 + models)
    seen = golden_input(GROUP, "rmia_members").numpy().T[columns]
    return (values[0], values[columns], seen), (population[0], population[columns])


PROBABILITIES, LOSSES = ("signals", "population"), ("losses", "losses_population")


@pytest.mark.parametrize("key", golden_keys(GROUP))
def test_every_reference_value_is_met(key):
    """Those of the public code by `published_ratio_scores`, those of formulas by the forms of this package."""
    name, count = re.sub(r"\.(K\d|a[\d.]+$|tau\d+).*", "", key), int((re.search(r"K(\d)", key) or [0, 1])[1])
    a = float((re.search(r"a([\d.]+)$", key) or [0, 0.3])[1])
    own, points = signals(LOSSES if "log_ratio" in key else PROBABILITIES, 2 * count)
    nobody = np.zeros(points[1].shape, dtype=bool)
    if name == "rmia.tuned":
        a = 0.0  # what the code's tuning on the paired model's labels gives
    if "single_out" in key:
        one, z = np.zeros((1, 60), dtype=bool), ratio_scores(points[0], points[1][:1], nobody[:1], a=a)
        assert_agrees(GROUP, key, population_share(ratio_scores(own[0], own[1][:1], one, a=a), z))
    elif name == "rmia.online":
        z = ratio_scores(*points, nobody, online=True)
        assert_agrees(GROUP, key, population_share(ratio_scores(*own, online=True), z))
    elif name in ("rmia.offline", "rmia.offline_pair", "rmia.offline_privacyguard", "rmia.tuned"):
        given = {"population_target": points[0], "population_references": points[1], "a": a}
        given |= {"convert": name != "rmia.offline_pair"}
        assert_agrees(GROUP, key, published_ratio_scores(*own, **given))
    elif name == "formula_rmia.ratio":
        assert_agrees(GROUP, key, ratio_scores(*own, a=a))
    elif name == "formula_rmia.ratio_online":
        assert_agrees(GROUP, key, ratio_scores(*own, online=True))
    elif name == "formula_rmia.offline":
        assert_agrees(GROUP, key, population_share(ratio_scores(*own, a=a), ratio_scores(*points, nobody, a=a)))
    elif name == "formula_rmia.log_ratio_population":
        assert_agrees(GROUP, key, population_share(log_ratio_scores(*own), log_ratio_scores(*points, nobody)))
    else:
        tau = re.search(r"tau(\d+)", key)
        chosen = {
            "formula_rmia.log_ratio": {},
            "formula_rmia.log_ratio_lme": {"tau": float(tau[1]) if tau else None},
            "formula_rmia.log_ratio_online": {"form": "online"},
            "formula_rmia.relative_log_ratio": {"relative": True},
        }[name]
        assert_agrees(GROUP, key, log_ratio_scores(*own, **chosen))


def test_a_large_temperature_is_the_mean():
    own, _ = signals(LOSSES, 4)
    np.testing.assert_allclose(log_ratio_scores(*own, tau=1e7), log_ratio_scores(*own), atol=1e-4)


def test_exchanging_target_and_reference_turns_the_score_round():
    rng = np.random.default_rng(3)
    target, reference, nobody = rng.normal(5, 1, 40), rng.normal(5, 1, (1, 40)), np.zeros((1, 40), dtype=bool)
    forward = log_ratio_scores(target, reference, nobody)
    np.testing.assert_allclose(log_ratio_scores(reference[0], target[None], nobody), -forward)


def test_difficulty_of_images_cancels_and_membership_stays():
    rng = np.random.default_rng(5)
    difficulty, inside = rng.normal(100, 30, 600), np.arange(600) < 300
    references = difficulty + rng.normal(0, 1, (2, 600))
    target = difficulty - 2.0 * inside + rng.normal(0, 1, 600)
    scores = log_ratio_scores(target, references, np.zeros((2, 600), dtype=bool))
    assert auroc(-target[inside], -target[~inside]).value < 0.56
    assert auroc(scores[inside], scores[~inside]).value > 0.8


def test_nothing_is_found_where_nothing_is():
    """200 audits of 100 and 100 images with pairs of references that saw complementary halves: errors as nominal."""
    rng, wrong = np.random.default_rng(7), 0
    for _ in range(200):
        losses, pair = rng.normal(50, 10, 200) + rng.normal(0, 1, (3, 200)), rng.random(200) < 0.5
        losses[1:] -= 1.5 * np.stack([pair, ~pair])
        scores = log_ratio_scores(losses[0], losses[1:], np.stack([pair, ~pair]))
        wrong += auroc(scores[:100], scores[100:]).low > 0.5
    assert wrong <= 200 * 0.05 + 2 * np.sqrt(200 * 0.05 * 0.95)


def references(models=4, images=30):
    rng = np.random.default_rng(9)
    inside = rng.random((models // 2, images)) < 0.5
    seen = np.stack([side for half in inside for side in (half, ~half)])
    losses = 20 + rng.normal(0, 1, (models, images)) - 3.0 * seen
    digests = [bytes([i]) * 32 for i in range(images)]
    return ShadowScores(losses, seen, digests, [str(m) for m in range(models)], loss_measure(draws=1))


def test_a_reference_as_the_target_is_not_compared_with_its_partner():
    shadows = references()
    scores = leave_one_out(shadows)
    assert scores.shape == (4, 30)
    expected = log_ratio_scores(shadows.losses[0], shadows.losses[2:], shadows.membership[2:])
    np.testing.assert_array_equal(scores[0], expected)
    assert auroc(scores[shadows.membership], scores[~shadows.membership]).value > 0.9


def test_the_attack_says_what_it_needs_and_costs():
    attack = ratio_attack(references(2))
    assert (attack.name, attack.title) == ("ratio", "Ratio attack, 2 reference models")
    assert attack.evaluations(attack.defaults) == 2  # a draw of the image and one of its mirror image
    planned = ratio_attack(PlannedShadows(2, loss_measure(draws=1)))
    assert planned.title == attack.title
    with pytest.raises(UsageError, match="not trained while an audit is planned"):
        planned.scores(None, None)


def test_bad_arguments_are_named():
    with pytest.raises(UsageError, match=r"`references` must be \(references, images\)"):
        log_ratio_scores(np.ones(3), np.ones((3, 2)), np.zeros((3, 2), dtype=bool))
    with pytest.raises(UsageError, match="a model that did not see each image, got none for 2 of 3"):
        log_ratio_scores(np.ones(3), np.ones((1, 3)), np.array([[True, True, False]]))
    with pytest.raises(UsageError, match="`seen` must be bool"):
        log_ratio_scores(np.ones(3), np.ones((1, 3)), np.zeros((1, 3)))
    with pytest.raises(UsageError, match="`tau` must be positive"):
        log_ratio_scores(np.ones(3), np.ones((1, 3)), np.zeros((1, 3), dtype=bool), tau=0.0)
    with pytest.raises(UsageError, match=r"must be probabilities in \[0, 1\]"):
        ratio_scores(np.full(3, 2.0), np.ones((1, 3)), np.zeros((1, 3), dtype=bool))
    with pytest.raises(UsageError, match="a model that saw each image, got none"):
        log_ratio_scores(np.ones(3), np.ones((1, 3)), np.zeros((1, 3), dtype=bool), form="online")
