"""Where images come from: every layout and file is read to the same pixels, and what cannot serve is named."""

import pickle

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image, ImageOps
from pyarrow import parquet
from safetensors.numpy import save_file

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.probes import ImageSet, ProbeSet, StoredGenerations


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
        (np.zeros((2, 4, 4), dtype=bool), r"got bool. Convert it with .astype\(np.float32\)"),
        (np.full((2, 4, 4), 65535, dtype=np.uint16), r"white value: \(array / 65535\).astype\(np.float32\)"),
        (np.zeros((16, 16, 3), dtype=np.uint8), r"may be one \(h, w, c\) image .* Give array\[None\] for one image"),
        (np.zeros((3, 16, 16), dtype=np.uint8), r"may be one \(c, h, w\) image or 3 grey"),
        (
            np.zeros((2, 16, 16, 4), dtype=np.uint8),
            r"has 4 channels, .* Leave it out .*: array\[..., :3\]",
        ),
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


@pytest.mark.parametrize(("mode", "as_read"), [("CMYK", "RGB"), ("RGBA", "RGB"), ("LA", "L"), ("YCbCr", "RGB")])
def test_other_layouts_are_converted_as_pillow_does(tmp_path, mode, as_read):
    picture = Image.fromarray(colour(1)[0]).convert(mode)
    picture.save(tmp_path / "x.tif")
    expected = np.asarray(picture.convert(as_read), dtype=np.float32).reshape(4, 4, -1).transpose(2, 0, 1) / 255
    for source in (tmp_path, [picture]):
        np.testing.assert_array_equal(pixels_of(source)[0], expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_refused_with_a_cure_that_works(tmp_path, mode):
    picture = Image.fromarray(np.dstack([colour(1)[0], np.full((4, 4), 9, dtype=np.uint8)])).convert(mode)
    picture.save(tmp_path / "x.png", **({"transparency": 0} if mode == "P" else {}))
    with pytest.raises(ProbeError, match=rf"x.png has mode '{mode}'.*Save it as RGB or grey.*image.convert\('RGB'\)"):
        len(members(tmp_path))
    with Image.open(tmp_path / "x.png") as stored:
        stored.convert("RGB").save(tmp_path / "x.png")
    assert members(tmp_path).image_shape == (3, 4, 4)


def test_values_without_a_white_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(ProbeError, match="has mode 'F', whose values have no known white"):
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
    with pytest.raises(
        ProbeError, match=r"images\.txt' must be an image folder, or an \.npz, \.npy, \.safetensors, \.csv or"
    ):
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


def test_the_cures_for_arrays_work():
    deep, one, clear = grey(2).astype(np.uint16) * 257, colour(1, side=16)[0], np.zeros((2, 16, 16, 4), dtype=np.uint8)
    np.testing.assert_allclose(pixels_of((deep / 65535).astype(np.float32)), pixels_of(grey(2)), atol=1e-6)
    assert members(one[None]).image_shape == members(clear[..., :3]).image_shape == (3, 16, 16)
    assert members(one.transpose(2, 0, 1)[:, None]).image_shape == (1, 16, 16)


def test_lists_of_pictures_are_read_as_files_are(tmp_path):
    pictures = [Image.fromarray(image) for image in colour(2, side=8)]
    indexed = [picture.convert("P", palette=Image.Palette.ADAPTIVE) for picture in pictures]
    assert members(pictures).digest == members(colour(2, side=8)).digest
    assert members(indexed).digest == members([picture.convert("RGB") for picture in indexed]).digest
    deep = Image.fromarray(grey(1)[0].astype(np.uint16) * 257)
    np.testing.assert_allclose(pixels_of([deep])[0], pixels_of(grey(1))[0], atol=1e-6)
    with pytest.raises(ProbeError, match=r"Images must be several, got one image. Put it into a list"):
        members(pictures[0])


@pytest.mark.parametrize("of", [list, lambda arrays: [Image.fromarray(array) for array in arrays]])
def test_two_sizes_in_a_list_are_named_with_the_sizing_that_mends_them(of):
    images = of([colour(1, side=8)[0], colour(1, side=9)[0]])
    message = r"item 1 of list has shape \(3, 9, 9\), .* \(3, 8, 8\). Resize it.*ProbeSet\(..., resize=8, crop=8\)"
    with pytest.raises(ProbeError, match=message):
        len(members(images))
    assert ProbeSet(images, resize=8, crop=8).members.image_shape == (3, 8, 8)


def test_grey_among_colour_is_rgb(tmp_path):
    save_png(tmp_path / "a.png", grey(1)[0])
    for number, picture in enumerate(colour(2)):
        save_png(tmp_path / f"b{number}.png", picture)
    images = members(tmp_path)
    as_rgb = np.concatenate([np.repeat(grey(1)[..., None], 3, axis=3), colour(2)])
    assert images.digests == members(as_rgb).digests
    np.testing.assert_array_equal(images.subset([0]).load([0]), members(as_rgb).load([0]))
    assert images.subset([0]).image_shape == (3, 4, 4)


ORIENTATIONS = range(2, 9)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "jpg"])
def test_a_rotated_picture_is_upright_through_every_door(tmp_path, orientation, suffix):
    exif, file = Image.Exif(), tmp_path / "folder" / f"0.{suffix}"
    exif[0x0112] = orientation
    file.parent.mkdir()
    lossless = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(colour(1, side=8)[0, :5]).save(file, exif=exif, **lossless)
    with Image.open(file) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    (tmp_path / "list.csv").write_text(f"file_name\nfolder/0.{suffix}\n")
    table = pyarrow.table({"image": [{"bytes": file.read_bytes(), "path": file.name}]})
    parquet.write_table(table, tmp_path / "list.parquet")
    doors = [file.parent, tmp_path / "list.csv", tmp_path / "list.parquet", [Image.open(file)]]
    assert {members(door).digests[0] for door in doors} == {members(upright[None]).digests[0]}
    made = StoredGenerations(file.parent).generate([0]).numpy()
    np.testing.assert_array_equal(made, members(upright[None]).load([0]))


def test_every_format_of_pillow_is_read(tmp_path):
    for number, suffix in enumerate(["jfif", "JPG", "webp", "ppm", "jp2", "tga", "PNG"]):
        Image.fromarray(colour(7, side=16)[number]).save(tmp_path / f"{number}.{suffix}")
    assert len(members(tmp_path)) == 7


def test_images_that_pillow_cannot_read_are_named(tmp_path):
    save_png(tmp_path / "0.png", grey(1)[0])
    (tmp_path / "1.heic").write_bytes(b"phone")
    with pytest.raises(ProbeError, match=r"Pillow cannot read 1 images of folder .*1\.heic"):
        members(tmp_path)


def test_what_is_left_out_of_a_folder_is_counted_in_origin_and_log(tmp_path, caplog):
    folder = tmp_path / "m"
    for name in ["0.png", ".hidden.png", ".checkpoints/1.png"]:
        save_png(folder / name, grey(1)[0])
    (folder / "notes.md").write_text("a note")
    images = members(folder)
    assert len(images) == 1
    assert images.origin == "folder m (left out: 1 .md file, 1 hidden file, 1 hidden folder)"
    assert [record.getMessage() for record in caplog.records] == [images.origin + ": 1 images"]


def test_linked_folders_are_walked_once(tmp_path):
    save_png(tmp_path / "m" / "a.png", grey(3)[0])
    save_png(tmp_path / "m" / "own" / "b.png", grey(3)[1])
    save_png(tmp_path / "other" / "c.png", grey(3)[2])
    (tmp_path / "m" / "first").symlink_to(tmp_path / "other")
    (tmp_path / "m" / "again").symlink_to(tmp_path / "other")
    (tmp_path / "m" / "inner").symlink_to(tmp_path / "m" / "own")
    images = members(tmp_path / "m")
    assert images.source_count == len(images) == 3
    assert images.origin == "folder m (left out: 2 folders linked again)"


@pytest.mark.parametrize("place", ["m", "other"])
def test_links_in_a_circle_and_broken_ones_are_refused(tmp_path, place):
    save_png(tmp_path / "m" / "a.png", grey(1)[0])
    save_png(tmp_path / "other" / "b.png", grey(1)[0])
    (tmp_path / "m" / "sub").symlink_to(tmp_path / "other")
    (tmp_path / place / "round").symlink_to(tmp_path / "m")
    with pytest.raises(ProbeError, match=r"round' is a link to a folder that it lies in. Remove the link"):
        members(tmp_path / "m")
    (tmp_path / place / "round").unlink()
    (tmp_path / place / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ProbeError, match=r"gone\.png' is a broken link"):
        members(tmp_path / "m")


class Flipping:
    def __init__(self):
        self.images, self.random = colour(16), np.random.default_rng(0)

    def __len__(self):
        return 16

    def __getitem__(self, index):
        return self.images[index][:, :: 1 if self.random.random() < 0.5 else -1].copy()


def test_random_transforms_are_noticed():
    images = members(Flipping())
    for chosen in (images, images.subset(range(8))):
        with pytest.raises(ProbeError, match=r"reads differently .* random transforms .* out of dataset Flipping"):
            chosen.load(range(len(chosen)))
