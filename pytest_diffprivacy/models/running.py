"""How a model runs: device, offloading, quantization, autocast, tiling, and how far its arithmetic is from float32."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError, SharedDevice
from pytest_diffprivacy.models.codec import HALVES
from pytest_diffprivacy.models.compiled import COMPILED, compile_network
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.protocols import Denoiser, Generator

HASHED = "bitsandbytes"
"""The library whose quantized weights are plain bytes beside their scales."""
CHANNELS_LAST = "channels last"
INPUTS, TIMES = 4, 3
WORKER, WORKERS = "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"


def worker_device(device: str, environment: Mapping[str, str], gpus: int) -> str:
    """The device of this process: "cuda" is given out in turn between the workers of pytest-xdist.

    Args:
        device: what is wanted, e.g. "cuda" or "cuda:0".
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


@runtime_checkable
class _OneNetwork(Denoiser, Protocol):
    """A denoiser of a network that can be laid out and compiled."""

    @property
    def network(self) -> torch.nn.Module:
        """What denoises."""


def in_arithmetic(
    load: Callable[[torch.dtype | None], Generator],
    dtype: torch.dtype | None,
    *,
    channels_last: bool = False,
    compiled: bool = False,
) -> Generator:
    """The model of a precision (None: its own) and memory layout, compiled or not, as `load` newly loads it.

    What is not plain float32 is loaded twice, one after the other: in float32 for the reference, and as it is audited.
    Its identity says how far the predictions are from those of float32. A black box makes none that could be compared.

    Raises:
        ModelError: a black box is to be laid out channels last or compiled, or a network cannot be compiled.
    """
    if dtype not in HALVES and not channels_last and not compiled:
        return load(dtype)
    plain = load(torch.float32)
    if not isinstance(plain, _OneNetwork):
        for name, given in (("channels_last", channels_last), ("compile", compiled)):
            if given:
                raise ModelError(f"`{name}` must be left out for a model that only generates: its network is its own.")
        return load(dtype)
    reference = sampled_eps(plain)
    del plain  # two of them may not fit
    model: Any = load(dtype)
    if channels_last:
        model.network.to(memory_format=torch.channels_last)
    if compiled:
        compile_network(model.network)
    layout = ", ".join(name for name, given in ((CHANNELS_LAST, channels_last), (COMPILED, compiled)) if given)
    model.identity = replace(model.identity, layout=layout, deviation=deviation(sampled_eps(model), reference))
    audited: Generator = model
    return audited


def deviation(eps: Tensor, reference: Tensor) -> str:
    """How far predictions (times, inputs, ...) in float64 are from the same in float32 arithmetic, in words."""
    if not bool(torch.isfinite(eps).all()):
        return "eps is not finite on a sample where it is in float32"
    relative = float((eps - reference).norm() / reference.norm())
    largest = float((eps - reference).abs().max())
    return (
        f"eps differs from float32 by {relative:.2g} (RMS, relative; {largest:.2g} at most) on {reference.shape[1]} "
        f"inputs at {len(reference)} timesteps"
    )


@torch.no_grad()
def sampled_eps(model: Denoiser) -> Tensor:
    """Predictions for known noise at the first, middle and last timesteps of a short walk: (3, 4, ...), float64."""
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn((INPUTS, *model.sample_shape), generator=generator).to(device=model.device, dtype=model.dtype)
    conditioning = plain_condition(model, INPUTS)
    times = model.schedule.sampling_timesteps(TIMES)
    return torch.stack([model.predict_eps(x_t, time, conditioning).double().cpu() for time in times])


def plain_condition(model: Denoiser, count: int) -> Conditioning | None:
    """No prompt, or the first class where a model knows classes and no "no class"."""
    try:
        return model.condition(None, count)
    except ModelError:
        first: list[Any] = [0] * count
        return model.condition(first, count)


def _hooks(module: Any) -> Iterator[Any]:
    """What accelerate and diffusers hang on a module."""
    own = getattr(module, "_hf_hook", None)
    yield from getattr(own, "hooks", [own])
    registry = getattr(module, "_diffusers_hook", None)
    yield from [] if registry is None else registry.hooks.values()


def _offloads(hook: Any) -> bool:
    kind = type(hook).__name__
    return kind in ("CpuOffload", "UserCpuOffloadHook") or "GroupOffloading" in kind or getattr(hook, "offload", False)
