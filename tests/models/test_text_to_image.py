"""Stable Diffusion pipelines: the bare pipeline as ground truth, every access, and batches that do not matter."""

import pytest
import torch
from diffusers import (
    DDPMScheduler,
    EulerAncestralDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
)

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.membership import clid_scores, loss_scores
from pytest_diffprivacy.models import (
    CrossAttention,
    Denoiser,
    Generator,
    PromptedDenoiser,
    StableDiffusion,
    WhiteBoxDenoiser,
    load_model,
)
from pytest_diffprivacy.models.noise import start_noise
from pytest_diffprivacy.models.prediction import PredictionType, prediction_from_eps
from tests.models.builders import smooth_images
from tests.models.text_builders import golden_pipeline, golden_text_model, other_unet, text_inputs

TEXTS = ["a dog on the moon", "cat"]


@pytest.fixture(scope="module")
def model():
    return golden_text_model("eps", torch.float32)


def test_it_offers_every_level_of_access(model):
    for protocol in (Generator, Denoiser, WhiteBoxDenoiser, PromptedDenoiser, CrossAttention):
        assert isinstance(model, protocol)
    assert model.sample_shape == (4, 8, 8)
    assert model.image_shape == (3, 16, 16)
    assert sum(p.numel() for _, p in model.named_parameters()) == model.identity.parameters
    assert model.identity.access == "white box"


@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
@pytest.mark.parametrize("scheduler", ["own", PNDMScheduler])
@pytest.mark.slow
def test_generations_are_the_bare_pipelines_for_the_same_noise(scheduler, guidance_scale):
    pipeline = golden_pipeline()
    if scheduler != "own":
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    model = load_model(pipeline)
    bare = pipeline(
        prompt=TEXTS,
        latents=start_noise([5, 6], (4, 8, 8)).float(),
        num_inference_steps=6,
        guidance_scale=guidance_scale,
        output_type="pt",
    ).images
    ours = model.generate([5, 6], prompts=TEXTS, steps=6, guidance_scale=guidance_scale)
    torch.testing.assert_close(ours, bare, rtol=0, atol=1e-5)


def test_a_negative_prompt_is_the_pipelines_own():
    pipeline = golden_pipeline()
    model = load_model(pipeline)
    bare = pipeline(
        prompt=TEXTS,
        negative_prompt=["red hat"] * 2,
        latents=start_noise([5, 6], (4, 8, 8)).float(),
        num_inference_steps=3,
        output_type="pt",
    ).images
    ours = model.generate([5, 6], prompts=TEXTS, steps=3, negative_prompt="red hat")
    torch.testing.assert_close(ours, bare, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with NumPy 2
@pytest.mark.parametrize("scheduler", [None, EulerAncestralDiscreteScheduler, DDPMScheduler])
@pytest.mark.slow
def test_an_image_depends_on_its_seed_and_prompt_alone_whatever_the_scheduler(scheduler):
    pipeline = golden_pipeline()
    if scheduler is not None:
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    model = load_model(pipeline)
    together = model.generate([1, 2, 3], prompts=["cat", "bird", "cat"], steps=5)
    alone = [model.generate([seed], prompts=[p], steps=5) for seed, p in ((1, "cat"), (2, "bird"), (3, "cat"))]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)
    assert not torch.allclose(together[0], together[2], atol=1e-3)


def test_no_prompt_is_the_empty_prompt_without_guidance(model):
    unguided = model.generate([4], prompts=[""], steps=3, guidance_scale=1.0)
    torch.testing.assert_close(model.generate([4], steps=3), unguided)


def test_generating_leaves_the_users_pipeline_as_it_was(capsys):
    pipeline = golden_pipeline()
    scheduler, settings = pipeline.scheduler, dict(pipeline.scheduler.config)
    before = torch.get_rng_state()
    capsys.readouterr()
    load_model(pipeline).generate([1], prompts=["cat"], steps=2)
    assert pipeline.scheduler is scheduler
    assert dict(pipeline.scheduler.config) == settings
    assert torch.equal(torch.get_rng_state(), before)
    assert capsys.readouterr().err == ""
    assert not hasattr(pipeline, "_progress_bar_config")


@pytest.mark.parametrize("kind", ["eps", "v"])
def test_the_networks_own_prediction_is_converted_to_noise(kind):
    model = golden_text_model(kind)
    pipeline = golden_pipeline()
    torch.nn.Module.to(pipeline.unet, torch.float64)
    x = text_inputs()["latents"][:2, 0].double()
    conditioning = model.condition(TEXTS, 2)
    eps = model.predict_eps(x, 300, conditioning)
    with torch.no_grad():
        output = pipeline.unet(x, 300, encoder_hidden_states=conditioning["encoder_hidden_states"]).sample
    kinds = {"eps": PredictionType.EPS, "v": PredictionType.V}
    torch.testing.assert_close(prediction_from_eps(eps, x, *model.schedule.at(300), kinds[kind]), output)
    if kind == "v":  # the scheduler's own arithmetic
        x0 = model.schedule.alphas[300] * x - model.schedule.sigmas[300] * output
        velocity = pipeline.scheduler.get_velocity(x0, eps, torch.tensor([300, 300]))
        torch.testing.assert_close(velocity, output, rtol=1e-5, atol=1e-5)


def test_latents_are_the_scaled_mode_of_the_posterior(model):
    images = smooth_images(2, 3, side=16, channels=3)
    pipeline = golden_pipeline()
    with torch.no_grad():
        mode = pipeline.vae.encode(images * 2 - 1).latent_dist.mode()
        expected = (pipeline.vae.decode(mode).sample / 2 + 0.5).clamp(0, 1)
    latents = model.encode(images)
    torch.testing.assert_close(latents, mode * 0.18215)
    torch.testing.assert_close(model.decode(latents), expected)
    assert float(model.decode(latents * 100).max()) <= 1.0


def test_images_of_another_size_are_refused(model):
    with pytest.raises(ModelError, match=r"model's shape \(3, 16, 16\), got \(3, 8, 8\). Resize them"):
        model.encode(torch.zeros(1, 3, 8, 8))


def test_the_forward_derivative_is_the_finite_difference():
    model = golden_text_model()
    x, direction = (text_inputs()["latents"][:2, i].double() for i in (0, 1))
    conditioning = model.condition(TEXTS, 2)
    eps, product = model.eps_jvp(x, 500, direction, conditioning)
    with torch.no_grad():
        there, back = (model.predict_eps(x + h * direction, 500, conditioning) for h in (1e-5, -1e-5))
    torch.testing.assert_close(eps, model.predict_eps(x, 500, conditioning))
    torch.testing.assert_close(product, (there - back) / 2e-5, rtol=1e-6, atol=1e-7)


def test_membership_attacks_take_captions(model):
    images = smooth_images(2, 3, side=16, channels=3)
    captioned = loss_scores(model, images, draws=1, prompts=TEXTS)
    assert (captioned != loss_scores(model, images, draws=1)).all()
    assert clid_scores(model, images, prompts=TEXTS, timesteps=[300]).shape == (2,)


@pytest.mark.parametrize(
    ("prompts", "message"), [(["cat"], "must be 2 texts, one for each row, got 1"), ([1, 2], "got 1")]
)
def test_prompts_that_do_not_fit_are_refused(model, prompts, message):
    with pytest.raises(ModelError, match=message):
        model.condition(prompts, 2)


@pytest.mark.slow
def test_the_digest_names_every_part_and_nothing_else(model):
    digest = model.identity.digest
    assert load_model(golden_pipeline(), dtype=torch.float64).identity.digest == digest
    assert StableDiffusion(golden_pipeline(), name="other").identity.digest == digest
    others = {load_model(golden_pipeline(prediction_type="v_prediction")).identity.digest}
    for part in ("unet", "vae", "text_encoder"):
        pipeline = golden_pipeline()
        with torch.no_grad():
            next(getattr(pipeline, part).parameters()).add_(1e-3)
        others.add(load_model(pipeline).identity.digest)
    pipeline = golden_pipeline()
    pipeline.tokenizer.add_tokens("<private>")
    others.add(load_model(pipeline).identity.digest)
    assert len(others | {digest}) == 6


def test_another_resolution_and_other_heads_are_the_same_to_the_audit():
    pipeline = golden_pipeline()
    pipeline = StableDiffusionPipeline(**pipeline.components | {"unet": other_unet()}, requires_safety_checker=False)
    model = load_model(pipeline)
    assert model.sample_shape == (4, 6, 6)
    assert model.image_shape == (3, 12, 12)


def test_an_inpainting_network_is_refused():
    parts = golden_pipeline().components | {"unet": other_unet(in_channels=9)}
    with pytest.raises(ModelError, match="takes 9 channels and returns 4: it is made for inpainting or editing"):
        load_model(StableDiffusionPipeline(**parts, requires_safety_checker=False))


def test_an_autoencoder_of_another_model_is_refused():
    parts = golden_pipeline().components | {"unet": other_unet(in_channels=3, out_channels=3)}
    with pytest.raises(ModelError, match="autoencoder's latents have 4 channels, the network takes 3"):
        load_model(StableDiffusionPipeline(**parts, requires_safety_checker=False))


def test_networks_in_several_precisions_are_refused_unless_one_is_given():
    pipeline = golden_pipeline()
    pipeline.text_encoder.half()  # as transformers loads a file in half precision
    with pytest.raises(ModelError, match=r"one precision, got .*unet in float32.*dtype='float32'") as refused:
        load_model(pipeline)
    assert "text_encoder in float16" in str(refused.value)
    assert load_model(pipeline, dtype="float32").generate([1], prompts=["cat"], steps=1).dtype == torch.float32
