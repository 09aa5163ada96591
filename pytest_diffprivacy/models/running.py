"""Is a pipeline run in a way that an audit can measure and name? Offloading, quantization, autocast, tiling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from pytest_diffprivacy.errors import ModelError

HASHED = "bitsandbytes"
"""The library whose quantized weights are plain bytes beside their scales."""


def refuse_offloaded(networks: Mapping[str, Any]) -> None:
    """Refuse networks whose weights move between devices while they run.

    Args:
        networks: a pipeline's parts with weights, by name.

    Raises:
        ModelError: one is offloaded, by accelerate or by diffusers' groups.
    """
    for name, network in networks.items():
        for module in network.modules():
            if any(_offloads(hook) for hook in _hooks(module)):
                raise ModelError(
                    f"The {name} is offloaded (enable_model_cpu_offload and the like): its weights move between "
                    "devices while it runs, and what is measured with them. Call pipeline.remove_all_hooks() and then "
                    "pipeline.to(device); a smaller dtype or batch size saves memory as well."
                )


def refuse_unreadable(networks: Mapping[str, Any], dtype: torch.dtype | None) -> None:
    """Refuse quantized networks that cannot be hashed, or that a precision was asked for.

    Args:
        networks: a pipeline's parts with weights, by name.
        dtype: the precision asked for; None: as they are.

    Raises:
        ModelError: a weight is no plain tensor, or `dtype` was given for a quantized network.
    """
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            kind = type(value)
            if kind in (torch.Tensor, torch.nn.Parameter) or kind.__module__.startswith(HASHED):
                continue
            raise ModelError(
                f"The {name} is quantized: {key!r} is a {kind.__name__}, whose bytes have no digest. Audit the network "
                "as it was before, or after dequantize(); quantize with bitsandbytes to audit it as it is."
            )
        packed = any(type(weight).__module__.startswith(HASHED) for weight in network.parameters())
        if dtype is not None and (packed or getattr(network, "is_quantized", False)):
            raise ModelError(f"`dtype` must be None: the {name} is quantized and keeps its precision, got {dtype}.")


def tiled(networks: Mapping[str, Any]) -> dict[str, int]:
    """The autoencoders that encode larger images tile by tile, and the side of a tile: their latents differ."""
    return {name: int(n.tile_sample_min_size) for name, n in networks.items() if getattr(n, "use_tiling", False)}


def refuse_autocast(name: str) -> None:
    """Refuse to answer inside an autocast block.

    Raises:
        ModelError: autocast is on, so that networks run in another precision than records say.
    """
    if any(torch.is_autocast_enabled(device) for device in ("cpu", "cuda")):
        raise ModelError(
            f"{name} was asked inside torch.autocast: it would run in another precision than its record says. Leave "
            "the block, and choose the precision with load_model(..., dtype=...)."
        )


def _hooks(module: Any) -> Iterator[Any]:
    """What accelerate and diffusers hang on a module."""
    own = getattr(module, "_hf_hook", None)
    yield from getattr(own, "hooks", [own])
    registry = getattr(module, "_diffusers_hook", None)
    yield from [] if registry is None else registry.hooks.values()


def _offloads(hook: Any) -> bool:
    kind = type(hook).__name__
    return kind in ("CpuOffload", "UserCpuOffloadHook") or "GroupOffloading" in kind or getattr(hook, "offload", False)
