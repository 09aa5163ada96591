"""Where many things are cut into batches: nothing is left out, nothing comes twice, and no batch size below 1."""

from __future__ import annotations

import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.slices import in_batches


@pytest.mark.parametrize(
    ("count", "size", "stops"), [(0, 4, []), (1, 4, [1]), (8, 4, [4, 8]), (9, 4, [4, 8, 9]), (3, 1, [1, 2, 3])]
)
def test_batches_follow_one_another_and_end_with_the_last_item(count: int, size: int, stops: list[int]) -> None:
    found = list(in_batches(count, size))
    assert [part.stop for part in found] == stops
    assert [n for part in found for n in range(count)[part]] == [*range(count)]


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_size_below_one_is_refused_at_once(size: int) -> None:
    with pytest.raises(UsageError, match=rf"^`batch_size` must be at least 1, got {size}\.$"):
        in_batches(5, size)
