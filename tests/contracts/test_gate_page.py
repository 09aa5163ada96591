"""docs/gate.md: every row names a test that exists, or says why there can be none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/gate.md").read_text(encoding="utf-8")
CAUGHT, NOT_CAUGHT = PAGE.split("## Not caught")


def rows(part: str) -> list[list[str]]:
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


@pytest.mark.parametrize("row", rows(CAUGHT), ids=lambda row: row[0])
def test_what_is_caught_names_a_test_that_there_is(row: list[str]) -> None:
    found = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", row[2])
    assert found is not None, row[2]
    assert re.search(rf"^def {found[2]}\(", (ROOT / found[1]).read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_what_is_not_caught_says_why_and_what_helps() -> None:
    assert len(rows(NOT_CAUGHT)) >= 5
    assert all(len(row) == 3 and all(row) for row in rows(NOT_CAUGHT))
