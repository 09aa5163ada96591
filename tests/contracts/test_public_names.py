from __future__ import annotations

import importlib
import pkgutil

import pytest

import pytest_diffprivacy


def test_every_public_name_resolves() -> None:
    assert sorted(pytest_diffprivacy.__all__) == pytest_diffprivacy.__all__ == dir(pytest_diffprivacy)
    for name in pytest_diffprivacy.__all__:
        assert getattr(pytest_diffprivacy, name).__name__ == name


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'assert_private'"):
        _ = pytest_diffprivacy.assert_private


@pytest.mark.parametrize(
    "room",
    [
        "assertions",
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
