"""Where images come from: every layout and file is read to the same pixels, and what cannot serve is named."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.probes import ImageSet


def grey(count=3, side=4, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side), dtype=np.uint8)


def colour(count=3, side=4, seed=2):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def save_png(path, pixels, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path) if mode else Image.fromarray(pixels).save(path)
    return path


def members(source):
    return ImageSet.of(source, "member")


def pixels_of(source):
    images = members(source)
    return images.load(range(len(images)))


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        (grey(), (1, 4, 4)),
        (grey()[:, None], (1, 4, 4)),
        (grey()[..., None], (1, 4, 4)),
        (colour(), (3, 4, 4)),
        (colour().transpose(0, 3, 1, 2), (3, 4, 4)),
    ],
    ids=["n h w", "n 1 h w", "n h w 1", "n h w 3", "n 3 h w"],
)
def test_every_layout_is_read_with_the_channels_first(array, shape):
    images = members(array)
    assert images.image_shape == shape
    assert pixels_of(array).shape == (3, *shape)
    assert pixels_of(array).dtype == np.float32


def test_layouts_of_the_same_images_are_the_same_images():
    assert members(colour()).digest == members(colour().transpose(0, 3, 1, 2)).digest
    assert members(grey()).digest == members(grey()[..., None]).digest


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_images_are_taken_as_they_are(dtype):
    values = np.linspace(0, 1, 32).reshape(2, 4, 4).astype(dtype)
    np.testing.assert_array_equal(pixels_of(values)[:, 0], values.astype(np.float32))


def test_bytes_are_divided_by_255():
    np.testing.assert_array_equal(pixels_of(grey())[:, 0], grey().astype(np.float32) / np.float32(255))


def test_tensors_and_lists_of_arrays_are_arrays():
    assert members(torch.from_numpy(grey())).digest == members(list(grey())).digest == members(grey()).digest


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4)), r"array must hold images of shape \(n, h, w\).* got \(4, 4\)"),
        (np.zeros((0, 4, 4)), "n >= 1"),
        (np.zeros((2, 4, 4), dtype=np.int64), "array must be uint8 or float, got int64. Convert it"),
        (np.zeros((2, 4, 4), dtype=bool), "got bool"),
    ],
)
def test_arrays_that_are_no_images_are_refused(array, message):
    with pytest.raises(ProbeError, match=message):
        members(array)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "image 1 of array holds NaN or infinity. Remove or repair it"),
        (np.inf, "image 1 of array holds NaN or infinity"),
        (-1.0, r"image 1 of array must lie in \[0, 1\], got \[-1, 0.5\]. Rescale the array"),
        (255.0, r"image 1 of array must lie in \[0, 1\], got \[0.5, 255\]"),
    ],
)
def test_values_that_are_no_pixels_are_refused_by_position(value, message):
    array = np.full((3, 4, 4), 0.5)
    array[1, 0, 0] = value
    with pytest.raises(ProbeError, match=message):
        len(members(array))


def test_images_in_minus_one_to_one_are_refused():
    with pytest.raises(ProbeError, match="2 of 2 member images cannot be used"):
        len(members(grey(2) / 127.5 - 1.0))


@pytest.mark.parametrize("source", [7, None, object()])
def test_a_source_that_is_none_is_refused(source):
    with pytest.raises(ProbeError, match=f"Images must be an array, a folder, .* got {type(source).__name__}"):
        members(source)


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path):
    pictures = grey(4)
    for name, picture in zip(["b.png", "a/z.png", "a/b/c.PNG", "c.bmp"], pictures, strict=True):
        save_png(tmp_path / name, picture)
    (tmp_path / "notes.txt").write_text("not an image")
    expected = pictures[[2, 1, 0, 3]].astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(pixels_of(tmp_path)[:, 0], expected)


def test_a_record_names_the_folder_and_no_file(tmp_path):
    save_png(tmp_path / "private" / "alice.png", grey(1)[0])
    images = members(tmp_path / "private")
    assert images.origin == "folder private"
    assert "alice" not in "".join(images.ids())


def test_an_image_is_the_same_from_every_source(tmp_path):
    picture = colour(1)[0]
    save_png(tmp_path / "folder" / "x.png", picture)
    np.savez(tmp_path / "x.npz", images=picture[None])
    save_file({"images": picture[None].copy()}, tmp_path / "x.safetensors")
    sources = [
        tmp_path / "folder",
        str(tmp_path / "folder"),
        tmp_path / "x.npz",
        tmp_path / "x.safetensors",
        picture[None],
        picture[None].astype(np.float32) / np.float32(255),
    ]
    assert len({members(source).digests[0] for source in sources}) == 1


def test_palettes_become_rgb_and_black_and_white_becomes_grey(tmp_path):
    save_png(tmp_path / "palette" / "x.png", colour(1, side=8)[0], mode="P")
    assert members(tmp_path / "palette").image_shape == (3, 8, 8)
    save_png(tmp_path / "bits" / "x.png", grey(1)[0], mode="1")
    assert members(tmp_path / "bits").image_shape == (1, 4, 4)
    assert set(np.unique(pixels_of(tmp_path / "bits"))) <= {0.0, 1.0}


def test_sixteen_bits_are_divided_by_65535(tmp_path):
    deep = np.array([[0, 65535], [32768, 1]], dtype=np.uint16)
    save_png(tmp_path / "deep.png", deep)
    np.testing.assert_allclose(pixels_of(tmp_path)[0, 0], deep / 65535, rtol=1e-6)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "CMYK"])
def test_transparency_and_unusual_layouts_are_refused(tmp_path, mode):
    name = "x.tif" if mode == "CMYK" else "x.png"
    save_png(tmp_path / name, colour(1)[0], mode=mode)
    with pytest.raises(ProbeError, match=f"{name} has mode '{mode}'.*Save it as RGB or grey"):
        len(members(tmp_path))


def test_a_truncated_image_among_good_ones_is_named(tmp_path):
    for i, picture in enumerate(colour(4, side=32)):
        save_png(tmp_path / f"{i}.png", picture)
    whole = (tmp_path / "2.png").read_bytes()
    (tmp_path / "2.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ProbeError, match=r"1 of 4 member images cannot be used:\n.*2\.png cannot be read as an image"):
        len(members(tmp_path))


@pytest.mark.parametrize("content", [b"just a text", b"", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_file_that_is_only_called_an_image_is_named(tmp_path, content):
    save_png(tmp_path / "a.png", grey(1)[0])
    (tmp_path / "b.png").write_bytes(content)
    with pytest.raises(ProbeError, match=r"b\.png cannot be read as an image .*Replace or remove it"):
        len(members(tmp_path))


def test_an_image_of_enormous_size_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("pytest_diffprivacy.probes.image_files.MAX_PIXELS", 15)
    save_png(tmp_path / "a.png", grey(1)[0])
    with pytest.raises(ProbeError, match=r"a\.png has 4 x 4 pixels, more than 15. Resize it"):
        len(members(tmp_path))


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "readme.txt").write_text("no images here")
    with pytest.raises(ProbeError, match=r"Image folder '.*' holds no images \(\.png"):
        members(tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ProbeError, match=r"Image folder '.*nowhere' does not exist"):
        members(tmp_path / "nowhere")


def test_a_file_that_holds_no_images_is_refused(tmp_path):
    (tmp_path / "images.txt").write_text("1,2")
    with pytest.raises(ProbeError, match=r"images\.txt' must be an image folder, or an \.npz, \.safetensors, \.csv or"):
        members(tmp_path / "images.txt")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_missing_array_file_is_refused(tmp_path, suffix):
    with pytest.raises(ProbeError, match="does not exist"):
        members(tmp_path / f"images{suffix}")


def test_the_only_array_and_the_one_called_images_are_found(tmp_path):
    np.savez(tmp_path / "one.npz", pictures=grey())
    np.savez(tmp_path / "two.npz", images=grey(), labels=np.arange(3))
    np.savez(tmp_path / "unclear.npz", a=grey(), b=grey())
    assert members(tmp_path / "one.npz").digest == members(tmp_path / "two.npz").digest
    with pytest.raises(ProbeError, match=r"unclear\.npz' holds arrays \['a', 'b'\]; .* Name one 'images'"):
        members(tmp_path / "unclear.npz")


def test_a_pickle_in_an_archive_is_refused_and_not_run(tmp_path):
    ran = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return (ran.write_text, ("pickles run code",))

    np.savez(tmp_path / "x.npz", images=np.array([Payload()], dtype=object))
    (tmp_path / "y.npz").write_bytes(pickle.dumps(Payload()))
    ran.unlink(missing_ok=True)
    for name in ("x.npz", "y.npz"):
        with pytest.raises(ProbeError, match=f"{name}' cannot be read as an array file"):
            members(tmp_path / name)
    assert not ran.exists()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_archive_is_refused_by_name(tmp_path, save):
    path = tmp_path / "x.npz"
    save(path, images=grey(20, side=16))
    whole = path.read_bytes()
    for damaged in (b"", whole[:100], whole[:-60], whole[:500] + bytes(200) + whole[700:]):
        path.write_bytes(damaged)
        with pytest.raises(ProbeError, match=r"x\.npz' cannot be read as an array file"):
            members(path)


def test_a_damaged_safetensors_file_is_refused_by_name(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"images": grey()}, path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:4], whole[:-10]):
        path.write_bytes(damaged)
        with pytest.raises(ProbeError, match=r"x\.safetensors' cannot be read"):
            members(path)
