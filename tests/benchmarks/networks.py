"""What do a model's networks take of a piece of work? Their calls, seen through hooks, and the same calls alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from tests.benchmarks import ROOT

DENOISER = "network"


@dataclass(slots=True)
class Calls:
    """Calls of one network.

    Attributes:
        seconds: processor time of all of them.
        rows: images that they evaluated.
        inputs: arguments of each call.
    """

    seconds: float = 0.0
    rows: int = 0
    inputs: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)


def example_pipeline(name: str) -> Any:
    """A model of the example audits as diffusers loads it, in single precision."""
    from diffusers import DiffusionPipeline

    folder = ROOT / "example_audits" / name
    pipeline = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def networks_of(pipeline: Any) -> dict[str, nn.Module]:
    """The denoiser and, of a latent model, what encodes and decodes images and reads prompts."""
    parts: dict[str, nn.Module] = {DENOISER: pipeline.unet}
    if "vae" in pipeline.components:
        names = ("encoder", "quant_conv", "post_quant_conv", "decoder")
        parts |= {name: part for name in names if (part := getattr(pipeline.vae, name, None)) is not None}
    parts |= {name: part for name, part in pipeline.components.items() if name.startswith("text_encoder") and part}
    return parts


@contextmanager
def watched(networks: Mapping[str, nn.Module]) -> Iterator[dict[str, Calls]]:
    """The calls of every network inside the block."""
    calls = {name: Calls() for name in networks}
    started: dict[str, float] = {}
    handles = []
    for name, network in networks.items():

        def before(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any], name: str = name) -> None:
            calls[name].inputs.append((given, named))
            calls[name].rows += rows_of(given, named)
            started[name] = time.process_time()

        def after(_: nn.Module, given: tuple[Any, ...], output: object, name: str = name) -> None:
            calls[name].seconds += time.process_time() - started[name]

        handles += [network.register_forward_pre_hook(before, with_kwargs=True), network.register_forward_hook(after)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def rows_of(given: tuple[Any, ...], named: Mapping[str, Any]) -> int:
    """Images in a call: the length of its first tensor."""
    return next(len(value) for value in (*given, *named.values()) if isinstance(value, torch.Tensor) and value.ndim)


def bare_evaluations(
    networks: Mapping[str, nn.Module], calls: Mapping[str, Calls], *, rows: int
) -> Callable[[], object]:
    """The work of the networks alone: so many rows of the denoiser, and the other networks' calls as they were.

    The denoiser is called with the inputs of its first call, whatever the batches in which it was called later.
    """
    given, named = calls[DENOISER].inputs[0]
    repeats, odd = divmod(rows, rows_of(given, named))
    if odd:
        raise ValueError(f"{rows} rows are no multiple of the first call's {rows_of(given, named)}")
    others = [(networks[name], inputs) for name, seen in calls.items() if name != DENOISER for inputs in seen.inputs]

    @torch.no_grad()
    def bare() -> None:
        for _ in range(repeats):
            networks[DENOISER](*given, **named)
        for network, (positional, keywords) in others:
            network(*positional, **keywords)

    return bare


def shares(calls: Mapping[str, Calls], total: float) -> dict[str, float]:
    """Where the time of a piece of work went, in percent: the denoiser, the other networks, and the rest."""
    denoiser = calls[DENOISER].seconds
    others = sum(seen.seconds for name, seen in calls.items() if name != DENOISER)
    parts = {"network %": denoiser, "other networks %": others, "rest %": total - denoiser - others}
    return {name: round(100.0 * part / total, 1) for name, part in parts.items()}
