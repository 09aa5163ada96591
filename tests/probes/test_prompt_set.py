"""Prompt sets: distinct texts with counts, from lists and files, and errors that name the place."""

import json

import numpy as np
import pytest

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.probes import ProbeSet, PromptSet, read_prompts


def test_equal_prompts_are_one_with_a_count():
    prompts = PromptSet(["cat", "dog", "cat"])
    assert prompts.texts == ["cat", "dog"]
    assert (len(prompts), prompts.total) == (2, 3)


def test_ids_and_digests_depend_on_texts_and_counts_and_never_show_them():
    prompts = PromptSet(["a secret cat", "a secret dog"], "reference prompt")
    assert all(name.startswith("reference prompt ") and "secret" not in name for name in prompts.ids())
    assert prompts.digest != PromptSet(["a secret cat", "a secret dog"] * 2).digest
    assert prompts.part_digest(0, 1) == PromptSet(["a secret cat"]).part_digest(0, 1)
    assert dict(prompts.private_texts()) == dict(zip(prompts.texts, prompts.ids(), strict=True))


def test_a_training_image_belongs_to_the_first_occurrence():
    images = np.stack([np.full((1, 2, 2), level, dtype=np.float32) for level in (0.1, 0.2, 0.3)])
    prompts = PromptSet(["cat", "cat", "dog"], images=images)
    assert [float(prompts.image(i)[0, 0, 0]) for i in (0, 1)] == pytest.approx([0.1, 0.3])
    assert PromptSet(["cat"]).image(0) is None
    with pytest.raises(ProbeError, match="`images` must be one for each of the 2 prompts, got 3"):
        PromptSet(["cat", "dog"], images=images)


def written(tmp_path, name, rows):
    path = tmp_path / name
    if name.endswith(".txt"):
        path.write_text("\n".join(rows) + "\n\n", encoding="utf-8")
    elif name.endswith(".csv"):
        path.write_text("id,caption\n" + "".join(f'{i},"{row}"\n' for i, row in enumerate(rows)), encoding="utf-8")
    elif name.endswith(".jsonl"):
        path.write_text("\n".join(json.dumps({"text": row, "id": 1}) for row in rows), encoding="utf-8")
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"id": list(range(len(rows))), "prompt": rows}), path)
    return path


@pytest.mark.parametrize("name", ["p.txt", "p.csv", "p.jsonl", "p.parquet"])
def test_every_kind_of_file_is_read(tmp_path, name):
    rows = ["a cat, with a comma", "ein Hund mit Ä", "a cat, with a comma"]
    prompts = PromptSet(written(tmp_path, name, rows))
    assert prompts.texts == rows[:2]
    assert (prompts.total, prompts.origin) == (3, f"file {name}")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_is_a_prompt_with_its_separators_and_without_the_files_mark(tmp_path, end):
    rows = ["a red\u2028apple", "a\x0ccat", "a \x85 dog"]
    (tmp_path / "p.txt").write_bytes((end.join(rows) + end).encode("utf-8-sig"))
    (tmp_path / "p.jsonl").write_bytes(
        end.join(json.dumps({"text": row}, ensure_ascii=False) for row in rows).encode("utf-8-sig")
    )
    assert read_prompts(tmp_path / "p.txt") == read_prompts(tmp_path / "p.jsonl") == rows


def test_of_two_columns_one_must_be_chosen(tmp_path):
    (tmp_path / "p.csv").write_text("text,caption\nwhat was trained,another\n", encoding="utf-8-sig")
    with pytest.raises(ProbeError, match=r"has the columns caption and text, .* PromptSet\(..., column='caption'\)"):
        PromptSet(tmp_path / "p.csv")
    assert PromptSet(tmp_path / "p.csv", column="text").texts == ["what was trained"]
    with pytest.raises(ProbeError, match="must have the column 'words', got none of it"):
        PromptSet(tmp_path / "p.csv", column="words")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", "\n \n", "holds no prompts"),
        ("p.csv", "id,name\n1,cat\n", "Row 1 of .* has none of the columns caption, text, prompt"),
        ("p.csv", "caption\ncat\n \n", "Row 2 of .* has no text in its column 'caption'"),
        ("p.jsonl", '{"text": "cat"}\n{"text": 3}', "Row 2 of .* has no text in its column 'text'"),
        ("p.jsonl", '{"text": ', "cannot be read"),
        ("p.jsonl", "[1]", "Row 1 of .* has none of the columns"),
        ("p.xlsx", "x", r"must end in \.txt, \.csv, \.jsonl, \.parquet"),
        ("p.parquet", "x", "is no parquet file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ProbeError, match=message):
        PromptSet(path)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path):
    with pytest.raises(ProbeError, match=r"nowhere.txt' does not exist"):
        PromptSet(tmp_path / "nowhere.txt")
    (tmp_path / "p.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProbeError, match=r"cannot be read.*Save it as UTF-8"):
        PromptSet(tmp_path / "p.txt")


@pytest.mark.parametrize(
    ("texts", "message"), [([], "at least one"), (["cat", " "], "prompt 1 must be a text"), ([3], "3")]
)
def test_texts_that_say_nothing_are_refused(texts, message):
    with pytest.raises(ProbeError, match=message):
        PromptSet(texts)


def test_a_probe_set_may_hold_prompts_alone():
    probes = ProbeSet(prompts=["cat"])
    assert probes.prompts.texts == ["cat"]
    assert not probes.has_members
    with pytest.raises(ProbeError, match="This claim needs members"):
        _ = probes.members
    with pytest.raises(ProbeError, match="This claim needs prompts"):
        _ = ProbeSet(np.zeros((1, 1, 2, 2), dtype=np.float32)).prompts
    with pytest.raises(ProbeError, match="must have members or prompts, got neither"):
        ProbeSet()


def test_a_source_of_another_kind_is_refused():
    with pytest.raises(ProbeError, match=r"prompts must be a list of texts, a .txt.* or a PromptSet, got int"):
        PromptSet.of(3, "prompt")
