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

from pytest_diffprivacy.models.derivatives import forward_jvp
from tests.benchmarks.full_architectures import (
    CLIP_G,
    CLIP_L,
    UNET_15,
    UNET_XL,
    autoencoder_on_meta,
    text_encoder_on_meta,
    unet_on_meta,
)

GIB = 2.0**30
TOKENS = 77


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


class _FusedAttention(TorchFunctionMode):
    """Attention that allocates what a fused kernel does: its output."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            query, _, value = args[:3]
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        return func(*args, **(kwargs or {}))


def counted_rows() -> tuple[list[dict[str, Any]], dict[str, int]]:
    """A line for what an audit asks of each architecture in each precision; and the networks' parameters."""
    described = {
        "Stable Diffusion 1.5": (UNET_15, 512, (CLIP_L,), (torch.float32,)),
        "Stable Diffusion XL": (UNET_XL, 1024, (CLIP_L, CLIP_G), (torch.float32, torch.bfloat16)),
    }
    rows, parameters = [], {}
    for model, (settings, side, texts, dtypes) in described.items():
        unet, autoencoder = unet_on_meta(settings), autoencoder_on_meta(side)
        parts = [unet, autoencoder, *(text_encoder_on_meta(config) for config in texts)]
        parameters[model] = sum(p.numel() for p in unet.parameters())
        for dtype in dtypes:
            for part in parts:
                torch.nn.Module.to(part, dtype)  # diffusers' own warns of layers kept in float32, of which are none
            weights = sum(p.numel() * p.element_size() for part in parts for p in part.parameters())
            for what, count, work in _asked(unet, autoencoder, side, dtype):
                taken = (weights + peak_bytes(work)) / GIB
                name = f"{what}, {str(dtype).removeprefix('torch.')}"
                rows.append(
                    {"model": model, "what": name, "rows": count, "peak GiB": round(taken, 2), "how": "counted"}
                )
    return rows, parameters


def _asked(unet: Any, autoencoder: Any, side: int, dtype: torch.dtype) -> list[tuple[str, int, Callable[[], object]]]:
    """What detectors and attacks ask of the networks for one image: a name, the rows of the UNet, and the work."""

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, device="meta", dtype=dtype)

    time = torch.zeros((), device="meta")

    def predict(x: Tensor) -> Tensor:
        rows = len(x)
        added = {"text_embeds": empty(rows, 1280), "time_ids": empty(rows, 6)}
        told = added if unet.config.addition_embed_type else None
        text = empty(rows, TOKENS, unet.config.cross_attention_dim)
        output: Tensor = unet(x, time, encoder_hidden_states=text, added_cond_kwargs=told, return_dict=False)[0]
        return output

    def fused(work: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            with torch.no_grad(), _FusedAttention():
                work()

        return run

    def rows(count: int) -> Tensor:
        return empty(count, 4, side // 8, side // 8)

    asked: list[tuple[str, int, Callable[[], object]]] = [
        ("both branches of one image", 2, fused(lambda: predict(rows(2)))),
        ("central difference with its error", 4, fused(lambda: predict(rows(4)))),
        ("encoding an image", 0, fused(lambda: autoencoder.encode(empty(1, 3, side, side)))),
        ("decoding an image", 0, fused(lambda: autoencoder.decode(rows(1)))),
    ]
    if dtype == torch.float32:  # PyTorch's forward derivative of group norm mixes precisions below that
        asked.append(("forward derivative of both branches", 2, lambda: forward_jvp(predict, rows(2), rows(2))))
    return asked
