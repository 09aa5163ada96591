import numpy as np
import pytest
from PIL import Image

from pytest_diffprivacy.errors import ModelError, ProbeError
from pytest_diffprivacy.models import Generator
from pytest_diffprivacy.probes import StoredGenerations

IMAGES = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.full((1, 1, 3, 3), 40, dtype=np.uint8)


def first_pixels(images):
    return (images[:, 0, 0, 0] * 255).round().int().tolist()


def test_generation_i_is_image_i_whatever_the_runs_seed():
    stored = StoredGenerations(IMAGES)
    assert isinstance(stored, Generator)
    assert first_pixels(stored.generate([0, 3])) == [0, 120]
    assert first_pixels(stored.generate([7 * 2**32, 7 * 2**32 + 3])) == [0, 120]


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path):
    for number, image in enumerate(IMAGES):
        Image.fromarray(image[0]).save(tmp_path / f"{number:03}.png")
    stored = StoredGenerations(tmp_path)
    assert first_pixels(stored.generate(range(6))) == [0, 40, 80, 120, 160, 200]
    assert stored.identity.digest == StoredGenerations(IMAGES).identity.digest


def test_the_generations_of_a_prompt_are_counted_by_themselves():
    stored = StoredGenerations(IMAGES, prompts=["a", "b", "a", "b", "b", "a"], guidance_scale=7.5)
    assert first_pixels(stored.generate([0, 1, 2], prompts=["b"] * 3, guidance_scale=7.5)) == [40, 120, 160]
    with pytest.raises(ModelError, match="holds 3 generations for this prompt, and number 4 was asked for"):
        stored.generate([3], prompts=["a"], guidance_scale=7.5)
    with pytest.raises(ModelError, match=r"holds 0 generations for a prompt that was asked. .* PromptSearch\(prompts"):
        stored.generate([0], prompts=["c"], guidance_scale=7.5)
    with pytest.raises(ModelError, match=r"`guidance_scale` must be 7.5, with which these images were made, got 1.0"):
        stored.generate([0], prompts=["a"])


def test_more_than_there_are_is_an_error_that_says_how_many_there_are():
    with pytest.raises(ModelError, match="holds 6 generations, and number 7 was asked for"):
        StoredGenerations(IMAGES).generate([5, 6])


def test_the_digest_is_that_of_the_images_their_prompts_and_their_guidance():
    kinds = [
        StoredGenerations(IMAGES),
        StoredGenerations(IMAGES[::-1]),
        StoredGenerations(IMAGES, prompts=list("abcdef")),
        StoredGenerations(IMAGES, guidance_scale=2.0),
    ]
    assert len({kind.identity.digest for kind in kinds}) == 4
    assert kinds[0].identity.digest == StoredGenerations(IMAGES.copy()).identity.digest


def test_what_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(ProbeError, match="does not exist"):
        StoredGenerations(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="`prompts` must be one for each of 6 images, got 2"):
        StoredGenerations(IMAGES, prompts=["a", "b"])


def test_image_i_is_generation_i_without_zeros_in_the_names(tmp_path):
    prompts = [f"prompt {number}" for number in range(12)]
    for number in range(12):
        Image.fromarray(np.full((8, 8, 3), 10 * number, dtype=np.uint8)).save(tmp_path / f"{number}.png")
    assert first_pixels(StoredGenerations(tmp_path).generate(range(12))) == list(range(0, 120, 10))
    asked = StoredGenerations(tmp_path, prompts=prompts).generate([0] * 12, prompts=prompts)
    assert first_pixels(asked) == list(range(0, 120, 10))


def test_grey_among_colour_is_rgb_and_two_sizes_are_named(tmp_path):
    Image.fromarray(np.full((8, 8), 7, dtype=np.uint8)).save(tmp_path / "0.png")
    Image.fromarray(np.full((8, 8, 3), 9, dtype=np.uint8)).save(tmp_path / "1.png")
    stored = StoredGenerations(tmp_path)
    assert stored.generate([0]).shape == (1, 3, 8, 8)
    assert first_pixels(stored.generate([0, 1])) == [7, 9]
    Image.fromarray(np.full((9, 8, 3), 9, dtype=np.uint8)).save(tmp_path / "2.png")
    with pytest.raises(ProbeError, match=r"2.png has shape \(3, 9, 8\), the images before it \(3, 8, 8\)"):
        StoredGenerations(tmp_path).generate([0])
