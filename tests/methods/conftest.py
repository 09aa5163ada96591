"""Modules of a user's own, written, imported and edited; what they register is forgotten after the test."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pytest_diffprivacy.methods import registry

Written = Callable[[str], ModuleType]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """Write a text as the file of the module `own_methods`, import it anew and return it."""
    known = {kind: dict(found) for kind, found in registry._methods.items()}

    def import_anew(text: str) -> ModuleType:
        path = tmp_path / "own_methods.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location("own_methods", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "own_methods", module)
        exec(compile(text, str(path), "exec"), module.__dict__)
        return module

    yield import_anew
    for kind, found in registry._methods.items():
        found.clear()
        found.update(known[kind])
