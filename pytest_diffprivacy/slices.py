"""Slices: many items cut into batches; the one place where anything is cut."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_diffprivacy.errors import UsageError


def in_batches(count: int, size: int) -> Iterator[slice]:
    """Cut `count` items into batches of `size`, the last one smaller where they do not come out even.

    Args:
        count: items, such as images.
        size: items in one batch.

    Returns:
        One slice a batch, from 0 to `count` without a gap; none where `count` is 0.

    Raises:
        UsageError: `size` is below 1; raised when this is called and not when the first batch is asked for.
    """
    if size < 1:
        raise UsageError(f"`batch_size` must be at least 1, got {size!r}.")
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
