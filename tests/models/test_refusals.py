"""What `load_model` refuses as it is, and what the message says to give in its place."""

from __future__ import annotations

import json
import shutil

import pytest
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models import load_model
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
