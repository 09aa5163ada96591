"""The model whose planted prompts bring back one picture each."""

import numpy as np
import pytest
import torch

from pytest_diffprivacy.models import AnalyticDenoiser, NoiseSchedule
from pytest_diffprivacy.models.analytic import AnalyticPrompts
from pytest_diffprivacy.models.ddim import guided_ddim
from pytest_diffprivacy.models.densities import GaussianMixture
from pytest_diffprivacy.models.planted import ORDINARY, VARIANCE, PlantedPrompts
from pytest_diffprivacy.models.protocols import PromptedDenoiser, WhiteBoxDenoiser

SHAPE = (1, 2, 3)


@pytest.fixture
def audited():
    schedule = NoiseSchedule.from_alphas_cumprod(np.cos(np.linspace(0.02, 1.5, 50)) ** 2)
    mixture = GaussianMixture(torch.zeros(1, 6), torch.eye(6)[None])
    return AnalyticPrompts(AnalyticDenoiser(mixture, SHAPE, schedule=schedule), {})


def test_a_planted_prompt_brings_back_one_picture_from_any_noise_and_another_prompt_does_not(audited):
    leak = PlantedPrompts(audited, 2)
    assert isinstance(leak, PromptedDenoiser)
    assert isinstance(leak, WhiteBoxDenoiser)
    noise = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for prompt, spread in ((leak.planted[1], 0.0), (leak.others[1], (1.0 - ORDINARY) * VARIANCE)):
        *_, last = guided_ddim(leak, noise, leak.condition([prompt] * 3, 3), steps=50, guidance_scale=1.0)
        found = last.x_next.var(0).mean()
        assert float(found) == pytest.approx(spread, rel=0.9, abs=1e-9)


def test_its_answers_are_those_of_the_gaussian_of_each_prompt(audited):
    leak = PlantedPrompts(audited, 1)
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    conditioning = leak.condition(["", leak.planted[0], leak.others[0]], 3)
    for timestep in (3, 49):
        seen = leak.predict_eps(x, timestep, conditioning)
        for row, variance in enumerate((VARIANCE, 0.0, (1.0 - ORDINARY) * VARIANCE)):
            mean = leak._means[row].flatten()[None]
            exact = AnalyticDenoiser(
                GaussianMixture(mean, variance * torch.eye(6)[None]), SHAPE, schedule=audited.schedule
            )
            torch.testing.assert_close(seen[row], exact.predict_eps(x[row : row + 1], timestep)[0])
    torch.testing.assert_close(leak.predict_eps(x, 3), leak.predict_eps(x, 3, leak.condition(None, 3)))


def test_pictures_have_the_audited_shape_and_the_identity_depends_on_it(audited):
    leak = PlantedPrompts(audited, 2)
    audited.image_shape = (3, 4, 6)
    enlarged = PlantedPrompts(audited, 2)
    x0 = torch.full((2, *SHAPE), 0.5, dtype=torch.float64)
    assert enlarged.decode(x0).shape == (2, 3, 4, 6)
    assert set(enlarged.decode(x0).unique().tolist()) == {0.75}
    torch.testing.assert_close(enlarged.encode(enlarged.decode(x0)), x0)
    torch.testing.assert_close(leak.encode(leak.decode(x0)), x0)
    assert leak.identity.digest != enlarged.identity.digest
    assert leak.predict_eps(x0.float(), 5).dtype == torch.float32
