"""What is declared in [tool.diffprivacy.report], how far up it is looked for, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_diffprivacy.declaration import FIELDS, find_declaration, read_declaration
from pytest_diffprivacy.errors import UsageError


def written(folder: Path, text: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(f"[tool.diffprivacy.report]\n{text}\n")
    return path


def test_every_field_is_there_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    found = read_declaration(written(tmp_path, 'auditor = " A. Example "\ntraining_images = 60000'))
    assert list(found) == list(FIELDS)
    assert {name: text for name, text in found.items() if text} == {"auditor": "A. Example", "training_images": "60000"}


def test_nothing_declared_is_nothing(tmp_path: Path) -> None:
    assert read_declaration(tmp_path / "pyproject.toml") == {}
    (tmp_path / "pyproject.toml").write_text("[tool.diffprivacy.policy]\n")
    assert read_declaration(tmp_path / "pyproject.toml") == {}


def test_it_is_looked_for_up_to_the_top_of_the_repository(tmp_path: Path) -> None:
    written(tmp_path, 'auditor = "outside"')
    inside = tmp_path / "repository" / "audits"
    inside.mkdir(parents=True)
    assert find_declaration(inside)["auditor"] == "outside"
    (tmp_path / "repository" / ".git").mkdir()
    assert find_declaration(inside) == {}
    written(tmp_path / "repository", 'auditor = "inside"')
    assert find_declaration(inside)["auditor"] == "inside"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('author = "A"', "must use the fields auditor, .* got author"),
        ("purpose = 3", "purpose must be a text, got 3"),
        ("training_images = -1", "training_images must be a whole number >= 0, got -1"),
        ("training_images = true", "must be a whole number >= 0, got True"),
        ("training_images = 3\nrepeated_images = 4", "repeated_images must be at most training_images, got 4 of 3"),
        ("auditor = ", "cannot be read as TOML"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_declaration(written(tmp_path, text))
