"""What a normal audit sends to other processes can be sent, and says the same when it comes back."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from pytest_diffprivacy.membership import (
    ATTACKS,
    ShadowScores,
    gsa_attack,
    gsa_measure,
    lira_attack,
    loss_measure,
    quantile_attack,
)
from pytest_diffprivacy.membership.shadow import digests_of
from pytest_diffprivacy.membership.shadow_training import shadow_splits
from pytest_diffprivacy.memorization import DETECTORS
from pytest_diffprivacy.methods import family_task, resolve
from pytest_diffprivacy.mitigation import (
    AttentionRescaling,
    DelayedGuidance,
    EmbeddingOptimization,
    RandomNumberAddition,
    RandomTokenAddition,
    Sail,
    Unmitigated,
)
from pytest_diffprivacy.models import ideal_denoiser
from pytest_diffprivacy.models.planted import PlantedLeak
from pytest_diffprivacy.sharpness import STATISTICS
from tests.models.builders import binary_images

IMAGES = binary_images(12, 5, side=4)
MODEL = ideal_denoiser(IMAGES[:8])


def sent(thing):
    return pickle.loads(pickle.dumps(thing))


def shadow_table(measure, *shape):
    values = np.random.default_rng(1).normal(size=(8, len(IMAGES), *shape))
    splits = shadow_splits(len(IMAGES), 8, 0)
    return ShadowScores(values, splits, digests_of(IMAGES), [f"model {m}" for m in range(8)], measure)


def darkest(model, images):
    return -images.flatten(1).mean(1).numpy()


def assert_same(task):
    ours, theirs = (
        function(MODEL, IMAGES, batch_size=5, **task.parameters) for function in (task.function, sent(task).function)
    )
    np.testing.assert_array_equal(ours, theirs)
    assert ours.shape == (len(IMAGES), *task.shape)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack(name):
    attack = ATTACKS[name]
    assert sent((attack.scores, dict(attack.defaults))) == (attack.scores, dict(attack.defaults))


def test_a_family_of_attacks_shares_its_evaluations():
    assert_same(family_task(resolve("membership", ["loss", "secmi", "pia"], {"loss": {"draws": 2}}), 4))


def test_a_callable_of_a_module():
    (chosen,) = resolve("membership", darkest)
    assert_same(chosen.task(4))


@pytest.mark.parametrize("attack", ["lira", "quantile"])
def test_an_attack_that_carries_what_it_was_built_with(attack):
    others = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    built = {
        "lira": lambda: lira_attack(shadow_table(loss_measure(draws=2))),
        "quantile": lambda: quantile_attack(others, fpr=0.1, base="loss", bag=2, parameters={"draws": 1}),
    }[attack]()
    (chosen,) = resolve("membership", built)
    assert_same(chosen.task(4))


def test_gsa_carries_its_classifier():
    given = shadow_table(gsa_measure(timesteps=(100,)), 3)
    scores, theirs = gsa_attack(given).scores, sent(gsa_attack(given).scores)
    rows = np.random.default_rng(2).normal(size=(4, 3))
    np.testing.assert_array_equal(scores.args[1].scores(rows), theirs.args[1].scores(rows))


def test_the_bag_of_a_quantile_regression_is_fitted_once_in_a_worker():
    calls = []
    attack = quantile_attack(IMAGES, fpr=0.1, base="loss", bag=1, parameters={"draws": 1})

    class Counting:
        def __init__(self):
            self.identity, self.asked = MODEL.identity, MODEL.predict_eps

        def __getattr__(self, name):
            return getattr(MODEL, name)

        def predict_eps(self, x_t, timestep, conditioning=None):
            calls.append(len(x_t))
            return self.asked(x_t, timestep, conditioning)

    new = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    for _ in range(2):
        sent(attack.scores)(Counting(), new, **{k: v for k, v in attack.defaults.items() if k == "draws"})
    assert calls.count(len(new)) == 2 * (calls.count(len(IMAGES)))
    assert calls.count(len(IMAGES)) > 0


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector(name):
    configured = sent(DETECTORS[name]())
    assert configured.parameters == DETECTORS[name].defaults
    assert configured.method is DETECTORS[name]


@pytest.mark.parametrize("name", STATISTICS)
def test_a_sharpness_statistic(name):
    assert sent(STATISTICS[name].scores) is STATISTICS[name].scores


@pytest.mark.parametrize(
    "mitigation",
    [
        Unmitigated(), AttentionRescaling(), DelayedGuidance(), RandomNumberAddition(), RandomTokenAddition(),
        EmbeddingOptimization(target_loss=1.0), Sail(0.01, 0.1, 1.0),
    ],
    ids=lambda mitigation: mitigation.card.name,
)  # fmt: skip
def test_a_mitigation(mitigation):
    assert sent(mitigation).card == mitigation.card


@pytest.mark.parametrize("least_timestep", [None, 100])
def test_a_positive_control(least_timestep):
    leak = PlantedLeak(MODEL, IMAGES[:4], least_timestep=least_timestep)
    x_t = torch.randn(2, *leak.sample_shape, generator=torch.Generator().manual_seed(6), dtype=leak.dtype)
    assert torch.equal(sent(leak).predict_eps(x_t, 200), leak.predict_eps(x_t, 200))
