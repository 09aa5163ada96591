"""Checkpoints in the forms in which they are handed round: what is read of each, and that diffusers reads the same."""

from __future__ import annotations

import json
import re
import shutil

import huggingface_hub
import numpy as np
import pytest
import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
)
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import save_file

from pytest_diffprivacy.errors import CaptionsNotCleaned, ModelError, UsageError
from pytest_diffprivacy.models import load_model
from pytest_diffprivacy.models.scheduler import walk
from tests.models.builders import tiny_unet
from tests.models.family_builders import (
    autoencoder,
    clip,
    clip_tokenizer,
    flux,
    pixart,
    pixart_sigma,
    stable_diffusion,
    stable_diffusion_3,
    stable_diffusion_xl,
    unet,
)

CAPTION = "A cat &amp; a dog by @john https://example.com/x.jpg #12345"


def images(count=2, channels=3, side=16):
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*upcast_vae:FutureWarning")
def test_stable_diffusion_xl_encodes_and_decodes_in_float32_where_half_precision_overflows(tmp_path):
    pipeline = stable_diffusion_xl()
    with torch.no_grad():  # the weights fit into float16, what they make does not
        pipeline.vae.encoder.conv_in.weight.mul_(1e5)
        pipeline.vae.decoder.conv_in.weight.mul_(1e5)
    pipeline.save_pretrained(tmp_path / "xl")
    full, half = (load_model(tmp_path / "xl", dtype=dtype) for dtype in ("float32", "float16"))
    latents, expected = half.encode(images()), full.encode(images())
    assert latents.dtype == torch.float16
    assert float((latents.float() - expected).norm() / expected.norm()) < 0.01
    decoded = half.decode(latents)
    assert float((decoded.float() - full.decode(expected)).abs().max()) < 0.02
    assert {p.dtype for network in half._frozen.networks.values() for p in network.parameters()} == {torch.float16}


def test_other_families_run_their_autoencoder_as_their_pipelines_do():
    pipeline = stable_diffusion()
    model, seen = load_model(pipeline, dtype=torch.bfloat16), []
    pipeline.vae.encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0].dtype))
    model.encode(images(1, *model.image_shape[:2]))
    assert seen == [torch.bfloat16]


def own_embedding(pipeline, caption):
    """What the pipeline's own call makes of a caption."""
    kept, encode = {}, pipeline.encode_prompt

    def spy(*args, **kwargs):
        kept["embedding"] = (encoded := encode(*args, **kwargs))[0]
        return encoded

    pipeline.encode_prompt = spy
    pipeline.set_progress_bar_config(disable=True)
    settings = {"num_inference_steps": 2, "guidance_scale": 1.0, "output_type": "latent"}
    pipeline(caption, use_resolution_binning=False, **settings)
    pipeline.encode_prompt = encode
    return kept["embedding"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("build", [pixart, pixart_sigma])
def test_pixart_is_asked_with_captions_cleaned_as_its_pipeline_cleans_them(build):
    for library in ("bs4", "ftfy"):
        pytest.importorskip(library)
    pipeline = build()
    model = load_model(pipeline)
    embedding = model.condition([CAPTION], 1)["encoder_hidden_states"]
    torch.testing.assert_close(embedding, own_embedding(pipeline, CAPTION))
    cleaned = pipeline._text_preprocessing(CAPTION, clean_caption=True)[0]
    assert model.token_counts([CAPTION]) == [len(pipeline.tokenizer(cleaned)["input_ids"])]
    assert cleaned != CAPTION.lower()


@pytest.mark.slow
@pytest.mark.parametrize("absent", ["bs4", "ftfy"])
def test_pixart_with_captions_that_cannot_be_cleaned_says_so_and_is_another_model(absent, monkeypatch):
    for library in ("bs4", "ftfy"):
        pytest.importorskip(library)
    whole = load_model(pixart()).identity.digest
    monkeypatch.setattr(f"diffusers.utils.is_{absent}_available", lambda: False)
    with pytest.warns(CaptionsNotCleaned, match="cleaning needs beautifulsoup4 and ftfy"):
        model = load_model(pixart())
    assert model.identity.digest != whole
    assert model.token_counts([CAPTION]) == [len(model._prompts._tokenizer(CAPTION.lower())["input_ids"])]


@pytest.mark.parametrize("scheduler", [DDPMScheduler(clip_sample=True), PNDMScheduler(skip_prk_steps=True)])
def test_a_folder_of_a_ddim_pipeline_is_the_object_that_diffusers_loads_from_it(scheduler, tmp_path):
    DDPMPipeline(unet=tiny_unet(), scheduler=scheduler).save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text("utf-8"))
    (tmp_path / "model_index.json").write_text(json.dumps(index | {"_class_name": "DDIMPipeline"}), "utf-8")
    folder, loaded = load_model(tmp_path), load_model(DDIMPipeline.from_pretrained(tmp_path))
    assert torch.equal(folder.generate([0, 1], steps=5), loaded.generate([0, 1], steps=5))
    assert folder.identity.digest == loaded.identity.digest


@pytest.mark.parametrize("variants", ["fp16", "bf16", "fp16 bf16", "fp16 plain"])
def test_a_hub_model_with_one_variant_of_its_weights_is_loaded_as_its_folder_is(variants, tmp_path, monkeypatch):
    repository = tmp_path / "repository"
    pipeline = DDPMPipeline(tiny_unet(), DDPMScheduler())
    for variant in variants.split():
        pipeline.save_pretrained(repository, variant=None if variant == "plain" else variant)
    files = [path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()]
    cache = tmp_path / "cache"

    def snapshot_download(name, *, revision, **patterns):
        for file in filter_repo_objects(files, **patterns):
            (cache / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / file, cache / file)
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert load_model("hub:lab/cats").identity.digest == load_model(pipeline).identity.digest
    assert len(list(cache.rglob("*.safetensors"))) == 1


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (["lora_unet_down_blocks_0_attn1_to_q.lora_down.weight", "lora_unet_x.alpha"], "pipeline.load_lora_weights"),
        (["unet.down_blocks.0.attn1.to_q.lora_A.weight"], "pipeline.load_lora_weights"),
        (["transformer.blocks.0.attn.to_q.lora.down.weight"], "pipeline.load_lora_weights"),
        (["lora_unet_down_blocks_0.hada_w1_a", "lora_unet_down_blocks_0.alpha"], "LyCORIS.*Merge it into its base"),
        (["emb_params"], "pipeline.load_textual_inversion"),
        (["clip_g", "clip_l"], "pipeline.load_textual_inversion"),
    ],
)
def test_an_adapter_of_any_name_is_told_by_its_tensors(names, remedy, tmp_path):
    file = tmp_path / "my_style.safetensors"
    save_file({name: torch.zeros(2, 2) for name in names}, file)
    for source in (tmp_path, file):
        with pytest.raises(ModelError, match=rf"holds my_style\.safetensors, an adapter.*{remedy}") as caught:
            load_model(source)
        assert "from_single_file" not in str(caught.value)
    with pytest.raises(ModelError, match="an adapter"):
        load_model(file, config=tmp_path)


def test_copies_that_an_editor_keeps_in_hidden_folders_are_no_part_of_a_model(ddpm_folder, tmp_path):
    folder = shutil.copytree(ddpm_folder, tmp_path / "release-3")
    hidden = folder / ".ipynb_checkpoints"
    hidden.mkdir()
    (hidden / "config.json").write_text('{"auto_map": {"AutoModel": "old.Old"}}', "utf-8")
    assert load_model(folder).identity.digest == load_model(ddpm_folder).identity.digest


@pytest.mark.parametrize("build", [stable_diffusion, stable_diffusion_xl, stable_diffusion_3])
@pytest.mark.slow
def test_layers_of_clip_are_left_out_as_diffusers_leaves_them_out(build):
    pipeline = build()
    plain, skipping = load_model(pipeline), load_model(pipeline, clip_skip=1)
    embedding = skipping.condition(["a dog"], 1)["encoder_hidden_states"]
    further = (None, None) if build is stable_diffusion_3 else ()
    given = {"num_images_per_prompt": 1, "do_classifier_free_guidance": False, "device": "cpu", "clip_skip": 1}
    if build is stable_diffusion and "text_model" not in dir(pipeline.text_encoder):
        object.__setattr__(pipeline.text_encoder, "text_model", pipeline.text_encoder)  # where diffusers looks for it
    own = pipeline.encode_prompt("a dog", *further, **given)[0]
    torch.testing.assert_close(embedding, own[:, : embedding.shape[1]])
    assert not torch.equal(embedding, plain.condition(["a dog"], 1)["encoder_hidden_states"])
    assert plain.identity.digest != skipping.identity.digest
    assert skipping.identity.family == f"{plain.identity.family}, clip skip 1"


@pytest.mark.slow
def test_layers_that_are_not_there_are_not_left_out(ddpm_folder):
    for build in (flux, pixart):
        with pytest.raises(ModelError, match=r"`clip_skip` must be None for .*, whose pipeline has none, got 1"):
            load_model(build(), clip_skip=1)
    for wrong in (0, 2, True):
        with pytest.raises(ModelError, match=rf"between 1 and 1, got {wrong}. diffusers counts the layers left out"):
            load_model(stable_diffusion_xl(), clip_skip=wrong)
    with pytest.raises(ModelError, match="`clip_skip` must be None for a model that takes no texts"):
        load_model(ddpm_folder, clip_skip=1)


def small_pipeline():
    scheduler = DDPMScheduler(steps_offset=1, clip_sample=False)
    parts = {"vae": autoencoder(), "text_encoder": clip(), "tokenizer": clip_tokenizer(), "unet": unet()}
    return StableDiffusionPipeline(
        **parts, scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )


RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
AUTOENCODER = [
    (r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}"),
    (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
    (r"up_blocks\.(\d)\.resnets", lambda found: f"up.{1 - int(found[1])}.block"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d)\.upsamplers\.0", lambda found: f"up.{1 - int(found[1])}.upsample"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
]


def of_latent_diffusion(key):
    """The name that the original code gives a tensor of the small UNet: two blocks each way, with one layer each."""
    head, tail = key.rsplit(".", 1)
    if head in OUTSIDE:
        return f"{OUTSIDE[head]}.{tail}"
    place = re.match(r"(down|up|mid)_blocks?\.(?:(\d)\.)?(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", key)
    way, block, kind, layer, rest = place[1], int(place[2] or 0), place[3], int(place[4]), place[5]
    if kind == "resnets":
        name, tail = rest.rsplit(".", 1)
        rest = f"{RESNET[name]}.{tail}"
    if way == "mid":
        return f"middle_block.{2 * layer if kind == 'resnets' else 1}.{rest}"
    if kind == "downsamplers":
        return f"input_blocks.2.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.1.2.{rest}"
    first = f"input_blocks.{1 + 2 * block + layer}" if way == "down" else f"output_blocks.{2 * block + layer}"
    return f"{first}.{0 if kind == 'resnets' else 1}.{rest}"


def single_file(pipeline, path):
    """The pipeline's weights in one file, under the names of the original code."""
    tensors = {f"model.diffusion_model.{of_latent_diffusion(k)}": t for k, t in pipeline.unet.state_dict().items()}
    for key, tensor in pipeline.vae.state_dict().items():
        for pattern, name in AUTOENCODER:
            key = re.sub(pattern, name, key)
        tensors[f"first_stage_model.{key}"] = tensor
    for key, tensor in pipeline.text_encoder.state_dict().items():
        tensors[f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}"] = tensor
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return path


@pytest.mark.slow
def test_a_checkpoint_in_one_file_is_the_pipeline_that_it_was_made_of(tmp_path, capfd):
    pipeline = small_pipeline()
    config = tmp_path / "config"
    pipeline.save_pretrained(config)
    for weights in config.rglob("*.safetensors"):
        weights.unlink()  # configurations and tokenizers are all that is read of it
    path = single_file(pipeline, tmp_path / "cats.safetensors")
    capfd.readouterr()
    model = load_model(path, config=config)
    assert capfd.readouterr() == ("", "")
    expected = load_model(pipeline)
    assert model.identity.digest == expected.identity.digest
    assert model.identity.name == "cats"
    np.testing.assert_array_equal(
        model.generate([1], prompts=["a dog"], steps=2), expected.generate([1], prompts=["a dog"], steps=2)
    )


@pytest.mark.slow
def test_a_checkpoint_in_one_file_that_does_not_fit_is_refused(tmp_path, ddpm_folder):
    pipeline = small_pipeline()
    pipeline.save_pretrained(tmp_path / "config")
    path = single_file(pipeline, tmp_path / "cats.safetensors")
    with pytest.raises(ModelError, match=r"is a file.*pass config= the folder of a pipeline of its kind"):
        load_model(path)
    with pytest.raises(ModelError, match=r"`config` must be the folder of a text-to-image .*got a DDPMPipeline"):
        load_model(path, config=ddpm_folder)
    with pytest.raises(ModelError, match=r"model_index\.json' is missing"):
        load_model(path, config=tmp_path / "nowhere")
    with pytest.raises(ModelError, match="`config` must be None for a folder or hub model"):
        load_model(ddpm_folder, config=ddpm_folder)
    with pytest.raises(ModelError, match="`config` must be None for an object"):
        load_model(pipeline, config=ddpm_folder)
    from safetensors.torch import load_file

    tensors = load_file(path)
    del tensors["model.diffusion_model.out.2.weight"]
    save_file(tensors, path)
    for weights in (tmp_path / "config").rglob("*.safetensors"):
        weights.unlink()
    with pytest.raises(ModelError, match=r"cats\.safetensors' (lacks 1 tensors of the unet|cannot be loaded)"):
        load_model(path, config=tmp_path / "config")


@pytest.mark.parametrize("kind", [DDIMScheduler, DDPMScheduler])
def test_any_number_of_trailing_steps_ends_at_a_clean_image(kind):
    seen, x_T = [], torch.zeros(1, 1, 8, 8)

    def output(x, times):
        seen.append(int(times[0]))
        return torch.zeros_like(x)

    walk(kind(timestep_spacing="trailing"), output, x_T, steps=61, seeds=[3])
    assert (len(seen), seen[0]) == (61, 999)
    assert min(seen) >= 0


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_trailing_steps_that_diffusers_would_count_wrongly_are_refused():
    model = load_model(tiny_unet(), scheduler=DPMSolverMultistepScheduler(timestep_spacing="trailing"))
    with pytest.raises(UsageError, match=r"another number than 61: DPMSolver.*to timestep -1.*Take 60 or 62"):
        model.generate([3], steps=61)
