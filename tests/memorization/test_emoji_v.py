"""Detectors on a trained v-prediction pipeline: its score is the true one, and its memorized prompts are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from pytest_diffprivacy import load_model
from pytest_diffprivacy.memorization import hessian_score_scores, score_difference_scores
from pytest_diffprivacy.models import StableDiffusion
from pytest_diffprivacy.statistics import auroc

EXAMPLES = Path(__file__).parents[2] / "example_audits"
TOLD, OTHERS = 20, 40


@pytest.fixture(scope="module")
def model() -> StableDiffusion:
    loaded = load_model(EXAMPLES / "emoji-v", dtype="float32")
    assert isinstance(loaded, StableDiffusion)
    return loaded


@pytest.fixture(scope="module")
def prompts() -> tuple[list[str], list[str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        from emoji_probes import emoji_prompts

        return emoji_prompts("exact").texts[:TOLD], emoji_prompts("many").texts[:OTHERS]


def test_its_record_says_what_it_predicts(model: StableDiffusion) -> None:
    assert model.identity.family == "Stable Diffusion, v_prediction"


@pytest.mark.parametrize("timestep", [981, 501, 21])
def test_its_noise_is_the_schedulers_own(model: StableDiffusion, prompts, timestep: int) -> None:
    """From v = alpha eps - sigma x0: the noise that we read, put back through get_velocity, is the network's output."""
    pipeline = StableDiffusionPipeline.from_pretrained(EXAMPLES / "emoji-v", local_files_only=True)
    x_t = torch.randn((3, *model.sample_shape), generator=torch.Generator().manual_seed(1))
    told = model.condition(prompts[0][:3], 3)
    eps = model.predict_eps(x_t, timestep, told)
    alpha, sigma = model.schedule.at(timestep)
    x0 = (x_t - sigma * eps) / alpha
    velocity = pipeline.scheduler.get_velocity(x0, eps, torch.full((3,), timestep))
    with torch.no_grad():
        output = pipeline.unet.float()(x_t, timestep, encoder_hidden_states=told["encoder_hidden_states"]).sample
    torch.testing.assert_close(velocity, output, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("scores", [score_difference_scores, hessian_score_scores])
@pytest.mark.slow
def test_memorized_prompts_stand_out(model: StableDiffusion, prompts, scores) -> None:
    memorized, others = (scores(model, texts, images_per_prompt=2) for texts in prompts)
    assert np.isfinite(memorized).all()
    assert auroc(memorized, others).low > 0.6
