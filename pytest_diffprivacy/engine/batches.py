"""Batches: what is cut into network calls, and the batch size that the memory takes, found before or after it ends."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any, final

import torch

from pytest_diffprivacy.engine.memory import fitting_batch
from pytest_diffprivacy.engine.units import Unit
from pytest_diffprivacy.errors import AuditError, UsageError


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


@final
class BatchSizes:
    """The batch size of each method, remembered once memory has run out.

    Args:
        largest: images in one network call at most.
        sharing: processes that share the memory of the device.
    """

    def __init__(self, largest: int, sharing: int = 1) -> None:
        self._largest, self._sharing = largest, sharing
        self._halved: dict[str, int] = {}
        self._fitting: dict[str, int] = {}

    def of(self, unit: Unit, digest: str) -> int:
        """The batch size of a unit, by its method and by what the model needs."""
        return min(self._halved.get(unit.method, self._largest), self._fitting.get(digest, self._largest))

    def fit(self, model: Any) -> str:
        """Lower the batch size where an evaluation's memory says that it will not fit; what was done, in words."""
        digest = model.identity.digest
        if digest in self._fitting:
            return ""
        fitting = fitting_batch(model, self._largest, self._sharing)
        self._fitting[digest] = fitting.size
        return fitting.reason

    def halve(self, unit: Unit, digest: str, error: Exception) -> str:
        """Memory ran out in a unit: half of its batch size from now on; what was done, in words.

        Raises:
            AuditError: it was one image already.
        """
        size = self.of(unit, digest)
        if size == 1:
            raise AuditError(
                f"{unit.label}: memory runs out at batch size 1. Use a smaller dtype or a larger device."
            ) from error
        self._halved[unit.method] = size // 2
        return f"Out of memory in {unit.label}: batch size halved to {size // 2}."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch has a class for CUDA's, other devices say it in words."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        words in text for words in ("out of memory", "can't allocate memory", "not enough memory")
    )


def release_memory() -> None:
    """Give back what the failed batch held, before a smaller one is tried."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
