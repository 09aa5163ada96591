"""A place outside any pytest session, whose store would keep what shadow models measured from one test to the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_diffprivacy import options


@pytest.fixture(autouse=True, scope="module")
def outside_pytest() -> Iterator[None]:
    session = options.activate(None)
    yield
    options.activate(session)
