"""Deviation of a faster arithmetic from float32, measured on a sample before an audit relies on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.class_conditional import ClassToImage, PixelDiffusion
from pytest_diffprivacy.models.compiled import COMPILED, compile_network
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.protocols import Denoiser, Generator
from pytest_diffprivacy.models.text_to_image import TextToImage

DENOISERS = (PixelDiffusion, TextToImage, ClassToImage)
HALVES = (torch.bfloat16, torch.float16)
CHANNELS_LAST = "channels last"
INPUTS, TIMES = 4, 3


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
    if not isinstance(plain, DENOISERS):
        for name, given in (("channels_last", channels_last), ("compile", compiled)):
            if given:
                raise ModelError(f"`{name}` must be left out for a model that only generates: its network is its own.")
        return load(dtype)
    reference = sampled_eps(plain)
    del plain  # two of them may not fit
    model = load(dtype)
    assert isinstance(model, DENOISERS), "a precision changes no model's kind"
    if channels_last:
        model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    if compiled:
        compile_network(model.network)
    layout = ", ".join(name for name, given in ((CHANNELS_LAST, channels_last), (COMPILED, compiled)) if given)
    model.identity = replace(model.identity, layout=layout, deviation=deviation(sampled_eps(model), reference))
    return model


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
