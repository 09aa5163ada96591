from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import fft

from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.probes.image_files import FILE_FACTS
from pytest_diffprivacy.probes.image_statistics import pixel_statistics, statistics_of


def statistic(images: np.ndarray, name: str) -> np.ndarray:
    return pixel_statistics(images)[name]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(61).random((4, 3, 16, 24)).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 4), (1, 8, 8), (3, 16, 20)])
def test_every_statistic_has_a_name_and_a_finite_value(shape: tuple[int, int, int]) -> None:
    black, drawn = np.zeros((3, *shape), np.float32), np.random.default_rng(0).random((3, *shape)).astype(np.float32)
    assert list(pixel_statistics(black)) == list(pixel_statistics(drawn))
    for images in (black, drawn):
        for column in pixel_statistics(images).values():
            assert column.shape == (3,)
            assert np.isfinite(column).all()


def test_plain_statistics_are_what_they_say(images: np.ndarray) -> None:
    grey = images.mean(axis=1, dtype=np.float64)
    np.testing.assert_allclose(statistic(images, "brightness, mean"), grey.mean((1, 2)))
    np.testing.assert_allclose(statistic(images, "brightness, 50% quantile"), np.median(grey.reshape(4, -1), axis=1))
    np.testing.assert_allclose(statistic(images, "channel 2, deviation"), images[:, 1].astype(float).std((1, 2)))
    variation = np.abs(np.diff(grey, axis=1)).mean((1, 2)) + np.abs(np.diff(grey, axis=2)).mean((1, 2))
    np.testing.assert_allclose(statistic(images, "total variation"), variation)


def test_a_step_at_every_eighth_pixel_is_seen_as_a_block_border() -> None:
    blocks = np.repeat(np.repeat([[0.0, 1.0], [1.0, 0.0]], 8, axis=0), 8, axis=1)[None, None].astype(np.float32)
    moved = np.roll(blocks, 4, axis=3)
    assert statistic(blocks, "steps at 8-pixel block borders")[0] == 1.0
    assert statistic(moved, "steps at 8-pixel block borders")[0] < 0.0
    assert statistic(blocks, "empty 8x8 frequencies")[0] > statistic(moved, "empty 8x8 frequencies")[0]


def test_frequencies_are_counted_in_the_blocks_of_jpeg(images: np.ndarray) -> None:
    grey = images.mean(axis=1, dtype=np.float64)
    blocks = [fft.dctn(grey[0, r : r + 8, c : c + 8], norm="ortho") for r in (0, 8) for c in (0, 8, 16)]
    empty = np.mean([np.abs(block) < 0.5 / 255 for block in blocks])
    assert statistic(images, "empty 8x8 frequencies")[0] == pytest.approx(empty)


def test_a_flat_image_is_compressed_to_less_than_noise(images: np.ndarray) -> None:
    both = np.concatenate([np.full_like(images[:1], 0.5), images[:1]])
    small, large = statistic(both, "compressed size")
    assert small < 0.1 * large


def test_captions_class_indices_and_files_are_described(tmp_path: Path) -> None:
    pixels = np.random.default_rng(62).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    names, values, _ = statistics_of(ImageSet.of(pixels, "member", ["a dog", "", "one two three"]))
    assert values[:, -2:].tolist() == [[5, 2], [0, 0], [13, 3]]
    assert names[-2:] == ("caption, characters", "caption, words")
    names, values, _ = statistics_of(ImageSet.of(pixels, "member", [4, 0, 2]))
    assert (names[-1], values[:, -1].tolist()) == ("class index", [4.0, 0.0, 2.0])
    for i, quality in enumerate((95, 30)):
        Image.fromarray(pixels[i]).save(tmp_path / f"{i}.jpg", quality=quality)
    Image.fromarray(pixels[2]).save(tmp_path / "2.png")
    images = ImageSet.of(tmp_path, "member")
    names, values, _ = statistics_of(images)
    assert names[-len(FILE_FACTS) :] == FILE_FACTS
    assert sorted(values[:, names.index("file, bytes")]) == sorted(p.stat().st_size for p in tmp_path.iterdir())
    fine, coarse = values[0], values[1]
    quantization = names.index("file, JPEG quantization")
    assert 0.0 < fine[quantization] < coarse[quantization]
    assert values[2, quantization] == 0.0


def test_images_in_memory_are_no_files(images: np.ndarray) -> None:
    assert ImageSet.of(images, "member").file_facts() is None
