"""Image files are decoded once: what is known of them is kept by their content, and a later run hashes them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pytest_diffprivacy import options
from pytest_diffprivacy.distances import nearest_images
from pytest_diffprivacy.errors import BudgetSpent, ProbeError
from pytest_diffprivacy.evidence.cache import entries
from pytest_diffprivacy.probes import ImageSet, file_catalogue


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded, in the order in which that happens."""
    names: list[str] = []

    def sized(reader: file_catalogue.ImageReader, position: int, sizing: object) -> file_catalogue.Pixels:
        names.append(Path(reader.name(position)).name)
        return file_catalogue.coloured(reader.read(position)) if sizing else reader.read(position)

    monkeypatch.setattr("pytest_diffprivacy.probes.file_catalogue.sized", sized)
    return names


@pytest.fixture
def evidence(tmp_path: Path) -> Iterator[Path]:
    """The evidence folder of a session that runs meanwhile."""
    before = _session(tmp_path / "evidence")
    yield tmp_path / "evidence"
    options.activate(before)


def _session(folder: Path, **flags: str) -> options.Session | None:
    settings = options.resolve({"cache-dir": str(folder), **flags}, {}, {})
    return options.activate(options.Session(settings, "run", started=time.monotonic() - 100.0))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (40, 66, 70, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image if number % 4 else image[..., 0]).save(folder / f"{number}.png")
    shutil.copy(folder / "3.png", folder / "again.png")
    return folder


def test_a_known_file_is_not_decoded_again(photographs: Path, evidence: Path, decoded: list[str]) -> None:
    first = ImageSet.of(photographs, "member")
    assert first.repetitions.tolist().count(2) == 1
    assert len(decoded) == 40
    later = ImageSet.of(photographs, "member")
    assert (later.digest, later.in_bytes, len(decoded)) == (first.digest, True, 40)
    assert later.image_shape == (3, 66, 70)


def test_entries_are_those_of_a_reading(photographs: Path, evidence: Path) -> None:
    kept = [ImageSet.of(photographs, "member") for _ in range(2)][1]
    before = options.activate(None)
    read = ImageSet.of(photographs, "member")
    options.activate(before)
    assert kept.digests == read.digests
    assert kept.features.means == read.features.means
    np.testing.assert_array_equal(kept.features.values, read.features.values)
    queries = read.pixels([4, 7])
    np.testing.assert_array_equal(nearest_images(queries, kept, 5).indices, nearest_images(queries, read, 5).indices)


def test_a_changed_file_changes_few_entries(
    photographs: Path, evidence: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_diffprivacy.probes.file_catalogue.TOGETHER", 4)
    whole = ImageSet.of(photographs, "member").digest
    decoded.clear()
    shutil.copy(photographs / "5.png", photographs / "moved.png")
    assert len(ImageSet.of(photographs, "member")) == 40
    assert decoded == []
    Image.fromarray(np.zeros((66, 70, 3), dtype=np.uint8)).save(photographs / "7.png")
    assert ImageSet.of(photographs, "member").digest != whole
    assert "7.png" in decoded
    assert len(decoded) < 20


def test_a_reading_that_was_killed_continues(
    photographs: Path, evidence: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_diffprivacy.probes.file_catalogue.TOGETHER", 4)
    counted = file_catalogue.sized

    def killed(reader: file_catalogue.ImageReader, position: int, sizing: None) -> file_catalogue.Pixels:
        if len(decoded) > 30:
            raise KeyboardInterrupt
        return counted(reader, position, sizing)

    monkeypatch.setattr("pytest_diffprivacy.probes.file_catalogue.sized", killed)
    with pytest.raises(KeyboardInterrupt):
        len(ImageSet.of(photographs, "member"))
    monkeypatch.setattr("pytest_diffprivacy.probes.file_catalogue.sized", counted)
    decoded.clear()
    assert len(ImageSet.of(photographs, "member")) == 40
    assert 9 <= len(decoded) <= 20


def test_a_reading_ends_when_the_time_is_over(photographs: Path, evidence: Path) -> None:
    _session(evidence, budget="1s")
    with pytest.raises(BudgetSpent, match=r"40 images of folder images are not read yet"):
        len(ImageSet.of(photographs, "member"))
    assert not (evidence / "cache").exists() or not entries(evidence)


def test_a_damaged_file_is_named_and_nothing_of_it_is_kept(photographs: Path, evidence: Path) -> None:
    (photographs / "9.png").write_bytes(b"no image")
    for _ in range(2):
        with pytest.raises(ProbeError, match=r"9\.png cannot be read as an image"):
            len(ImageSet.of(photographs, "member"))
