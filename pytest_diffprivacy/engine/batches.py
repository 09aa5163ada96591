"""Batch sizes: how many images go into one network call; what the memory takes is measured before or found out after.

A GPU says when its memory is exhausted; a process on the CPU is killed without a word.
"""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pytest_diffprivacy.engine.units import Unit
from pytest_diffprivacy.errors import AuditError
from pytest_diffprivacy.models.compiled import as_it_is
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.models.running import plain_condition

EVALUATIONS = 4
"""Evaluations that are held at once: both guidance branches, or a value with its derivative."""
HELD = 16
"""Images, latents and draws of noise that an attack holds for each image beside them."""
SHARE = 0.8
"""Of the free memory."""
NEVER_MORE = 16384
"""Times its input's bytes that a network takes: what fits by this is not measured."""


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


@dataclass(frozen=True, slots=True)
class Fitting:
    """A batch size that fits.

    Attributes:
        size: images in one network call.
        reason: why it is smaller than asked for; empty where it is not.
    """

    size: int
    reason: str = ""


def fitting_batch(model: Any, largest: int, sharing: int = 1) -> Fitting:
    """The batch size whose evaluations fit into the free memory: `largest`, halved as often as needed.

    A model that is no Denoiser cannot be measured; what it takes is found out when memory runs out. One image's
    evaluation is measured, unless it is small beyond doubt; `sharing` processes share the memory.
    """
    free = free_bytes(model.device) if isinstance(model, Denoiser) else None
    if free is None:
        return Fitting(largest)
    room = SHARE * free / sharing
    if largest * NEVER_MORE * math.prod(model.sample_shape) * model.dtype.itemsize <= room:
        return Fitting(largest)
    each = EVALUATIONS * evaluation_bytes(model) + HELD * math.prod(model.sample_shape) * model.dtype.itemsize
    size = largest
    while size > 1 and size * each > room:
        size //= 2
    if size == largest:
        return Fitting(largest)
    takes, there = f"{each / 1e6:,.0f} MB an image", f"{free / 1e6:,.0f} MB are free"
    workers = f" for {sharing} workers" if sharing > 1 else ""
    return Fitting(size, f"Batch size lowered from {largest} to {size}: an attack takes {takes}, and {there}{workers}.")


def evaluation_bytes(model: Denoiser) -> int:
    """Bytes of all tensors that one image's evaluation holds at its peak, the model's weights aside.

    Compiled code's tensors cannot be counted; those of the network itself are no fewer.
    """
    x_t = torch.zeros((1, *model.sample_shape), device=model.device, dtype=model.dtype)
    conditioning = plain_condition(model, 1)
    with as_it_is(), torch.no_grad():
        return peak_bytes(lambda: model.predict_eps(x_t, 0, conditioning))


def peak_bytes(function: Callable[[], object]) -> int:
    """Bytes of the tensors made in a call that are alive at once, at their peak; any device, meta included."""
    alive = _Alive()
    with alive:
        function()
    return alive.peak


@final
class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of every storage from its making to its end."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._bytes = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id_of(leaf) for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and id_of(leaf) not in self._known | given:
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: Any) -> None:
        name, size = storage._cdata, storage.nbytes()
        self._known.add(name)
        self._bytes += size
        self.peak = max(self.peak, self._bytes)
        weakref.finalize(storage, self._gone, name, size)

    def _gone(self, name: int, size: int) -> None:
        self._known.discard(name)
        self._bytes -= size


def id_of(tensor: torch.Tensor) -> int:
    """What two views of one storage have in common."""
    return int(tensor.untyped_storage()._cdata)


def free_bytes(device: torch.device) -> int | None:
    """Memory that is free on a device; None where nobody says."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    return _free_memory() if device.type == "cpu" else None


def _free_memory(proc: Path = Path("/proc/meminfo"), group: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What Linux calls available, or what the container's limit leaves, whichever is less."""
    try:
        lines = dict(line.split(":", 1) for line in proc.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no such group, or no limit ("max")
        return free
    return min(free, limit - used)
