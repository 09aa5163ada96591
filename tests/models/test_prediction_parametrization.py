"""The parametrisation must not matter: one Gaussian mixture as eps, x0, v, D(x, sigma) and a flow velocity."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from pytest_diffprivacy.evidence.access import Access
from pytest_diffprivacy.membership import ATTACKS
from pytest_diffprivacy.memorization import DETECTORS, PromptSampling, watch_prompts
from pytest_diffprivacy.models import NetworkDenoiser, NoiseSchedule, ReferenceTimestep, flow_network, karras_denoiser
from pytest_diffprivacy.models.densities import GaussianMixture
from pytest_diffprivacy.models.protocols import PromptedDenoiser
from pytest_diffprivacy.sharpness import STATISTICS

SHAPE = (1, 4, 4)
VP = NoiseSchedule.linear()
RATIOS = VP.sigmas / VP.alphas
OTHERS = ("sample", "v_prediction", "EDM", "flow")
PROMPTED = ("score_difference", "hessian_score", "tiled_l2", "anisotropy")


@lru_cache(maxsize=2)
def density(seed):
    rng = np.random.default_rng(seed)
    means = rng.normal(0.0, 0.5, (3, 16))
    roots = rng.normal(0.0, 0.15, (3, 16, 16))
    return GaussianMixture(
        torch.from_numpy(means),
        torch.from_numpy(roots @ roots.transpose(0, 2, 1) + 0.05 * np.eye(16)),
        torch.ones(3, dtype=torch.float64),
    )


def posterior_mean(x, alpha, sigma, prompted):
    """E[x0 | x] row by row; prompted 0 is the unconditional density, 1 that of the prompt."""
    flat = x.flatten(1)
    scores = torch.stack([density(seed).score(flat, alpha, sigma) for seed in (1, 2)])
    score = torch.where(prompted[:, None] == 1, scores[1], scores[0])
    return ((flat + sigma**2 * score) / alpha).reshape(x.shape)


def variance_preserving(kind):
    def network(x, times, prompted):
        alpha, sigma = VP.at(int(times[0]))
        x0 = posterior_mean(x, alpha, sigma, prompted)
        eps = (x - alpha * x0) / sigma
        return {"epsilon": eps, "sample": x0, "v_prediction": alpha * eps - sigma * x0}[kind]

    return network


def flow(x, times, prompted):
    t = float(times[0])
    x0 = posterior_mean(x, 1.0 - t, t, prompted)
    return (x - x0) / t  # eps - x0 with x = (1 - t) x0 + t eps


def edm(x, sigmas, prompted):
    return posterior_mean(x, 1.0, float(sigmas[0]), prompted)


def prompted(prompts):
    return torch.tensor([0 if prompt == "" else 1 for prompt in prompts])


class Texts:
    """A model that says how long its prompts are."""

    token_limit = 77

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def token_counts(self, prompts):
        return [3 for _ in prompts]


@lru_cache(maxsize=5)
def model(kind):
    settings = {"embed": prompted, "name": kind, "version": "test", "dtype": torch.float64}
    if kind == "EDM":
        found = karras_denoiser(edm, SHAPE, sigmas=RATIOS, **settings)
    elif kind == "flow":
        found = flow_network(flow, SHAPE, times=RATIOS / (1.0 + RATIOS), **settings)
    else:
        found = NetworkDenoiser(variance_preserving(kind), VP, SHAPE, predicts=kind, **settings)
    found.schedule = replace(found.schedule, spacing="leading")  # the same steps, whatever each family prefers
    return found


@lru_cache(maxsize=1)
def images():
    return torch.from_numpy(np.random.default_rng(3).uniform(0.2, 0.8, (6, *SHAPE)))


def assert_same(found, expected):
    assert np.isfinite(expected).all()
    assert np.ptp(expected) > 0.0
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@lru_cache(maxsize=64)
def attacked(name, kind):
    attack = ATTACKS[name]
    few = {key: 2 for key in ("draws", "samples") if key in attack.defaults}
    prompts = ["a"] * 3 + ["b"] * 3 if attack.needs_prompts else None
    seeded = {"seed": 5} if attack.seeded else {}
    return attack.scores(model(kind), images(), **{**attack.defaults, **few}, **seeded, prompts=prompts)


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.access is not Access.BLACK_BOX])
@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.slow
def test_every_membership_attack_gives_the_same_score(name, kind):
    assert_same(attacked(name, kind), attacked(name, "epsilon"))


@lru_cache(maxsize=64)
def sharp(name, kind):
    statistic = STATISTICS[name]
    return statistic.scores(model(kind), images(), timestep=ReferenceTimestep(100), draws=2, seed=5)


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("kind", OTHERS)
def test_every_sharpness_statistic_gives_the_same_score(name, kind):
    assert_same(sharp(name, kind), sharp(name, "epsilon"))


@lru_cache(maxsize=5)
def watched(kind):
    noise = torch.from_numpy(np.random.default_rng(4).normal(size=(3, 4, *SHAPE)))
    texts = Texts(model(kind))
    assert isinstance(texts, PromptedDenoiser)
    asked = {name: DETECTORS[name]() for name in PROMPTED}
    kept = watch_prompts(texts, ["a", "b", "c"], asked, PromptSampling(10, 10, guidance_scale=1.0), latents=noise)
    return {name: asked[name].scores(kept[name]) for name in PROMPTED}


@pytest.mark.parametrize("kind", OTHERS)
def test_every_detector_without_attention_gives_the_same_score(kind):
    for name in PROMPTED:
        assert_same(watched(kind)[name], watched("epsilon")[name])


@pytest.mark.parametrize("kind", OTHERS)
def test_generations_are_the_same(kind):
    expected = model("epsilon").generate([1, 2], prompts=["a", "b"], steps=8)
    torch.testing.assert_close(model(kind).generate([1, 2], prompts=["a", "b"], steps=8), expected, rtol=0, atol=1e-6)
