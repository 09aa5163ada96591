"""Pixel-space diffusers models: what they predict, who they are, and the same image from the same seed."""

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.membership import loss_scores
from pytest_diffprivacy.models import Denoiser, Generator, PixelDiffusion, WhiteBoxDenoiser, load_model
from pytest_diffprivacy.models.noise import start_noise
from pytest_diffprivacy.models.planned import planned_model
from pytest_diffprivacy.models.prediction import PredictionType, prediction_from_eps
from pytest_diffprivacy.models.scheduler import walk
from tests.models.builders import smooth_images, tiny_unet
from tests.models.family_builders import consistency, dit


def unconditional(seed=0, **scheduler):
    return PixelDiffusion(tiny_unet(seed), DDPMScheduler(**scheduler))


def conditional(null_label=None):
    return PixelDiffusion(tiny_unet(classes=4), DDPMScheduler(), null_label=null_label)


def test_a_pixel_model_offers_every_level_of_access():
    model = unconditional()
    assert isinstance(model, Generator)
    assert isinstance(model, Denoiser)
    assert isinstance(model, WhiteBoxDenoiser)
    assert sum(p.numel() for _, p in model.named_parameters()) == model.identity.parameters


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_the_networks_own_prediction_is_converted_to_noise(kind):
    unet = tiny_unet()
    model = PixelDiffusion(unet, DDPMScheduler(prediction_type=kind))
    x_t = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        eps, output = model.predict_eps(x_t, 300), unet(x_t, 300).sample
    back = prediction_from_eps(eps, x_t, *model.schedule.at(300), PredictionType(kind))
    torch.testing.assert_close(back, output, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes", [(1,) * 7, (3, 4), (2, 5)])
def test_the_same_seed_gives_the_same_image_whatever_the_batch(sizes):
    model = unconditional()
    seeds = list(range(100, 107))
    together = model.generate(seeds, steps=5)
    parts = [model.generate(part.tolist(), steps=5) for part in np.split(np.array(seeds), np.cumsum(sizes)[:-1])]
    torch.testing.assert_close(torch.cat(parts), together, rtol=0, atol=1e-5)


def test_the_same_seeds_give_the_same_bits():
    model = unconditional()
    assert torch.equal(model.generate([1, 2], steps=5), model.generate([1, 2], steps=5))


def test_generations_are_images():
    images = unconditional().generate([1, 2, 3], steps=4)
    assert images.shape == (3, 1, 8, 8)
    assert float(images.min()) >= 0.0
    assert float(images.max()) <= 1.0
    assert len({image.numpy().tobytes() for image in images}) == 3


def test_global_randomness_plays_no_part():
    model = unconditional()
    before = torch.get_rng_state()
    first = model.generate([5], steps=3)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng():
        torch.manual_seed(12345)
        assert torch.equal(model.generate([5], steps=3), first)


def test_guidance_is_refused_where_there_is_none():
    with pytest.raises(ModelError, match=r"`guidance_scale` must be 1.0 for a model without classes, got 7.5"):
        unconditional().generate([1], guidance_scale=7.5)


def test_encoding_and_decoding_are_inverse():
    model, images = unconditional(), smooth_images(2, 3)
    torch.testing.assert_close(model.decode(model.encode(images)), images, rtol=0, atol=1e-6)
    assert float(model.decode(torch.tensor(3.0))) == 1.0


def test_images_of_another_size_are_refused_with_both_sizes():
    with pytest.raises(ModelError, match=r"model's shape \(1, 8, 8\), got \(1, 9, 9\). Resize them"):
        unconditional().encode(torch.zeros(2, 1, 9, 9))


def test_the_class_label_reaches_the_network():
    model = conditional()
    images = model.generate([7, 7], prompts=[0, 3], steps=3)
    assert not torch.equal(images[0], images[1])
    unet = tiny_unet(classes=4)
    x = torch.zeros(2, 1, 8, 8)
    with torch.no_grad():
        expected = unet(x, 50, class_labels=torch.tensor([0, 3])).sample
        torch.testing.assert_close(model.predict_eps(x, 50, model.condition([0, 3], 2)), expected)


def test_no_prompt_means_the_null_label():
    model = conditional(null_label=3)
    assert torch.equal(model.generate([7], steps=3), model.generate([7], prompts=[3], steps=3))
    assert torch.equal(
        model.predict_eps(torch.zeros(1, 1, 8, 8), 5),
        model.predict_eps(torch.zeros(1, 1, 8, 8), 5, model.condition([3], 1)),
    )


def test_the_products_of_a_conditional_model_use_its_labels():
    model = conditional()
    x = torch.randn(2, 1, 1, 8, 8, generator=torch.Generator().manual_seed(6))
    products = [model.eps_jvp(x[0], 100, x[1], model.condition([label], 1))[1] for label in (0, 1)]
    assert not torch.equal(*products)


def test_a_conditional_model_without_null_label_needs_prompts():
    for ask in (
        lambda model: model.generate([1]),
        lambda model: model.predict_eps(torch.zeros(1, 1, 8, 8), 5),
        lambda model: loss_scores(model, smooth_images(2, 1), draws=1),
    ):
        with pytest.raises(ModelError, match="4 classes and no null label: every image needs its class index"):
            ask(conditional())


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([4], "1 class indices between 0 and 3, got 1 with 4 among them"),
        ([-1], "with -1 among them"),
        ([0, 1], r"must be 1 class indices between 0 and 3, got 2\."),
        (["cat"], "`prompts` must be class indices for this model, got 'cat'"),
    ],
)
def test_prompts_that_are_no_classes_are_refused(prompts, message):
    with pytest.raises(ModelError, match=message):
        conditional().condition(prompts, 1)


def test_an_unconditional_model_takes_no_prompts():
    with pytest.raises(ModelError, match=r"unconditional, but 1 prompts were given. Leave them out"):
        unconditional().generate([1], prompts=[0])


@pytest.mark.parametrize("label", [-1, 4])
def test_a_null_label_outside_the_classes_is_refused(label):
    with pytest.raises(ModelError, match=f"`null_label` must be one of the model's 4 classes, got {label}"):
        conditional(null_label=label)


def test_a_null_label_without_classes_is_refused():
    with pytest.raises(ModelError, match="`null_label`"):
        PixelDiffusion(tiny_unet(), DDPMScheduler(), null_label=0)


def test_the_digest_names_weights_and_configuration_and_nothing_else():
    digest = unconditional().identity.digest
    assert unconditional().identity.digest == digest
    assert PixelDiffusion(tiny_unet(), DDPMScheduler(), name="other").identity.digest == digest
    assert PixelDiffusion(tiny_unet(), DDPMScheduler(), dtype=torch.float64).identity.digest == digest
    others = {
        unconditional(seed=1).identity.digest,
        unconditional(prediction_type="v_prediction").identity.digest,
        unconditional(beta_schedule="squaredcos_cap_v2").identity.digest,
        conditional().identity.digest,
        conditional(null_label=0).identity.digest,
    }
    assert len(others | {digest}) == 6


def test_the_network_is_frozen_and_in_evaluation_mode():
    unet = tiny_unet().train()
    PixelDiffusion(unet, DDPMScheduler())
    assert not unet.training
    assert not any(p.requires_grad for p in unet.parameters())


def test_an_unknown_prediction_type_is_refused():
    scheduler = DDPMScheduler()
    scheduler.register_to_config(prediction_type="noise level")
    with pytest.raises(ModelError, match="epsilon, sample or v_prediction, got 'noise level'"):
        PixelDiffusion(tiny_unet(), scheduler)


def test_a_schedule_that_ends_in_almost_pure_noise_is_audited():
    model = PixelDiffusion(tiny_unet(), DDPMScheduler(rescale_betas_zero_snr=True))
    scores = loss_scores(model, smooth_images(2, 1), draws=1)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("steps", [0, 41])
def test_a_consistency_model_takes_as_many_steps_as_it_has_noise_levels(steps):
    model = load_model(consistency())
    with pytest.raises(ModelError, match=f"`steps` must be between 1 and 40 for this scheduler, got {steps}"):
        model.generate([1], prompts=[0], steps=steps)
    with pytest.raises(ModelError, match="every image needs its class index"):
        model.generate([1], steps=1)


def test_the_null_label_is_named_when_a_model_is_loaded(tmp_path):
    DDPMPipeline(tiny_unet(classes=4), DDPMScheduler()).save_pretrained(tmp_path)
    with_label, without = load_model(tmp_path, null_label=3), load_model(tmp_path)
    assert with_label.identity.digest == conditional(null_label=3).identity.digest != without.identity.digest
    assert with_label.identity.family == "pixel diffusion, epsilon, 4 classes, null label 3"
    assert without.identity.family == "pixel diffusion, epsilon, 4 classes, no null label"
    refused = {"`null_label` must be left out": unconditional(), "`null_label` must be None for a DiTPipeline": dit()}
    for what, source in refused.items():
        with pytest.raises(ModelError, match=what):
            load_model(source, null_label=3)


def test_guidance_leads_away_from_the_null_label():
    model, scale = conditional(null_label=3), 2.5
    network = tiny_unet(classes=4)

    class Guided(torch.nn.Module):
        def forward(self, x, time):
            own, blank = (network(x, time, class_labels=torch.tensor([label])).sample for label in (1, 3))
            return blank + scale * (own - blank)

    with torch.no_grad():
        x_T = start_noise([7], (1, 8, 8)).float()
        expected = model.decode(walk(DDPMScheduler(), Guided(), x_T, steps=3, seeds=[7]))
        torch.testing.assert_close(model.generate([7], prompts=[1], steps=3, guidance_scale=scale), expected)
    assert torch.equal(
        model.generate([7], steps=3, guidance_scale=scale), model.generate([7], steps=3)
    )  # nothing is asked for that guidance could lead to


def test_guidance_without_a_null_label_is_refused_with_the_remedy():
    remedy = r"without a null label, got 2\.0\. Ask at 1\.0; .*load_model\(\.\.\., null_label="
    with pytest.raises(ModelError, match=remedy):
        conditional().generate([7], prompts=[1], guidance_scale=2.0)


@pytest.mark.parametrize("prompts", [["2"], np.array([2]), torch.tensor([2]), [2]])
def test_class_indices_of_any_kind_are_prompts(prompts):
    assert conditional().condition(list(prompts), 1)["class_labels"].tolist() == [2]


@pytest.mark.parametrize("prompt", [2.7, "2.7", None])
def test_a_number_that_is_no_index_is_no_class(prompt):
    with pytest.raises(ModelError, match="must be class indices"):
        conditional().condition([prompt], 1)


def test_a_plan_says_that_a_model_has_no_null_label(tmp_path):
    DDPMPipeline(tiny_unet(classes=4), DDPMScheduler()).save_pretrained(tmp_path)
    assert planned_model(tmp_path, 3).facts == {"classes": "4, null label 3"}
    assert planned_model(tmp_path).facts["classes"].startswith("4 and no null label: every image is asked for with its")
