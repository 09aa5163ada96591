"""How much memory would a network's evaluation take? The bytes that are alive at its peak, on tensors without values.

Tensors on the meta device have shapes and types and no memory. What an evaluation allocates is counted as it comes and
goes; kernels' own workspaces are not in it. A fused attention kernel allocates its output alone; forward-mode
differentiation knows no such kernel and holds the logits.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages that operations inside make and that are still referred to."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.peak = 0, 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {id(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._take(leaf.untyped_storage(), given)
        return result

    def _take(self, storage: Any, given: set[int]) -> None:
        key = id(storage)
        if key in self._known or key in given:
            return
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)

        def gone(_: object) -> None:
            self.now -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, gone)


def peak_bytes(work: Callable[[], object]) -> int:
    """Bytes alive at the peak of the work, beyond what was there before it."""
    with LiveBytes() as live:
        work()
    return live.peak


class FusedAttention(TorchFunctionMode):
    """Attention that allocates what a fused kernel does: its output."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            query, _, value = args[:3]
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        return func(*args, **(kwargs or {}))
