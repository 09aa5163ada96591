"""Guided DDIM: diffusers' own pipeline as ground truth, one call a step, and rules that change the guidance."""

from itertools import pairwise

import pytest
import torch

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models import load_model
from pytest_diffprivacy.models.ddim import guided_ddim, predict_pair
from tests.models.text_builders import golden_pipeline, golden_text_model, prompted_mixtures, text_inputs, text_values


def start(prompts=(0, 1)):
    return text_inputs()["latents"][list(prompts)].flatten(0, 1)


def walk(model, x, prompts=(0, 1), **arguments):
    texts = [text_inputs()["prompts"][i] for i in prompts]
    conditioning = model.condition(texts, len(texts)).repeated(len(x) // len(texts))
    return list(guided_ddim(model, x, conditioning, **arguments))


@pytest.mark.parametrize("kind", ["eps", "v"])
@pytest.mark.parametrize("steps", [1, 5])
def test_the_walk_ends_where_the_published_codes_pipeline_ends(kind, steps):
    end = walk(golden_text_model(kind), start(), steps=steps)[-1].x_next
    expected = text_values()[f"wen.{kind}.steps{steps}.final_latents"][:2].flatten(0, 1)
    tolerance = {"eps": 1e-12, "v": 5e-7}[kind]  # the rounded roots of a v-model do not satisfy alpha^2 + sigma^2 = 1
    torch.testing.assert_close(end, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


@pytest.mark.slow
def test_the_walk_of_fifty_steps_ends_there_in_single_precision_too():
    model = golden_text_model("eps", torch.float32)
    end = walk(model, start([0]), [0], steps=50)[-1].x_next
    expected = text_values()["wen.eps.steps50.final_latents"][0]
    torch.testing.assert_close(end.double(), expected, rtol=0, atol=2e-5 * float(expected.abs().max()))


def test_the_walk_from_noise_without_any_signal_ends_where_the_pipeline_ends():
    settings = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}
    pipeline, texts = golden_pipeline(**settings), ["a dog on the moon", "cat"]
    pipeline.set_progress_bar_config(disable=True)
    model, x_T = load_model(pipeline), torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    assert model.schedule.sampling_timesteps(4)[0] == 999
    steps = list(guided_ddim(model, x_T, model.condition(texts, 2), steps=4, guidance_scale=3.0))
    own = pipeline(prompt=texts, latents=x_T, num_inference_steps=4, guidance_scale=3.0, output_type="latent").images
    torch.testing.assert_close(steps[-1].x_next, own, rtol=0, atol=5e-3)  # a bit of signal stands for none


def test_a_step_costs_one_call_with_two_rows_an_image(monkeypatch):
    model = prompted_mixtures()
    calls = []
    predict = model.predict_eps
    monkeypatch.setattr(model, "predict_eps", lambda x, t, c=None: calls.append(len(x)) or predict(x, t, c))
    x = torch.randn(3, 1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    steps = list(guided_ddim(model, x, model.condition(["broad"] * 3, 3), steps=4))
    assert calls == [6] * 4
    assert [s.index for s in steps] == [0, 1, 2, 3]
    assert all(torch.equal(a.x_next, b.x_t) for a, b in pairwise(steps))


def test_a_pair_is_the_two_branches_asked_alone():
    model, x = golden_text_model(), start().double()
    conditioning = model.condition(text_inputs()["prompts"][:2], 2).repeated(2)
    eps_u, eps_c = predict_pair(model, x, 500, conditioning, None)
    torch.testing.assert_close(eps_u, model.predict_eps(x, 500))
    torch.testing.assert_close(eps_c, model.predict_eps(x, 500, conditioning))


def test_a_rule_may_change_the_guidance_of_each_step_and_row():
    model, x = prompted_mixtures(), torch.ones(2, 1, 2, 3, dtype=torch.float64)
    conditioning = model.condition(["broad", "needle"], 2)

    def rule(timestep, eps_u, eps_c):
        return torch.tensor([2.0, 0.0]).reshape(2, 1, 1, 1) if timestep >= 500 else 1.0

    ruled = list(guided_ddim(model, x, conditioning, steps=4, guidance_scale=rule))
    twice = list(guided_ddim(model, x, conditioning, steps=4, guidance_scale=2))
    never = list(guided_ddim(model, x, conditioning, steps=4, guidance_scale=0.0))
    torch.testing.assert_close(ruled[1].x_next[0], twice[1].x_next[0])
    torch.testing.assert_close(ruled[1].x_next[1], never[1].x_next[1])
    assert not torch.allclose(ruled[3].x_next[0], twice[3].x_next[0])


def test_another_branch_may_stand_where_the_empty_prompt_stands():
    model, x = prompted_mixtures(), torch.ones(1, 1, 2, 3, dtype=torch.float64)
    needle, broad = (model.condition([p], 1) for p in ("needle", "broad"))
    step = next(guided_ddim(model, x, needle, unconditional=broad, steps=4))
    torch.testing.assert_close(step.eps_u, model.predict_eps(x, step.timestep, broad))


@pytest.mark.parametrize("shape", [(2, 1, 2, 3), (1, 1, 3, 2)])
def test_noise_that_does_not_fit_is_refused(shape):
    model = prompted_mixtures()
    with pytest.raises(UsageError, match=r"`x_T` must have shape \(1, \(1, 2, 3\)\), one row for each prompt"):
        next(guided_ddim(model, torch.zeros(shape), model.condition(["needle"], 1)))
