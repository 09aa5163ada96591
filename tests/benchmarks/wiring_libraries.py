"""What a library would hold of the trained digits network: the network in the library's own parametrization.

Each is brought behind the protocols by the constructor of docs/models.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_diffprivacy import load_model
from pytest_diffprivacy.models import karras_denoiser
from pytest_diffprivacy.models.libraries import from_azula, from_denoising_diffusion_pytorch, from_flow_matching
from pytest_diffprivacy.models.network import NetworkDenoiser, flow_network
from tests.benchmarks import ROOT

RELEASE = ROOT / "example_audits" / "digits-release"
SHAPE = (1, 8, 8)
Function = Callable[..., Tensor]
Build = Callable[[Function], Any]
"""The library's model of a network."""
Wired = tuple[str, Function, Function, float, Build]
"""A name, a network, what it says of another kind, the last of its times, and the constructor."""


class Digits:
    """The trained digits network: noise, clean image and velocity of x = alpha x0 + sigma eps at any ratio."""

    def __init__(self) -> None:
        self.model = load_model(RELEASE)
        schedule = self.model.schedule  # type: ignore[attr-defined]
        self.ratios = torch.from_numpy(np.log(schedule.sigmas / schedule.alphas))

    def eps(self, x: Tensor, t: Tensor) -> Tensor:
        """The noise at a time of its own."""
        output: Tensor = self.model.network(x, t, return_dict=False)[0]  # type: ignore[attr-defined]
        return output

    def at(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The noise in x; beyond its schedule the nearest time."""
        a, s = (part.reshape(-1).double() for part in (alpha, sigma))
        ratio = (s.clamp(min=1e-6) / a.abs().clamp(min=1e-6)).log()
        t = np.interp(ratio.numpy(), self.ratios.numpy(), np.arange(1000.0))
        scale = torch.hypot(a, s).reshape(-1, 1, 1, 1).to(x)
        return self.eps((x / scale).float(), torch.from_numpy(t).float()).to(x)

    def clean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The clean image in x."""
        a, s = (part.reshape(-1, 1, 1, 1).to(x) for part in (alpha, sigma))
        return (x - s * self.at(x, alpha, sigma)) / a.clamp(min=1e-3)


def native(digits: Digits) -> Iterator[Wired]:
    """A network of the user's, of each kind."""
    schedule = digits.model.schedule  # type: ignore[attr-defined]
    alphas, sigmas = (torch.from_numpy(part).float() for part in (schedule.alphas, schedule.sigmas))

    def x0(x: Tensor, t: Tensor) -> Tensor:
        place = t.round().long().clamp(0, 999)
        return digits.clean(x, alphas[place], sigmas[place])

    def v(x: Tensor, t: Tensor) -> Tensor:
        place = t.round().long().clamp(0, 999)
        a, s = (part[place].reshape(-1, 1, 1, 1) for part in (alphas, sigmas))
        return a * digits.at(x, a, s) - s * x0(x, t)

    for kind, network, other in (("epsilon", digits.eps, v), ("sample", x0, digits.eps), ("v_prediction", v, x0)):

        def build(one: Function, kind: str = kind) -> Any:
            return NetworkDenoiser(one, schedule, SHAPE, predicts=kind, version="1")

        yield f"your own network, {kind}", network, other, 999.0, build


def libraries(digits: Digits) -> Iterator[Wired]:
    """The same of other people's libraries."""

    def denoised(x: Tensor, sigma: Tensor) -> Tensor:
        return digits.clean(x, torch.ones_like(sigma), sigma)

    def noise(x: Tensor, sigma: Tensor) -> Tensor:
        return digits.at(x, torch.ones_like(sigma), sigma)

    yield "EDM: D(x, sigma)", denoised, noise, 80.0, lambda one: karras_denoiser(one, SHAPE, version="1")

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return digits.at(x, 1.0 - t, t) - digits.clean(x, 1.0 - t, t)

    def flow_noise(x: Tensor, t: Tensor) -> Tensor:
        return digits.at(x, 1.0 - t, t)

    yield (
        "rectified flow: eps - x0",
        velocity,
        flow_noise,
        1.0,
        lambda one: flow_network(one, SHAPE, version="1"),
    )
    if find_spec("azula"):
        schedule = import_module("azula.noise").VPSchedule()

        def mean(x: Tensor, t: Tensor) -> Tensor:
            return digits.clean(x, *schedule(t))

        def mean_noise(x: Tensor, t: Tensor) -> Tensor:
            return digits.at(x, *schedule(t))

        yield "azula", mean, mean_noise, 1.0, lambda one: from_azula(_Azula(one, schedule), SHAPE, version="1")
    if find_spec("flow_matching"):
        scheduler = import_module("flow_matching.path.scheduler").CondOTScheduler()
        yield (
            "flow_matching, CondOT",
            lambda x, t: digits.clean(x, t, 1.0 - t) - digits.at(x, t, 1.0 - t),
            lambda x, t: digits.at(x, t, 1.0 - t),
            1.0,
            lambda one: from_flow_matching(_Module(one), SHAPE, scheduler=scheduler, version="1"),
        )
    if find_spec("denoising_diffusion_pytorch") and find_spec("ema_pytorch"):
        yield from _denoising_diffusion_pytorch(digits)
    if find_spec("k_diffusion") and find_spec("torchsde"):
        yield _k_diffusion(digits)


def _denoising_diffusion_pytorch(digits: Digits) -> Iterator[Wired]:
    """A GaussianDiffusion of each objective, on the digits' own betas."""
    with_torchvision()
    library = import_module("denoising_diffusion_pytorch.denoising_diffusion_pytorch")
    own = {name: (network, other) for name, network, other, *_ in native(digits)}
    for objective, kind in (("pred_noise", "epsilon"), ("pred_x0", "sample"), ("pred_v", "v_prediction")):

        def build(one: Function, objective: str = objective) -> Any:
            settings = {"image_size": 8, "objective": objective, "beta_schedule": "linear"}
            return from_denoising_diffusion_pytorch(library.GaussianDiffusion(_Module(one), **settings), version="1")

        yield f"denoising-diffusion-pytorch, {objective}", *own[f"your own network, {kind}"], 999.0, build


def _k_diffusion(digits: Digits) -> Wired:
    """Its denoiser of a network of eps at whole times."""
    with_torchvision()
    alone = ModuleType("k_diffusion")  # its own __init__ loads what only evaluation and training need
    spec = find_spec("k_diffusion")
    assert spec is not None
    alone.__path__ = list(spec.submodule_search_locations or ())
    sys.modules["k_diffusion"] = alone
    denoiser = import_module("k_diffusion.external").DiscreteEpsDDPMDenoiser
    abar = torch.from_numpy(digits.model.schedule.alphas**2).float()  # type: ignore[attr-defined]

    def build(one: Function) -> Any:
        return karras_denoiser(denoiser(_Module(one), abar, quantize=False), SHAPE, version="1")

    return "k-diffusion, DiscreteEpsDDPMDenoiser", digits.eps, lambda x, t: x - digits.eps(x, t), 999.0, build


class _Module(torch.nn.Module):
    """A function as what a library takes for a network."""

    channels, out_dim, self_condition, random_or_learned_sinusoidal_cond = 1, 1, False, False

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, t: Tensor, *_: Any) -> Tensor:
        """The function's answer."""
        return self.function(x, t)


class _Azula(_Module):
    """A denoiser of azula."""

    def __init__(self, function: Function, schedule: Any) -> None:
        super().__init__(function)
        self.schedule = schedule

    def forward(self, x: Tensor, t: Tensor, *_: Any) -> Any:
        """Its clean image."""
        return import_module("types").SimpleNamespace(mean=self.function(x, t.reshape(-1)))


def with_torchvision() -> None:
    """What a library's training code imports, where it is not installed; nothing here calls it."""
    if "torchvision" not in sys.modules and find_spec("torchvision") is None:
        names = ["torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.utils"]
        for name in names:
            sys.modules[name] = ModuleType(name)
        for name in names[1:]:
            parent, _, child = name.rpartition(".")
            setattr(sys.modules[parent], child, sys.modules[name])
