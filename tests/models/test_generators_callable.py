import numpy as np
import pytest
import torch
from PIL import Image

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models import CallableGenerator, Generator
from pytest_diffprivacy.models.identity import UNKNOWN_DIGEST


def pictures(prompts, seeds):
    return np.stack([np.full((1, 2, 2), seed / 10) for seed in seeds])


def test_a_function_is_a_generator():
    model = CallableGenerator(pictures, name="mine", version="3")
    assert isinstance(model, Generator)
    assert model.generate([1, 5])[:, 0, 0, 0].tolist() == pytest.approx([0.1, 0.5])
    assert model.identity.access == "black box"


def test_prompts_and_seeds_reach_the_function():
    asked = []
    model = CallableGenerator(lambda p, s: asked.append((p, list(s))) or pictures(p, s), name="mine", version=None)
    model.generate([1], prompts=["a cat"], steps=3)
    model.generate([2])
    assert asked == [(["a cat"], [1]), (None, [2])]


def test_bytes_become_fractions():
    model = CallableGenerator(
        lambda _, seeds: np.full((len(seeds), 3, 2, 2), 255, dtype=np.uint8), name="b", version="1"
    )
    assert model.generate([1]).max() == 1.0


def test_the_version_names_what_the_images_depend_on():
    def digest(name, version):
        return CallableGenerator(pictures, name=name, version=version).identity.digest

    assert digest("a", "1") == digest("a", "1")
    assert len({digest("a", "1"), digest("a", "2"), digest("b", "1")}) == 3
    assert digest("a", None) == UNKNOWN_DIGEST


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 2, 2)), r"must return 1 images \(n, channels, height, width\), got shape \(2, 2, 2\)"),
        (np.zeros((2, 1, 2, 2)), "must return 1 images"),
        (np.full((1, 1, 2, 2), -1.0), r"must return images in \[0, 1\], got \[-1, -1\]"),
        (np.full((1, 1, 2, 2), 1.5), r"got \[1.5, 1.5\]. Rescale"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(images, message):
    with pytest.raises(ModelError, match=message):
        CallableGenerator(lambda _, __: torch.from_numpy(images), name="mine", version="1").generate([1])


@pytest.mark.parametrize(
    ("made", "kind"),
    [(None, "NoneType"), ([Image.new("L", (2, 2))], "a list of Image"), (np.full((1, 1, 2, 2), 1j), "complex128")],
)
def test_what_is_no_array_is_refused_with_the_cure(made, kind):
    with pytest.raises(ModelError, match=rf"must return a tensor or an array .* got {kind}. A PIL image becomes one"):
        CallableGenerator(lambda _, __: made, name="mine", version="1").generate([1])


def test_a_list_of_images_is_a_batch():
    listed = CallableGenerator(lambda _, seeds: [pictures(None, [s])[0] for s in seeds], name="listed", version="1")
    whole = CallableGenerator(pictures, name="whole", version="1")
    assert torch.equal(listed.generate([3, 5]), whole.generate([3, 5]))


def test_guidance_and_a_nameless_function_are_refused():
    with pytest.raises(ModelError, match=r"`guidance_scale` must be 1.0 for a function, got 7.5"):
        CallableGenerator(pictures, name="mine", version="1").generate([1], guidance_scale=7.5)
    with pytest.raises(ModelError, match="`name` must not be empty"):
        CallableGenerator(pictures, name="", version="1")
