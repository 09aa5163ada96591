"""Saved text-to-image pipelines: every part complete and from safetensors, in whatever precision it was saved."""

import json
import shutil

import pytest
import torch
from diffusers import EulerDiscreteScheduler
from safetensors.torch import load_file, save_file

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models import StableDiffusion, load_model
from tests.models.text_builders import PIPELINE, golden_pipeline

PARTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(PIPELINE, tmp_path / "release-3")


def weights(folder, part):
    return folder / part / f"{PARTS[part]}.safetensors"


def test_a_saved_pipeline_is_the_pipeline_object_it_was_saved_from():
    model = load_model(PIPELINE)
    assert isinstance(model, StableDiffusion)
    assert (model.identity.name, model.identity.dtype) == ("pipeline", "float32")
    other = load_model(golden_pipeline())
    assert model.identity.digest == other.identity.digest
    assert torch.equal(model.generate([1], prompts=["cat"], steps=2), other.generate([1], prompts=["cat"], steps=2))


def test_loading_prints_nothing(capsys):
    load_model(PIPELINE)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("part", PARTS)
def test_pickled_weights_in_any_part_are_refused(copied, part):
    path = weights(copied, part)
    path.rename(path.with_suffix(".bin"))
    library = "transformers" if part == "text_encoder" else "diffusers"
    with pytest.raises(ModelError, match=rf"{part}/{PARTS[part]}\.bin' is a pickle.*from {library} import"):
        load_model(copied)


@pytest.mark.parametrize("part", PARTS)
def test_missing_weights_in_any_part_are_refused(copied, part):
    weights(copied, part).unlink()
    with pytest.raises(ModelError, match=rf"{part}/{PARTS[part]}'\.safetensors is missing"):
        load_model(copied)


@pytest.mark.parametrize("part", PARTS)
def test_weights_that_lack_a_tensor_are_refused(copied, part):
    tensors = load_file(weights(copied, part))
    name = max(tensors)
    del tensors[name]
    save_file(tensors, weights(copied, part), {"format": "pt"})
    with pytest.raises(ModelError, match=rf"{part}' lack 1 of the network's tensors"):
        load_model(copied)


@pytest.mark.parametrize("part", PARTS)
def test_damaged_weights_are_refused(copied, part):
    weights(copied, part).write_bytes(weights(copied, part).read_bytes()[:300])
    with pytest.raises(ModelError, match=rf"network in '.*release-3/{part}' cannot be loaded"):
        load_model(copied)


def test_a_missing_or_damaged_tokenizer_is_refused(copied):
    (copied / "tokenizer" / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"tokenizer in '.*release-3/tokenizer' cannot be loaded"):
        load_model(copied)
    shutil.rmtree(copied / "tokenizer")
    with pytest.raises(ModelError, match="release-3/tokenizer' is missing"):
        load_model(copied)


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_half_precision_files_are_audited_in_single_precision(tmp_path, variant):
    pipeline = golden_pipeline()
    for part in PARTS:
        getattr(pipeline, part).half()
    pipeline.save_pretrained(tmp_path / "half", variant=variant)
    model = load_model(tmp_path / "half")
    assert model.identity.dtype == "float32"
    torch.testing.assert_close(
        model.generate([1], prompts=["cat"], steps=2),
        load_model(PIPELINE).generate([1], prompts=["cat"], steps=2),
        rtol=0,
        atol=0.05,
    )


@pytest.mark.slow
def test_sharded_weights_are_read(tmp_path):
    golden_pipeline().save_pretrained(tmp_path / "sharded", max_shard_size="300KB")
    assert len(list((tmp_path / "sharded" / "unet").glob("*.safetensors"))) > 1
    assert load_model(tmp_path / "sharded").identity.digest == load_model(PIPELINE).identity.digest


def test_several_variants_without_plain_weights_are_refused(copied):
    path = weights(copied, "unet")
    shutil.copy(path, path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    path.rename(path.with_name("diffusion_pytorch_model.bf16.safetensors"))
    with pytest.raises(ModelError, match=r"holds the variants bf16, fp16 and no plain weights. Keep the one to audit"):
        load_model(copied)


def test_a_scheduler_argument_overrides_the_saved_one():
    scheduler = EulerDiscreteScheduler.from_pretrained(PIPELINE / "scheduler")
    assert load_model(PIPELINE, scheduler=scheduler).sampler == "EulerDiscreteScheduler"
    with pytest.raises(ModelError, match="`scheduler` must be left out for a pipeline object"):
        load_model(golden_pipeline(), scheduler=scheduler)


def test_a_safety_checker_is_no_part_of_a_saved_model(copied):
    path = copied / "model_index.json"
    index = json.loads(path.read_text("utf-8")) | {
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]
    }
    path.write_text(json.dumps(index), encoding="utf-8")
    assert load_model(copied).identity.digest == load_model(PIPELINE).identity.digest
