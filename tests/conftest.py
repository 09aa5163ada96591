"""One thread a process: the tests' models are too small for more, and their workers would fight over the cores."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when numpy and torch are loaded; processes of tests inherit it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These tests judge claims to test the package; the audits of this repository are in example_audits/."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.diffprivacy(audit=False))
