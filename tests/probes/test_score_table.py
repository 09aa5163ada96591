"""Scores made elsewhere meet their images."""

from __future__ import annotations

import json

import numpy as np
import pandas
import pytest
from PIL import Image

from pytest_diffprivacy import ProbeSet, ScoreTable
from pytest_diffprivacy.errors import UsageError


@pytest.fixture
def folders(tmp_path):
    """A probe set from folders, each image of another grey, and the path of each image below the project."""
    for role, offset in (("members", 10), ("heldout", 100)):
        (tmp_path / role).mkdir()
        for index in range(4):
            Image.fromarray(np.full((4, 4), offset + index, np.uint8)).save(tmp_path / role / f"{index}.png")
    names = [f"{role}/{index}.png" for role in ("members", "heldout") for index in range(4)]
    return ProbeSet(tmp_path / "members", tmp_path / "heldout"), names


def scores_by(names):
    return {name: float(place) for place, name in enumerate(names)}


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_a_table_is_read_and_joined_whatever_the_order_of_its_rows(folders, tmp_path, kind):
    probes, names = folders
    rows = [{"id": name, "loss": float(place), "other": -1.0} for place, name in enumerate(names)][::-1]
    path = tmp_path / f"scores.{kind}"
    if kind == "csv":
        pandas.DataFrame(rows).to_csv(path, index=False)
    elif kind == "parquet":
        pandas.DataFrame(rows).to_parquet(path)
    else:
        path.write_text(json.dumps(rows))
    table = ScoreTable.read(path)
    assert table.columns == ("loss", "other")
    assert len(table.sha256) == 64
    members, nonmembers = table.join(probes, "loss")
    assert (members.tolist(), nonmembers.tolist()) == ([0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0])


def test_an_id_may_be_the_digest_of_the_pixels_or_the_position(folders):
    probes, _ = folders
    digests = [d.hex() for images in (probes.members, probes.nonmembers) for d in images.digests]
    positions = [f"{role} {index}" for role in ("member", "non-member") for index in range(4)]
    for ids in (digests, positions):
        members, nonmembers = ScoreTable({"loss": scores_by(ids)}).join(probes, "loss")
        assert [*members, *nonmembers] == list(range(8))


def test_a_repeated_image_may_have_one_id_a_file_but_not_two_scores():
    images = np.stack([np.full((4, 4), v, np.uint8) for v in (1, 1, 2)])
    probes = ProbeSet(images, np.full((1, 4, 4), 9, np.uint8))
    alike = {"member 0": 1.0, "member 1": 1.0, "member 2": 2.0, "non-member 0": 0.0}
    assert ScoreTable({"loss": alike}).join(probes, "loss")[0].tolist() == [1.0, 2.0]
    with pytest.raises(UsageError, match="1 ids give another score to an image that has one: 'member 1'"):
        ScoreTable({"loss": {**alike, "member 1": 5.0}}).join(probes, "loss")


def test_mismatches_are_refused_with_counts_and_examples(folders):
    probes, names = folders
    right = scores_by(names)
    with pytest.raises(UsageError, match=r"2 ids are no probes: 'x\.png', 'y\.png'"):
        ScoreTable({"loss": {**right, "x.png": 0.0, "y.png": 0.0}}).join(probes, "loss")
    with pytest.raises(UsageError, match=r"5 ids are probes without a score: 'member .*', \.\.\."):
        ScoreTable({"loss": scores_by(names[-3:])}).join(probes, "loss")
    with pytest.raises(UsageError, match=r"4 ids fit several probes; .*: '0\.png', '1\.png', '2\.png', \.\.\."):
        ScoreTable({"loss": scores_by([name.partition("/")[2] for name in names])}).join(probes, "loss")


def test_prompts_are_joined_by_their_own_ids():
    table = ScoreTable({"wen": {"b": 2.0, "a": 1.0}})
    assert table.of(["a", "b"], "wen").tolist() == [1.0, 2.0]
    with pytest.raises(UsageError, match="1 ids have no score: 'c'"):
        table.of(["a", "b", "c"], "wen")
    with pytest.raises(UsageError, match="1 ids are not asked about: 'b'"):
        table.of(["a"], "wen")


def test_columns_are_chosen_by_name_and_the_only_one_by_default():
    one, two = ScoreTable({"x": {"a": 1.0}}), ScoreTable({"x": {"a": 1.0}, "secmi": {"a": 2.0}})
    assert one.choose("secmi", "secmi") == ("x",)
    assert two.choose("secmi", "secmi") == ("secmi",)
    assert two.choose("all", "secmi") == ("x", "secmi")
    assert two.choose(["x"], "secmi") == ("x",)
    with pytest.raises(UsageError, match="among the columns of table \\(x, secmi\\), got 'y'"):
        two.choose("y", "secmi")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "id,loss\nx,1\nx,2\n", "every id once, got 1 more than once: 'x'"),
        ("a.csv", "name,loss\nx,1\n", "must have a column `id`"),
        ("a.csv", "id\nx\n", "at least one of scores"),
        ("a.csv", "id,loss\nx,high\n", "must hold numbers, got 'high' for 'x' in column 'loss'"),
        ("a.csv", "id,loss\nx,nan\ny,1\n", "must be finite, got 1 of 2 that are not: 'x'"),
        ("a.json", "{", "cannot be read as JSON"),
        ("a.json", "{}", "must be a list of objects"),
        ("a.txt", "x", "must end in .csv, .json or .parquet"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        ScoreTable.read(tmp_path / name)


def test_a_table_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        ScoreTable.read(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "latin.csv",
            "id,loss\nm\u00e9mber,1\n".encode("latin-1"),
            "latin.csv cannot be read as CSV: .*Save it as UTF-8",
        ),
        ("twice.csv", b"id,loss,loss\na,1,2\n", "must name every column once, got id, loss, loss"),
        ("cells.csv", b"id,loss\na,1,2\n", "must have a name for every column, got more cells than id, loss"),
        ("no_id.json", b'[{"id": "a", "loss": 1}, {"loss": 2}]', r"must have a column `id` .*, got the row .'loss': 2"),
        (
            "later.json",
            b'[{"id": "a", "loss": 1}, {"id": "b", "loss": 2, "pia": 3}]',
            "got None for 'a' in column 'pia'",
        ),
        ("no.parquet", b"hello", "no.parquet cannot be read as parquet"),
    ],
)
def test_a_damaged_table_is_refused_and_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        ScoreTable.read(path)


def test_a_byte_order_mark_of_a_spreadsheet_is_no_part_of_a_name(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("id,loss\na,1\n", encoding="utf-8-sig")
    assert ScoreTable.read(path).of(["a"], "loss").tolist() == [1.0]


def test_one_column_of_several_is_a_table_of_its_own() -> None:
    table = ScoreTable({"base": {"a": 1.0, "b": 2.0}, "tuned": {"a": 3.0, "b": 4.0}}, "scores.csv", "abc")
    tuned = table.select("tuned")
    assert (tuned.columns, tuned.only, tuned.ids) == (("tuned",), "tuned", ("a", "b"))
    assert (tuned.origin, tuned.sha256) == ("scores.csv", "abc")
    assert tuned.of(["b", "a"], "tuned").tolist() == [4.0, 3.0]
    with pytest.raises(UsageError, match=r"`column` must be among the columns of scores\.csv \(base, tuned\), got 'x'"):
        table.select("x")
    with pytest.raises(UsageError, match=r"must have one column here, got base, tuned\. Choose: table\.select"):
        _ = table.only


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index", "label", "is_member", "rank of rows"])
def test_an_index_or_a_label_is_no_attack(name: str) -> None:
    ids = [f"member {number}" for number in range(4)]
    counted = dict(zip(ids, map(float, range(4)), strict=True))
    table = ScoreTable({name: counted, "loss": dict.fromkeys(ids, 0.5)}, "scores.csv")
    for wanted in ("all", name, [name, "loss"]):
        with pytest.raises(UsageError, match=r"Columns of scores.csv must be scores, got .* attack=\['loss'\]"):
            table.choose(wanted, "secmi")
    assert table.choose("loss", "secmi") == ("loss",)
