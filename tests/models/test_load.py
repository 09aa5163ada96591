"""What `load_model` accepts, and what it refuses with the value and the remedy."""

import json
import shutil

import huggingface_hub
import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import load_file, save_file

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models import PixelDiffusion, load_model
from tests.models.builders import population_model, save_pipeline, tiny_unet


@pytest.fixture
def copied(ddpm_folder, tmp_path):
    """A saved pipeline that a test may damage."""
    return shutil.copytree(ddpm_folder, tmp_path / "release-3")


def edit(path, **changes):
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(content), encoding="utf-8")


def same_images(model, other):
    return torch.equal(model.generate([1, 2], steps=3), other.generate([1, 2], steps=3))


def test_a_saved_ddpm_pipeline_is_loaded(ddpm_folder):
    model = load_model(ddpm_folder)
    assert isinstance(model, PixelDiffusion)
    assert model.identity.name == "ddpm"
    assert (model.identity.dtype, model.identity.device, model.identity.access) == ("float32", "cpu", "white box")
    assert model.image_shape == (1, 8, 8)


def test_a_folder_may_be_named_by_a_text(ddpm_folder):
    assert same_images(load_model(str(ddpm_folder)), load_model(ddpm_folder))


def test_a_saved_ddim_pipeline_is_the_same_network_with_a_scheduler_of_its_own(ddpm_folder, ddim_folder):
    assert json.loads((ddim_folder / "model_index.json").read_text())["_class_name"] == "DDIMPipeline"
    ddim, ddpm = load_model(ddim_folder), load_model(ddpm_folder)
    x = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(ddim.predict_eps(x, 400), ddpm.predict_eps(x, 400))
    assert not same_images(ddim, ddpm)
    assert same_images(
        ddim, load_model(ddpm_folder, scheduler=DDIMScheduler.from_pretrained(ddim_folder / "scheduler"))
    )


def test_a_v_prediction_pipeline_is_read_as_one(tmp_path):
    model = load_model(save_pipeline(tmp_path / "v", prediction_type="v_prediction"))
    assert model.identity.family == "pixel diffusion, v_prediction"
    x = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    alpha, sigma = model.schedule.at(400)
    with torch.no_grad():
        expected = sigma * x + alpha * tiny_unet()(x, 400).sample
        torch.testing.assert_close(model.predict_eps(x, 400), expected)


@pytest.mark.parametrize("kind", [DDPMPipeline, DDIMPipeline])
def test_a_pipeline_object_is_the_folder_it_would_save(kind, ddpm_folder, ddim_folder):
    model = load_model(kind(unet=tiny_unet(), scheduler=DDPMScheduler()))
    assert same_images(model, load_model(ddpm_folder if kind is DDPMPipeline else ddim_folder))


def test_a_unet_and_its_scheduler_are_a_model(ddpm_folder):
    assert same_images(load_model(tiny_unet(), scheduler=DDPMScheduler()), load_model(ddpm_folder))


def test_the_digest_of_a_folder_does_not_depend_on_where_it_lies(ddpm_folder, copied):
    assert load_model(copied).identity.digest == load_model(ddpm_folder).identity.digest


def test_a_scheduler_argument_overrides_the_pipelines_own(ddpm_folder):
    model = load_model(ddpm_folder, scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"))
    assert model.schedule.at(500) != load_model(ddpm_folder).schedule.at(500)


def test_an_object_that_satisfies_a_protocol_is_returned_as_it_is():
    class HostedModel:
        identity = population_model().identity

        def generate(self, seeds, *, prompts=None, steps=50, guidance_scale=1.0):
            return torch.zeros(len(seeds), 1, 8, 8)

    for model in (population_model(), HostedModel()):
        assert load_model(model) is model


@pytest.mark.parametrize("dtype", ["float64", torch.float64])
def test_the_precision_can_be_chosen(ddpm_folder, dtype):
    model = load_model(ddpm_folder, dtype=dtype)
    assert model.identity.dtype == "float64"
    assert model.generate([1], steps=2).dtype == torch.float64


def test_the_hub_is_asked_for_the_files_of_the_pipeline_only(ddpm_folder, monkeypatch):
    repository = {
        "README.md": False,
        "model_index.json": True,
        "scheduler/scheduler_config.json": True,
        "text_encoder/model.fp16.safetensors": False,
        "text_encoder/model.safetensors": True,
        "text_encoder/pytorch_model.bin": False,
        "tokenizer/merges.txt": True,
        "tokenizer/spiece.model": True,
        "unet/diffusion_pytorch_model.bf16-00001-of-00002.safetensors": False,
        "unet/diffusion_pytorch_model.non_ema.safetensors": False,
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors": True,
        "unet/diffusion_pytorch_model.safetensors.index.json": True,
        "v1-5-pruned-emaonly.safetensors": False,
        "v1-5-pruned.ckpt": False,
    }
    asked = []

    def snapshot_download(repository_id, *, revision, **patterns):
        asked.append((repository_id, revision))
        chosen = set(huggingface_hub.utils.filter_repo_objects(repository, **patterns))
        assert chosen == {name for name, wanted in repository.items() if wanted}
        return str(ddpm_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert same_images(load_model("hub:lab/cats"), load_model("hub:lab/cats@v2"))
    assert asked == [("lab/cats", None), ("lab/cats", "v2")]


@pytest.mark.parametrize("error", ["not in the cache", "not on the hub", "no name"])
def test_a_hub_that_does_not_answer_is_named(error, monkeypatch):
    class Response:
        headers: dict[str, str] = {}  # noqa: RUF012  # a stand-in
        request = None
        status_code = 404

    def snapshot_download(*args, **kwargs):
        if error == "not in the cache":
            raise LocalEntryNotFoundError("offline")
        if error == "not on the hub":
            raise RepositoryNotFoundError("404", response=Response())
        raise ValueError("bad name")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(ModelError, match=r"Model 'hub:lab/cats' cannot be fetched.*download it and give the folder"):
        load_model("hub:lab/cats")


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"Model path '.*nowhere' does not exist\. Give a folder .*save_pretrained"):
        load_model(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.pth", "model.bin", "model.pkl"])
def test_a_checkpoint_that_is_a_pickle_is_refused_with_the_command_that_converts_it(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04N.")
    with pytest.raises(ModelError, match=rf"{name}' is a pickle, which can run code.*safe_serialization=True"):
        load_model(tmp_path / name)


def test_a_file_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"is a file. Give the folder"):
        load_model(tmp_path / "weights.safetensors")


def test_pickled_weights_in_a_pipeline_are_refused(copied):
    (copied / "unet" / "diffusion_pytorch_model.safetensors").rename(copied / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelError, match=r"diffusion_pytorch_model\.bin' is a pickle.*use_safetensors=False"):
        load_model(copied)


def test_missing_weights_are_refused(copied):
    (copied / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"is missing. Save the pipeline with safe_serialization=True"):
        load_model(copied)


def test_truncated_weights_are_refused_by_name(copied):
    path = copied / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ModelError, match=r"network in '.*release-3/unet' cannot be loaded.*Save the whole pipeline"):
        load_model(copied)


def test_weights_that_lack_a_tensor_are_refused_and_never_filled_with_random_numbers(copied):
    path = copied / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    del tensors["conv_in.weight"]
    save_file(tensors, path)
    with pytest.raises(ModelError, match=r"lack 1 of the network's tensors, such as 'conv_in\.weight'"):
        load_model(copied)


def test_weights_of_another_shape_are_refused(copied):
    edit(copied / "unet" / "config.json", block_out_channels=[16, 16])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(copied)


def test_a_folder_that_is_no_pipeline_is_refused(copied):
    (copied / "model_index.json").unlink()
    with pytest.raises(ModelError, match=r"release-3' holds no model_index\.json.*Save the whole pipeline"):
        load_model(copied)


def test_an_unsupported_pipeline_is_refused(copied):
    edit(copied / "model_index.json", _class_name="AudioLDM2Pipeline")
    with pytest.raises(ModelError, match=r"Pipeline class 'AudioLDM2Pipeline' .*, StableDiffusionPipeline, .* are\."):
        load_model(copied)


@pytest.mark.parametrize("name", ["MagicScheduler", "UNet2DModel", ""])
def test_an_unknown_scheduler_is_refused(copied, name):
    edit(copied / "scheduler" / "scheduler_config.json", _class_name=name)
    with pytest.raises(ModelError, match=rf"Scheduler class '{name}' .* is not one of diffusers'. Pass scheduler"):
        load_model(copied)


@pytest.mark.parametrize("file", ["model_index.json", "scheduler/scheduler_config.json", "unet/config.json"])
def test_broken_json_is_refused_by_name(copied, file):
    (copied / file).write_text('{"_class_name": ', encoding="utf-8")
    with pytest.raises(ModelError, match=rf"{file}' is not valid JSON.*Save the pipeline again"):
        load_model(copied)


def test_json_that_is_no_object_is_refused(copied):
    (copied / "model_index.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ModelError, match="must hold a JSON object"):
        load_model(copied)


def test_a_missing_scheduler_is_refused(copied):
    shutil.rmtree(copied / "scheduler")
    with pytest.raises(ModelError, match=r"scheduler_config\.json' is missing"):
        load_model(copied)


def test_a_scheduler_without_a_noise_table_is_refused():
    from diffusers import ScoreSdeVeScheduler

    with pytest.raises(ModelError, match="ScoreSdeVeScheduler has no `alphas_cumprod`"):
        load_model(tiny_unet(), scheduler=ScoreSdeVeScheduler())


def test_a_unet_without_its_scheduler_is_refused():
    with pytest.raises(ModelError, match=r"needs its noise schedule. Pass scheduler=DDPMScheduler"):
        load_model(tiny_unet())


def test_a_scheduler_for_a_finished_model_is_refused():
    with pytest.raises(ModelError, match="`scheduler` must be left out"):
        load_model(population_model(), scheduler=DDIMScheduler())


@pytest.mark.parametrize("source", [7, None, object(), torch.nn.Linear(2, 2)])
def test_an_object_that_is_no_model_is_refused(source):
    with pytest.raises(ModelError, match=f"Cannot audit an object of type {type(source).__name__}"):
        load_model(source)


@pytest.mark.parametrize("dtype", ["float31", "nn"])
def test_a_precision_that_is_none_is_refused(ddpm_folder, dtype):
    with pytest.raises(ModelError, match=f"`dtype` must be a torch precision such as float32, got '{dtype}'"):
        load_model(ddpm_folder, dtype=dtype)
