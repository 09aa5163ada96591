"""How a model runs: its device, and the offloading, quantization, autocast and tiling of a pipeline."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from pytest_diffprivacy.errors import ModelError, SharedDevice

HASHED = "bitsandbytes"
"""The library whose quantized weights are plain bytes beside their scales."""
WORKER, WORKERS = "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"


def worker_device(device: str, environment: Mapping[str, str], gpus: int) -> str:
    """The device of this process: "cuda" is given out in turn between the workers of pytest-xdist.

    Args:
        device: what was asked for, e.g. "cuda" or "cuda:0".
        environment: the environment variables, in which pytest-xdist numbers its workers.
        gpus: GPUs that torch sees.

    Warns:
        SharedDevice: several workers put their models on one GPU.
    """
    count = int(environment.get(WORKERS, "1"))
    if count == 1 or device.partition(":")[0] != "cuda":
        return device
    if device != "cuda" or count > gpus:
        shared = "one GPU" if device != "cuda" or gpus == 1 else f"{gpus} GPUs"
        warnings.warn(
            f"{count} pytest-xdist workers share {shared}, each with a model of its own. Use -n for as many workers as "
            "GPUs and the device cuda, or one pytest process and --diffprivacy-workers.",
            SharedDevice,
            stacklevel=2,
        )
    number = int(environment.get(WORKER, "gw0").removeprefix("gw"))
    return f"cuda:{number % gpus}" if device == "cuda" and gpus else device


def check_device(device: object) -> None:
    """Refuse what is no device, or one that this machine does not have; None is wherever the model is.

    Raises:
        ModelError: it cannot hold a tensor.
    """
    if device is None:
        return
    try:
        torch.empty(0, device=device)  # type: ignore[call-overload]  # whatever was given
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ModelError(
            f"`device` must be one that torch has here, such as cpu, got {str(device)!r}: {str(error).splitlines()[0]}"
        ) from None


def refuse_offloaded(networks: Mapping[str, Any]) -> None:
    """Refuse a pipeline's networks, by name, whose weights move between devices while they run.

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
    """Refuse a pipeline's quantized networks, by name, that cannot be hashed or brought to a precision that is given.

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
