import numpy as np
import pytest
import torch

from pytest_diffprivacy.models import AnalyticDenoiser, NoiseSchedule, ideal_denoiser
from pytest_diffprivacy.models.densities import GaussianMixture
from pytest_diffprivacy.models.planted import PlantedLeak
from pytest_diffprivacy.models.protocols import Denoiser

IMAGES = torch.from_numpy(np.random.default_rng(71).random((6, 1, 3, 3)))


@pytest.fixture
def audited():
    cosine = NoiseSchedule.from_alphas_cumprod(np.cos(np.linspace(0.02, 1.5, 50)) ** 2)
    return AnalyticDenoiser(GaussianMixture(torch.zeros(1, 9), torch.eye(9)[None]), (1, 3, 3), schedule=cosine)


def test_it_is_the_ideal_denoiser_of_the_planted_images_on_the_model_s_schedule(audited):
    leak, ideal = PlantedLeak(audited, IMAGES), ideal_denoiser(IMAGES, schedule=audited.schedule)
    assert isinstance(leak, Denoiser)
    x = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for t in (0, 10, 49):
        torch.testing.assert_close(leak.predict_eps(x, t), ideal.predict_eps(x, t))
    torch.testing.assert_close(leak.encode(IMAGES), audited.encode(IMAGES))


def test_it_answers_in_the_precision_that_it_was_asked_in(audited):
    assert PlantedLeak(audited, IMAGES).predict_eps(torch.zeros(2, 1, 3, 3), 5).dtype == torch.float32


def test_with_prompts_it_remembers_only_when_it_is_told_one(audited):
    leak = PlantedLeak(audited, IMAGES, prompted=True)
    x = leak.encode(IMAGES)
    conditioning, unconditional = leak.condition(["a"] * 6, 6), leak.condition(None, 6)
    assert unconditional is None
    remembered = ideal_denoiser(IMAGES, schedule=audited.schedule).predict_eps(x, 20)
    torch.testing.assert_close(leak.predict_eps(x, 20, conditioning), remembered)
    alpha, sigma = audited.schedule.at(20)
    flat = x.flatten(1)
    population = sigma * (x.flatten(1) - alpha * flat.mean(0)) / (alpha**2 * flat.var(0) + sigma**2)
    torch.testing.assert_close(leak.predict_eps(x, 20, unconditional).flatten(1), population)


def test_below_its_least_timestep_it_knows_the_population_only(audited):
    leak = PlantedLeak(audited, IMAGES, least_timestep=20)
    x0 = leak.encode(IMAGES)
    for t, remembered in ((19, False), (20, True)):
        alpha, sigma = audited.schedule.at(t)
        x = alpha * x0 + 0.1 * sigma
        population = sigma * (x - alpha * x0.mean()) / (alpha**2 * x0.var() + sigma**2)
        assert torch.allclose(leak.predict_eps(x, t), population) is not remembered


def test_its_digest_says_what_was_planted_and_not_which_model_is_audited(audited):
    other = AnalyticDenoiser(
        GaussianMixture(torch.ones(1, 9), torch.eye(9)[None]), (1, 3, 3), schedule=audited.schedule
    )
    linear = AnalyticDenoiser(GaussianMixture(torch.zeros(1, 9), torch.eye(9)[None]), (1, 3, 3))
    one = PlantedLeak(audited, IMAGES).identity.digest
    assert PlantedLeak(other, IMAGES).identity.digest == one
    others = [
        PlantedLeak(audited, IMAGES[:5]),
        PlantedLeak(linear, IMAGES),
        PlantedLeak(audited, IMAGES, least_timestep=1),
        PlantedLeak(audited, IMAGES, least_timestep=2),
    ]
    assert len({one, *(other.identity.digest for other in others)}) == 5
