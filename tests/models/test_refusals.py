"""What `load_model` refuses as it is, and what the message says to give in its place."""

from __future__ import annotations

import json
import shutil

import pytest
from diffusers import (
    AutoencoderTiny,
    DDPMPipeline,
    DDPMScheduler,
    KandinskyV22Pipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
)

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.models import PipelineGenerator, load_model
from tests.models.builders import tiny_unet
from tests.models.family_builders import flux, kandinsky, pixart, stable_diffusion_3
from tests.models.text_builders import PIPELINE, golden_pipeline


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(PIPELINE, tmp_path / "release-3")


def rewrite(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")


def test_an_unknown_object_is_told_what_it_lacks_for_each_access():
    class AlmostGenerator:
        def generate(self, seeds):
            return seeds

    expected = r"object of type AlmostGenerator.*for models\.Generator identity; for models\.Denoiser identity, sch"
    with pytest.raises(ModelError, match=expected):
        load_model(AlmostGenerator())


@pytest.mark.parametrize(
    ("kind", "does"),
    [(StableDiffusionInpaintPipeline, "fills parts"), (StableDiffusionImg2ImgPipeline, "starts from a given image")],
)
def test_a_pipeline_that_needs_an_image_is_refused_with_the_one_to_audit(kind, does, copied):
    parts = {name: part for name, part in golden_pipeline().components.items() if name != "image_encoder"}
    pipeline = kind(**parts, requires_safety_checker=False)
    for source in (pipeline, copied):
        rewrite(copied / "model_index.json", _class_name=kind.__name__)
        with pytest.raises(ModelError, match=rf"{kind.__name__} cannot be audited: it {does}.*from_pipe"):
            load_model(source)


@pytest.mark.parametrize("name", ["sd.ckpt", "sd.safetensors"])
def test_a_checkpoint_in_one_file_is_refused_with_the_command_that_makes_a_folder(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelError, match=rf"from_single_file\('{name}'\)\.save_pretrained\('converted', safe_"):
        load_model(tmp_path / name)


def test_the_command_for_checkpoints_names_what_diffusers_has():
    from diffusers import StableDiffusionPipeline

    assert callable(StableDiffusionPipeline.from_single_file)


def test_a_folder_with_a_pipeline_class_of_its_own_is_refused(copied):
    rewrite(copied / "model_index.json", _class_name=["my_pipeline", "MyPipeline"])
    (copied / "my_pipeline.py").write_text("raise SystemExit('this ran')", encoding="utf-8")
    with pytest.raises(ModelError, match=r"asks for code of its own.*my_pipeline\.MyPipeline.*NetworkDenoiser"):
        load_model(copied)


def test_a_part_that_asks_for_remote_code_is_refused(copied):
    rewrite(copied / "text_encoder" / "config.json", auto_map={"AutoModel": "modeling.My"})
    with pytest.raises(ModelError, match=r"trust_remote_code\): text_encoder/config\.json has an `auto_map`"):
        load_model(copied)
    rewrite(copied / "text_encoder" / "config.json", auto_map=None)
    rewrite(copied / "model_index.json", unet=["my_unet", "MyUNet"])
    with pytest.raises(ModelError, match="code"):
        load_model(copied)


@pytest.mark.parametrize(
    ("kind", "does"),
    [
        ("FluxFillPipeline", "fills parts"),
        ("FluxKontextPipeline", "edits a given image"),
        ("FluxControlPipeline", "follows a given image"),
        ("FluxPriorReduxPipeline", "varies a given image"),
        ("QwenImageEditPipeline", "edits a given image"),
        ("StableDiffusionXLAdapterPipeline", "follows a given image"),
        ("StableDiffusionImageVariationPipeline", "varies a given image"),
        ("IFSuperResolutionPipeline", "enlarges a given image"),
        ("KandinskyV22Pipeline", "makes images of embeddings alone. Audit both halves as one"),
        ("KandinskyV22PriorPipeline", "makes embeddings of prompts alone. Audit both halves as one"),
    ],
)
def test_other_pipelines_that_do_not_generate_from_prompts_alone_are_refused_by_what_they_do(kind, does, copied):
    rewrite(copied / "model_index.json", _class_name=kind)
    with pytest.raises(ModelError, match=f"A {kind} cannot be audited: it {does}"):
        load_model(copied)


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("pytorch_lora_weights.safetensors", "load_lora_weights"),
        ("adapter_model.safetensors", "load_lora_weights"),
        ("learned_embeds.safetensors", "load_textual_inversion"),
    ],
)
def test_an_adapter_in_the_place_of_a_model_is_told_how_it_is_loaded(name, load, tmp_path):
    (tmp_path / name).write_bytes(b"")
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(ModelError, match=rf"holds {name}, an adapter and no model.*pipeline\.{load}\('"):
            load_model(source)


def test_one_part_of_a_pipeline_is_named(copied, tmp_path):
    with pytest.raises(ModelError, match=r"unet' holds one part of a pipeline, a UNet2DConditionModel.*whole pipeline"):
        load_model(copied / "unet")
    tiny_unet().save_pretrained(tmp_path / "pixels")
    with pytest.raises(ModelError, match=r"a UNet2DModel, and no model_index\.json: load it with UNet2DModel\.from"):
        load_model(tmp_path / "pixels")


@pytest.mark.parametrize("lacks", ["vae", "text_encoder", "tokenizer"])
def test_a_pipeline_that_lacks_a_part_is_refused_with_its_name(lacks, copied):
    rewrite(copied / "model_index.json", **{lacks: [None, None]})
    with pytest.raises(ModelError, match=f"got a StableDiffusionPipeline with None as {lacks}"):
        load_model(copied)
    index = json.loads((copied / "model_index.json").read_text("utf-8"))
    del index[lacks]
    (copied / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(ModelError, match=f"does not name the {lacks} of a StableDiffusionPipeline. Save the whole"):
        load_model(copied)


def test_another_autoencoder_than_the_one_of_training_is_refused():
    pipeline = golden_pipeline()
    pipeline.vae = AutoencoderTiny(
        encoder_block_out_channels=(4, 4), decoder_block_out_channels=(4, 4), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )  # fmt: skip
    with pytest.raises(ModelError, match="must be an AutoencoderKL, got a AutoencoderTiny"):
        load_model(pipeline)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_here_is_refused_by_name(device, copied):
    with pytest.raises(ModelError, match=f"`device` must be one that torch has here, such as cpu, got '{device}'"):
        load_model(copied, device=device)


@pytest.mark.parametrize(
    ("build", "resolution", "message"),
    [
        (flux, 18, "a multiple of 4 pixels, got 18"),
        (stable_diffusion_3, 18, "a multiple of 4 pixels, got 18"),
        (stable_diffusion_3, 64, "at most 32 pixels for this network, got 64"),
        (pixart, 18, "a multiple of 4 pixels, got 18"),
    ],
)
@pytest.mark.slow
def test_a_resolution_that_the_networks_patches_do_not_fill_is_refused(build, resolution, message):
    with pytest.raises(ModelError, match=f"`resolution` must be {message}"):
        load_model(build(), resolution=resolution)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.slow
def test_a_black_box_must_take_prompts_and_nothing_else():
    whole = kandinsky()
    half = KandinskyV22Pipeline(unet=whole.unet, scheduler=whole.scheduler, movq=whole.movq)
    with pytest.raises(ModelError, match="makes images of embeddings alone"):
        PipelineGenerator(half)
    with pytest.raises(ModelError, match="got a DDPMPipeline: it takes no prompt"):
        PipelineGenerator(DDPMPipeline(unet=tiny_unet(), scheduler=DDPMScheduler()))

    class NeedsMore(type(whole)):
        def __call__(self, prompt, image_embeds):
            raise NotImplementedError

    whole.__class__ = NeedsMore
    with pytest.raises(ModelError, match="got a NeedsMore: it also needs image_embeds"):
        PipelineGenerator(whole)


def test_one_text_is_no_list_of_prompts():
    model = load_model(golden_pipeline())
    with pytest.raises(ModelError, match="must be a list of texts, one a row, got the text 'cat' alone"):
        model.generate([1, 2, 3], prompts="cat", steps=1)
    for steps in (0, 1001):
        with pytest.raises(UsageError, match=f"`steps` must be between 1 and 1000, got {steps}"):
            model.generate([1], prompts=["cat"], steps=steps)
