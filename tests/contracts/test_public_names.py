"""What the package offers by name, and that each name is what it is for Python and for a type checker."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_diffprivacy

ROOT = Path(__file__).parents[2]
REPORT = "pytest_diffprivacy.report"
SETTINGS = """
[mypy]
strict = true
follow_imports = skip

[mypy-pytest_diffprivacy.*]
follow_imports = silent
"""


def test_every_public_name_resolves() -> None:
    assert sorted(pytest_diffprivacy.__all__) == pytest_diffprivacy.__all__ == dir(pytest_diffprivacy)
    for name in pytest_diffprivacy.__all__:
        assert getattr(pytest_diffprivacy, name).__name__ == name


@pytest.mark.slow
def test_a_type_checker_knows_every_public_name_and_no_other(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    names = {package: importlib.import_module(package).__all__ for package in ("pytest_diffprivacy", REPORT)}
    asked = [f"from {package} import {', '.join([*listed, 'private'])}" for package, listed in names.items()]
    asked += [f"reveal_type({name})" for listed in names.values() for name in listed]
    (tmp_path / "asked.py").write_text("\n".join(asked))
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "asked.py"],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    revealed = [line.partition("Revealed type is ")[2] for line in done.stdout.splitlines() if "Revealed type" in line]
    assert len(revealed) == sum(map(len, names.values())), done.stdout + done.stderr
    assert not [line for line in revealed if line.strip('"') == "Any"]
    assert all(f'Module "{package}" has no attribute "private"' in done.stdout for package in names)


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'assert_private'"):
        _ = pytest_diffprivacy.assert_private


@pytest.mark.parametrize(
    "room",
    [
        "claims",
        "distances",
        "engine",
        "evidence",
        "extraction",
        "membership",
        "mitigation",
        "models",
        "probes",
        "report",
        "restoration",
        "sharpness",
        "statistics",
    ],
)
def test_every_name_that_a_room_offers_is_there(room: str) -> None:
    module = importlib.import_module(f"pytest_diffprivacy.{room}")
    for name in module.__all__:
        assert getattr(module, name) is not None


@pytest.mark.parametrize(
    "name", [module.name for module in pkgutil.walk_packages(pytest_diffprivacy.__path__, "pytest_diffprivacy.")]
)
def test_no_module_is_a_drawer_for_odds_and_ends(name: str) -> None:
    assert name.rpartition(".")[2] not in {"utils", "helpers", "common", "base", "core", "misc"}


@pytest.mark.parametrize(
    "name", [module.name for module in pkgutil.walk_packages(pytest_diffprivacy.__path__, "pytest_diffprivacy.")]
)
def test_every_module_opens_with_what_it_answers(name: str) -> None:
    assert (importlib.import_module(name).__doc__ or "").strip()
