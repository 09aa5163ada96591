from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_diffprivacy import options
from pytest_diffprivacy.audit import current, current_auditor


@pytest.fixture(autouse=True)
def outside_pytest(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(current, "_current", None)
    session = options.activate(None)
    yield
    options.activate(session)


def test_outside_pytest_there_is_one_auditor_in_memory() -> None:
    assert current_auditor() is current_auditor()
    assert current_auditor().run is None


def test_inside_a_session_the_auditor_is_that_session_s(tmp_path: Path) -> None:
    settings = options.resolve({"seed": "5", "confidence": "0.99", "images": "none"}, {}, {}, ini_dir=tmp_path)
    options.activate(options.Session(settings, "first"))
    first = current_auditor()
    assert first is current_auditor()
    assert (first.seed, first.images, first.confidence(0.9)) == (5, "none", 0.99)
    assert first.run is not None
    assert first.run.folder == tmp_path / ".diffprivacy" / "runs" / "first"
    options.activate(options.Session(settings, "second"))
    assert current_auditor() is not first
