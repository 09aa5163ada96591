"""Metadata and prompt files as other programs write them: read as they mean it, or refused with what is wrong."""

import json
import unicodedata

import numpy as np
import pytest
from PIL import Image

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.probes.prompt_files import read_prompts
from pytest_diffprivacy.probes.tables import CLASSES


@pytest.fixture
def captions(tmp_path):
    """The captions of two images beside a file."""

    def of(content, name="metadata.csv", images=("0.png", "1.png"), column=True):
        rng = np.random.default_rng(0)
        for image in images:
            Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / image)
        for file, text in (content if isinstance(content, dict) else {name: content}).items():
            (tmp_path / file).write_bytes(text if isinstance(text, bytes) else text.encode())
        return ImageSet.of(tmp_path, "member", captions=column).prompts(range(len(images)))

    return of


@pytest.mark.parametrize(
    "content",
    [
        "file_name,text\r\n0.png,a\r\n1.png,b\r\n",
        "file_name,text\r0.png,a\r1.png,b\r",
        "file_name, text\n0.png, a\n1.png, b\n",
        'file_name,text\n0.png,"a"\n\n1.png,b\n\n',
        ",file_name,text\n0,0.png,a\n1,1.png,b\n",
        "file_name,text\n./0.png,a\n0.png,a\n1.png,b\n",
    ],
    ids=["windows", "old mac", "spaces", "blank lines", "index of pandas", "repeated"],
)
def test_a_csv_of_another_program_is_read(captions, content):
    assert captions(content) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file_name;text\n0.png;a\n1.png;b\n", "must have a column 'file_name' and rows, got file_name;text"),
        ("file_name\ttext\n0.png\ta\n1.png\tb\n", "separate the columns of a CSV by commas"),
        ("File_Name,Text\n0.png,a\n1.png,b\n", "got File_Name, Text"),
        ("filename,text\n0.png,a\n1.png,b\n", "got filename, text"),
        ("file_name,Text\n0.png,a\n1.png,b\n", "must have a column caption, text, prompt or label or class"),
        ("file_name,text\n", "and rows, got nothing"),
        ("", "and rows, got nothing"),
        ('file_name,text\n0.png,"a\n1.png,b\n', "unexpected end of data"),
        ("file_name,text\n0.png,a\0b\n1.png,b\n", "holds zero bytes, as UTF-16 does"),
        ("file_name,text\n0.png,a\n1.png,b\n".encode("utf-16"), "Save it as UTF-8"),
        ("file_name,text\n0.png,caf\xe9\n1.png,b\n".encode("latin-1"), "Save it as UTF-8"),
        ("file_name,text\n0.png\n1.png,b\n", "row 1 of .* must have a caption"),
    ],
)
def test_a_csv_that_cannot_be_understood_says_why(captions, content, message):
    with pytest.raises(ProbeError, match=message):
        captions(content)


@pytest.mark.parametrize("name", ["labels", "Label", "class_id", "y", "target"])
def test_a_column_that_may_hold_classes_has_to_be_named(captions, name):
    content = f"file_name,{name}\n0.png,3\n1.png,4\n"
    with pytest.raises(ProbeError, match=f"'{name}' may hold class indices"):
        captions(content, column=CLASSES)
    assert captions(content, column=name) == [3, 4]


def test_an_accent_is_one_letter_however_it_is_written(captions):
    one, two = (unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
    assert captions(f"file_name,text\n{one},a\n1.png,b\n", images=(two, "1.png")) == ["b", "a"]


def test_a_line_of_json_needs_its_caption(captions):
    rows = [{"file_name": "0.png", "text": ["a", "c"]}, {"file_name": "1.png", "text": "b"}]
    with pytest.raises(ProbeError, match=r"row 1 of .* must have a caption in its column 'text', got \['a', 'c'\]"):
        captions("\n".join(map(json.dumps, rows)), "metadata.jsonl")


def test_text_files_beside_images_may_end_in_capitals(captions):
    assert captions({"0.TXT": "a", "1.txt": "\ufeffb"}) == ["a", "b"]
    with pytest.raises(ProbeError, match="must have one text file beside it for its caption, got 2"):
        captions({"0.caption": "c"})


@pytest.mark.parametrize("text", ["a\u2028b", "a\u2029b", "a\x85b", "a\x0bb", "a\x0cb"])
def test_only_line_feeds_end_a_prompt(tmp_path, text):
    (tmp_path / "p.txt").write_bytes(f"{text}\r\nc\n".encode())
    assert read_prompts(tmp_path / "p.txt") == [text, "c"]


def test_prompt_files_that_were_put_together_hold_no_byte_order_mark(tmp_path):
    (tmp_path / "p.txt").write_bytes("\ufeffa\n\ufeffb\n".encode())
    assert read_prompts(tmp_path / "p.txt") == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"), [(b"a\rb\n", "carriage return alone"), ("a\nb".encode("utf-16-le"), "zero bytes")]
)
def test_prompts_in_another_encoding_are_refused(tmp_path, content, message):
    (tmp_path / "p.txt").write_bytes(content)
    with pytest.raises(ProbeError, match=message):
        read_prompts(tmp_path / "p.txt")
