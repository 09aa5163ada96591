"""Pipelines that look like a family and are none are refused with the reason."""

import json
import shutil

import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models import TextToImage, load_model
from pytest_diffprivacy.models.families import FAMILIES, family_of
from pytest_diffprivacy.models.noise import start_noise
from tests.models import family_builders as build

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with NumPy 2


@pytest.fixture(scope="module")
def xl_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "xl"
    build.stable_diffusion_xl().save_pretrained(folder)
    return folder


def rename(folder, tmp_path, **changes):
    copied = shutil.copytree(folder, tmp_path / "release-3")
    index = copied / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text("utf-8")) | changes), encoding="utf-8")
    return copied


@pytest.mark.slow
def test_a_family_is_found_by_the_pipelines_class_or_one_it_was_derived_from():
    class Own(type(build.stable_diffusion_xl())):
        pass

    pipeline = build.stable_diffusion_xl()
    pipeline.__class__ = Own
    assert family_of(pipeline) is FAMILIES["StableDiffusionXLPipeline"]
    assert family_of(object()) is None
    with pytest.raises(ModelError, match="`pipeline` must be a text-to-image pipeline, got object"):
        TextToImage(object())


@pytest.mark.slow
def test_the_refiner_is_refused_as_a_pipeline_and_as_a_folder(xl_folder, tmp_path):
    base = build.stable_diffusion_xl()
    refiner = StableDiffusionXLImg2ImgPipeline(**base.components, add_watermarker=False)
    with pytest.raises(ModelError, match=r"StableDiffusionXLImg2ImgPipeline cannot be audited\. It refines latents"):
        load_model(refiner)
    with pytest.raises(ModelError, match=r"release-3' cannot be audited\. It refines .* Audit the base model"):
        load_model(rename(xl_folder, tmp_path, _class_name="StableDiffusionXLImg2ImgPipeline"))


@pytest.mark.parametrize("sign", ["one text encoder", "five time ids"])
def test_the_refiners_parts_in_a_base_pipeline_are_refused(sign):
    pipeline = build.stable_diffusion_xl()
    if sign == "one text encoder":
        pipeline.text_encoder = None
        message = "one text encoder, as the Stable Diffusion XL refiner has"
    else:
        pipeline.unet.register_to_config(projection_class_embeddings_input_dim=5 * 8 + build.WIDTH)
        message = "embeddings of width 56, the base model's would be 64: it is the refiner's"
    with pytest.raises(ModelError, match=message):
        load_model(pipeline)


@pytest.mark.slow
def test_no_prompt_is_zeros_or_the_empty_prompt_as_the_pipeline_was_trained():
    for zeros in (True, False):
        model = load_model(build.stable_diffusion_xl(zeros=zeros))
        blank, empty = model.condition(None, 2), model.condition(["", ""], 2)
        for name in ("encoder_hidden_states", "text_embeds"):
            assert (blank[name] == 0.0).all() == zeros
            assert torch.equal(blank[name], empty[name]) != zeros
        assert blank["time_ids"].tolist() == [[16, 16, 0, 0, 16, 16]] * 2


@pytest.mark.slow
def test_whether_no_prompt_is_zeros_and_the_resolution_are_part_of_the_digest():
    digests = {
        load_model(build.stable_diffusion_xl(zeros=zeros), resolution=resolution).identity.digest
        for zeros in (True, False)
        for resolution in (None, 32)
    }
    assert len(digests) == 4


def test_another_resolution_is_audited_and_told(xl_folder):
    model = load_model(xl_folder, resolution=32)
    assert (model.sample_shape, model.image_shape) == ((4, 16, 16), (3, 32, 32))
    assert model.condition(["cat"], 1)["time_ids"].tolist() == [[32, 32, 0, 0, 32, 32]]
    with pytest.raises(ModelError, match="`resolution` must be a multiple of 2 pixels, got 33"):
        load_model(xl_folder, resolution=33)


def test_latents_with_a_mean_and_deviation_a_channel_are_scaled_as_the_pipeline_scales_them():
    pipeline = build.stable_diffusion_xl()
    model = load_model(pipeline)
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    mean, deviation = (torch.tensor(pipeline.vae.config[f"latents_{n}"]).view(1, 4, 1, 1) for n in ("mean", "std"))
    with torch.no_grad():
        raw = pipeline.vae.decode(latents * deviation / 0.13025 + mean).sample
        images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
        mode = pipeline.vae.encode(images * 2 - 1).latent_dist.mode()
    torch.testing.assert_close(model.decode(latents), (raw / 2 + 0.5).clamp(0, 1))
    torch.testing.assert_close(model.encode(images), (mode - mean) * 0.13025 / deviation)


def test_a_part_with_code_of_its_own_is_refused(xl_folder, tmp_path):
    folder = rename(xl_folder, tmp_path, unet=["my_unet", "MyUNet"])
    with pytest.raises(ModelError, match=r"unet' is a MyUNet of 'my_unet', which is code that comes with the model"):
        load_model(folder)


@pytest.mark.parametrize("name", ["flux", "latent_consistency"])
def test_a_distilled_network_says_what_stands_in_for_its_unconditional_branch(name):
    model = load_model(getattr(build, name)(), resolution=16)
    assert model.substitute == "Guidance was distilled into the network, which has no trained unconditional branch"
    blank, empty = model.condition(None, 1), model.condition([""], 1)
    assert all(torch.equal(tensor, empty[key]) for key, tensor in blank.items())
    with pytest.raises(ModelError, match=r"`negative_prompt` must be None for .*, got 'hat': Guidance was distilled"):
        model.generate([1], prompts=["cat"], steps=1, negative_prompt="hat")


def test_a_flux_that_is_not_told_guidance_is_asked_without():
    model = load_model(build.flux(guidance=False), resolution=16)
    conditioning = model.condition(["cat"], 1)
    assert "guidance" not in dict(conditioning.items())
    assert model.predict_eps(torch.zeros(1, *model.sample_shape), 500, conditioning).shape == (1, 4, 8, 8)


@pytest.mark.slow
def test_a_stable_diffusion_3_without_t5_counts_the_tokens_of_clip():
    assert load_model(build.stable_diffusion_3(t5_encoder=False)).token_limit == 77
    model = load_model(build.stable_diffusion_3())
    assert model.token_limit == 256
    assert model.token_counts(["cat"]) == [5]  # a space, three letters, the end


def test_pixart_sigma_reads_more_of_a_prompt_than_alpha():
    assert load_model(build.pixart_sigma()).token_limit == 300
    assert load_model(build.pixart()).token_limit == 120


def test_a_large_pixart_alpha_is_told_the_size_of_the_image():
    pipeline = build.pixart(width=24, sample_size=128, use_additional_conditions=True)
    pipeline.set_progress_bar_config(disable=True)
    model = load_model(pipeline, resolution=16)
    conditioning = dict(model.condition(["cat"], 1).items())
    assert (conditioning["resolution"].tolist(), conditioning["aspect_ratio"].tolist()) == ([[16, 16]], [[1.0]])
    ours = model.generate([1], prompts=["cat"], steps=2, guidance_scale=3.0)
    x_T = start_noise([1], model.sample_shape).float()
    own = pipeline(
        prompt=["cat"], latents=x_T, num_inference_steps=2, guidance_scale=3.0, height=16, width=16, output_type="pt",
        clean_caption=False, use_resolution_binning=False,
    ).images  # fmt: skip
    torch.testing.assert_close(ours, own, rtol=0, atol=1e-5)


def test_a_latent_consistency_pipeline_whose_network_is_not_told_guidance_is_refused():
    pipeline = build.latent_consistency()
    pipeline.unet.register_to_config(time_cond_proj_dim=None)
    with pytest.raises(ModelError, match=r"must take the guidance scale \(`time_cond_proj_dim`\), got None"):
        load_model(pipeline)
