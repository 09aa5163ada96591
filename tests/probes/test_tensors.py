"""Images in memory and files as training code holds them: tensors, bytes, lists of paths, several frames."""

import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, TensorDataset

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.probes import ImageSet

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), dtype=np.uint8)
FLOATS = torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255.0


def read(source):
    images = ImageSet.of(source, "member")
    return np.round(images.load(range(len(images))) * 255).astype(np.uint8)


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    "source",
    [
        FLOATS.clone().requires_grad_(),
        list(FLOATS.clone().requires_grad_()),
        TensorDataset(FLOATS.clone().requires_grad_()),
        [png(pixels) for pixels in PIXELS],
        [{"image": {"bytes": png(pixels), "path": None}} for pixels in PIXELS],
        [{"img": Image.fromarray(pixels), "label": 0} for pixels in PIXELS],
    ],
    ids=["tensor with gradient", "list of tensors", "dataset of them", "bytes", "not decoded", "img of a dataset"],
)
def test_images_in_memory_are_read(source):
    assert np.array_equal(read(source), PIXELS.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("hold", [lambda x: x, list, TensorDataset])
def test_bfloat16_is_read_as_it_rounds(hold):
    half = FLOATS.bfloat16()
    assert np.array_equal(ImageSet.of(hold(half), "member").load([0, 1]), half.float().numpy())


def test_a_list_of_files_is_a_set(tmp_path):
    for number, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    files = [tmp_path / "1.png", str(tmp_path / "0.png")]
    assert np.array_equal(read(files), PIXELS[::-1].transpose(0, 3, 1, 2))
    with pytest.raises(ProbeError, match=r"no\.png cannot be read as an image"):
        read([tmp_path / "no.png"])


def test_what_gives_batches_is_refused_with_what_to_give():
    with pytest.raises(ProbeError, match="got DataLoader"):
        ImageSet.of(DataLoader(TensorDataset(FLOATS), shuffle=True), "member")


@pytest.mark.parametrize("suffix", ["tif", "gif", "png", "webp", "mpo"])
def test_of_several_frames_the_first_is_read(tmp_path, suffix):
    first, second = (Image.fromarray(pixels) for pixels in PIXELS)
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[second])
    with Image.open(tmp_path / f"a.{suffix}") as image:
        own = np.asarray(image.convert("RGB"))
    assert np.array_equal(read(tmp_path), own[None].transpose(0, 3, 1, 2))


@pytest.mark.parametrize(("suffix", "settings"), [("webp", {"lossless": True}), ("tif", {}), ("avif", {}), ("mpo", {})])
@pytest.mark.parametrize("orientation", [2, 5, 6, 8])
def test_every_container_of_exif_is_turned(tmp_path, suffix, settings, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS[0]).save(tmp_path / f"a.{suffix}", exif=exif, **settings)
    with Image.open(tmp_path / f"a.{suffix}") as image:
        own = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(read(tmp_path), own[None].transpose(0, 3, 1, 2))


def test_an_opaque_palette_warns_of_nothing(tmp_path):
    palette = Image.fromarray(PIXELS[0]).convert("P")
    palette.save(tmp_path / "a.png", transparency=bytes([255] * 256))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = np.asarray(palette.convert("RGB"))
    assert np.array_equal(read(tmp_path), own[None].transpose(0, 3, 1, 2))


def test_an_image_too_large_even_to_open_is_named_where_warnings_are_errors(tmp_path):
    Image.new("1", (10000, 10000)).save(tmp_path / "a.png")
    with pytest.raises(ProbeError, match=r"a\.png .*100000000 pixels") as failed:
        read(tmp_path)
    assert str(failed.value).count("a.png") == 1
