"""Images with captions from folders, tables and datasets; what cannot serve is refused by name."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.probes import ImageSet, ProbeSet

COUNT = 4
IMAGES = np.random.default_rng(1).integers(0, 256, (COUNT, 5, 5, 3), dtype=np.uint8)
CAPTIONS = ["a cat", "a dog", "a red hat", "two birds"]


def png(image):
    content = io.BytesIO()
    Image.fromarray(image).save(content, format="PNG")
    return content.getvalue()


@pytest.fixture
def folder(tmp_path):
    for number, image in enumerate(IMAGES):
        path = tmp_path / "images" / f"part{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
    return tmp_path / "images"


def files():
    return [f"part{number % 2}/{number}.png" for number in range(COUNT)]


def write_metadata(folder, suffix, rows):
    if suffix == "csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        (folder / "metadata.csv").write_text("\n".join(lines))
    else:
        (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))


def rows(**changes):
    return [{"file_name": name, "text": caption} | changes for name, caption in zip(files(), CAPTIONS, strict=True)]


def told(source):
    """Caption -> pixels, whatever the order of the source."""
    members = ProbeSet(source, captions=True).members
    pixels = (members.load(range(len(members))) * 255).round().astype(np.uint8)
    return dict(zip(members.prompts(range(len(members))), pixels.transpose(0, 2, 3, 1), strict=True))


def check(found):
    assert sorted(found) == sorted(CAPTIONS)
    for caption, image in zip(CAPTIONS, IMAGES, strict=True):
        np.testing.assert_array_equal(found[caption], image)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_folder_with_metadata(folder, suffix):
    write_metadata(folder, suffix, rows()[::-1])
    check(told(folder))


def test_a_csv_of_files_and_captions(folder):
    write_metadata(folder, "csv", rows())
    (folder / "metadata.csv").rename(folder / "list.csv")
    check(told(folder / "list.csv"))


@pytest.mark.parametrize("structured", [True, False])
def test_a_parquet_file_in_several_row_groups(tmp_path, structured):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    content = [png(image) for image in IMAGES]
    images = [{"bytes": c, "path": None} for c in content] if structured else content
    parquet.write_table(arrow.table({"image": images, "caption": CAPTIONS}), tmp_path / "t.parquet", row_group_size=3)
    check(told(tmp_path / "t.parquet"))


class Items:
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


TENSORS = [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in IMAGES]
PICTURES = [Image.fromarray(image) for image in IMAGES]


@pytest.mark.parametrize(
    "items",
    [
        list(zip(TENSORS, CAPTIONS, strict=True)),
        list(zip(PICTURES, CAPTIONS, strict=True)),
        [{"image": i, "text": c} for i, c in zip(PICTURES, CAPTIONS, strict=True)],
        [{"pixel_values": i.double() / 255, "caption": c} for i, c in zip(TENSORS, CAPTIONS, strict=True)],
    ],
    ids=["tensor pairs", "picture pairs", "mappings", "fractions"],
)
def test_a_map_style_dataset(items):
    check(told(Items(items)))


def test_a_dataset_of_images_alone_and_one_with_classes():
    alone = ProbeSet(Items(PICTURES)).members
    assert alone.digest == ProbeSet(IMAGES).members.digest
    assert alone.prompts([0]) is None
    classes = ProbeSet(Items(list(zip(TENSORS, [3, 1, 2, 0], strict=True))), captions=True).members
    assert classes.prompts(range(COUNT)) == [3, 1, 2, 0]


def test_captions_are_taken_only_when_they_are_asked_for(folder):
    write_metadata(folder, "csv", rows())
    assert ProbeSet(folder).members.prompts([0]) is None
    assert ImageSet.captioned(folder, "member").prompts([0]) == ImageSet.of(folder, "member", captions=True).prompts(
        [0]
    )
    with pytest.raises(ProbeError, match="`captions` must be left out where prompts are given"):
        ProbeSet(folder, captions=True, member_prompts=CAPTIONS)
    with pytest.raises(ProbeError, match="The member images must have captions beside them, got none in array"):
        ProbeSet(IMAGES, captions=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (rows()[:3], r"1 of 4 images have no row in '.*metadata\.jsonl': part1/3\.png"),
        ([*rows(), {"file_name": files()[0], "text": "another"}], "Row 5 of .* must name one file in 'file_name'"),
        (rows(text=" "), "row 1 of .* must have a caption in its column 'text', got ' '"),
        (rows(file_name=5), "Row 1 of .* must name one file"),
        ([5], "cannot be read: every line must be a JSON object"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(folder, changed, message):
    write_metadata(folder, "jsonl", changed)
    with pytest.raises(ProbeError, match=message):
        ProbeSet(folder, captions=True)


def prompts_of(source, captions=True):
    members = ProbeSet(source, captions=captions).members
    return members.prompts(range(len(members)))


@pytest.mark.parametrize("labels", [[3, 1, 2, 0], ["3", "1", "2", "0"]])
@pytest.mark.parametrize("column", ["label", "class"])
def test_class_indices_beside_images(folder, labels, column):
    table = [{"file_name": name, column: label} for name, label in zip(files(), labels, strict=True)]
    write_metadata(folder, "csv" if labels == [3, 1, 2, 0] else "jsonl", table)
    assert prompts_of(folder) == [3, 2, 1, 0]  # part0 before part1
    write_metadata(folder, "csv" if labels == [3, 1, 2, 0] else "jsonl", [row | {column: "cat"} for row in table])
    with pytest.raises(ProbeError, match=f"row 1 of .* must have a class index in its column '{column}', got 'cat'"):
        prompts_of(folder)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, torch.tensor])
def test_labels_of_numpy_and_torch_are_class_indices(kind):
    for items in ([(i, kind(3)) for i in TENSORS], [{"image": i, "label": kind(3)} for i in PICTURES]):
        found = prompts_of(Items(items))
        assert found == [3] * COUNT
        assert {type(prompt) for prompt in found} == {int}


@pytest.mark.parametrize("value", [True, torch.tensor(True), 1.5, torch.tensor([1, 2]), None, np.float32(1)])
def test_what_is_no_caption_is_named(value):
    with pytest.raises(ProbeError, match="item 1 of dataset Items must have a class index in its column 'label'"):
        prompts_of(Items([{"image": PICTURES[0], "label": 1}, {"image": PICTURES[1], "label": value}]))


def test_text_beside_caption_must_be_chosen(folder):
    both = [row | {"caption": "another"} for row in rows()]
    write_metadata(folder, "jsonl", both)
    pairs = [{"image": i, **row} for i, row in zip(PICTURES, both, strict=True)]
    for source in (folder, Items(pairs)):
        with pytest.raises(ProbeError, match=r"columns caption and text, .* either. .*captions='caption'"):
            prompts_of(source)
        assert sorted(prompts_of(source, "text")) == sorted(CAPTIONS)


@pytest.mark.parametrize("suffix", [".txt", ".caption"])
def test_text_files_beside_images(folder, suffix):
    for name, caption in zip(files(), CAPTIONS, strict=True):
        (folder / name).with_suffix(suffix).write_text(caption + "\n", encoding="utf-8-sig")
    check(told(folder))
    assert ProbeSet(folder).members.origin == "folder images"
    last = (folder / files()[3]).with_suffix(suffix)
    last.write_text("one\ntwo\n")
    with pytest.raises(ProbeError, match="must hold one caption on one line, got 2 lines"):
        prompts_of(folder)
    last.unlink()
    with pytest.raises(ProbeError, match=r"3\.png' must have one text file beside it for its caption, got 0"):
        prompts_of(folder)
    write_metadata(folder, "csv", rows())
    with pytest.raises(ProbeError, match=r"holds captions in metadata.csv and in text files beside images"):
        prompts_of(folder)
    check(dict(zip(prompts_of(folder, "text"), IMAGES[[0, 2, 1, 3]], strict=True)))


def test_metadata_of_subfolders_and_with_the_mark_of_a_spreadsheet(folder):
    for part in ("part0", "part1"):
        lines = [f"{name[6:]},{caption}" for name, caption in zip(files(), CAPTIONS, strict=True) if part in name]
        (folder / part / "metadata.csv").write_text("\n".join(["file_name,text", *lines]), encoding="utf-8-sig")
    check(told(folder))


@pytest.mark.parametrize("captions", [True, False])
def test_a_row_without_its_file_is_named(folder, captions):
    write_metadata(folder, "csv", [*rows(), {"file_name": "part0/9.png", "text": "gone"}])
    with pytest.raises(ProbeError, match=r"1 of 5 rows of .* name no image that is there: part0/9\.png"):
        ProbeSet(folder, captions=captions)


def test_an_unquoted_comma_is_refused_with_its_row(folder):
    write_metadata(folder, "csv", [*rows()[:3], rows()[3] | {"text": "two birds, one nest"}])
    with pytest.raises(ProbeError, match=r"got more cells than file_name, text in row 4\. Put quotes"):
        prompts_of(folder)


def test_two_metadata_files_are_one_too_many(folder):
    write_metadata(folder, "csv", rows())
    write_metadata(folder, "jsonl", rows())
    with pytest.raises(ProbeError, match=r"holds metadata\.csv and metadata\.jsonl\. Keep one"):
        ProbeSet(folder, captions=True)


def test_bad_images_of_a_table_are_named(tmp_path, monkeypatch):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    contents = [png(IMAGES[0]), b"no image", png(np.zeros((9, 9, 3), dtype=np.uint8))]
    parquet.write_table(arrow.table({"image": contents}), tmp_path / "t.parquet")
    monkeypatch.setattr("pytest_diffprivacy.probes.image_files.MAX_PIXELS", 50)
    with pytest.raises(ProbeError, match=r"2 of 3 member images(.|\n)*row 2 of .* cannot be read(.|\n)*row 3 .* 9 x 9"):
        _ = ProbeSet(tmp_path / "t.parquet").members.digests


def test_nan_in_a_dataset_is_named():
    with pytest.raises(ProbeError, match="item 1 of dataset Items holds NaN or infinity"):
        _ = ProbeSet(Items([torch.zeros(1, 2, 2), torch.full((1, 2, 2), torch.nan)])).members.digests


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "a,b\n1,2\n", r"must have a column file_name or image or path or file, got \['a', 'b'\]"),
        ("t.csv", "file_name\n", "holds no rows"),
        ("t.csv", None, "cannot be read"),
        ("t.parquet", "no table", "is no parquet file"),
        ("t.parquet", None, "is no parquet file"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ProbeError, match=message):
        ProbeSet(tmp_path / name)


def test_an_item_without_an_image_is_refused():
    with pytest.raises(ProbeError, match=r"item 0 of .* must have a key image, img, pixel_values, got \['text'\]"):
        _ = ProbeSet(Items([{"text": "a"}])).members.digests
    with pytest.raises(ProbeError, match="must hold at least one image, got none"):
        ProbeSet(Items([]))


def test_the_images_of_a_parquet_file_are_not_their_names(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    content = [{"bytes": png(image), "path": None} for image in IMAGES]
    parquet.write_table(arrow.table({"file_name": files(), "image": content, "text": CAPTIONS}), tmp_path / "t.parquet")
    check(told(tmp_path / "t.parquet"))
