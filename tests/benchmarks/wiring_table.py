"""Does the wiring control hold on the right wiring of each family and library, and catch five wrong ones?

Trained networks: the 8x8 digits (eps, unconditional and by class) and the emoji (Stable Diffusion, eps and v). What a
library would hold is the same digits network in the library's own parametrization, brought behind the protocols by the
constructor of docs/models.md. Wrong: the output is of another kind or of the other sign, time runs the other way or is
a thousandth or a thousandfold, and the network was trained on images in [0, 1].

Target: right is held, and no wrong one is: it is an ERROR ("caught") or cannot PASS ("blur").

    python -m tests.benchmarks.wiring_table --json tests/benchmarks/results/wiring_table.json
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
from pytest_diffprivacy.audit import Auditor, Findings
from pytest_diffprivacy.errors import AuditError
from pytest_diffprivacy.models import karras_denoiser
from pytest_diffprivacy.models.libraries import from_azula, from_denoising_diffusion_pytorch, from_flow_matching
from pytest_diffprivacy.models.network import NetworkDenoiser, flow_network
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.sources.wiring import wiring_control
from tests.benchmarks import ROOT
from tests.benchmarks.table import arguments, conclude

EXAMPLES = ROOT / "example_audits"
sys.path.append(str(EXAMPLES))
SHAPE = (1, 8, 8)
WRONG = ("another kind", "opposite sign", "time reversed", "time x 1000", "range [0, 1]")
COLUMNS = ("family or library", "right", *WRONG)
Function = Callable[..., Tensor]
Build = Callable[[Function, Function], Any]
"""The library's model of a network, and of what the same network says of another kind."""


def changed(network: Function, span: float) -> dict[str, Function]:
    """The network as it would answer if it had been trained otherwise than it is asked; its times reach to `span`."""
    factor = 1000.0 if span <= 1.0 else 1e-3
    return {
        "opposite sign": lambda x, t, *more: -network(x, t, *more),
        "time reversed": lambda x, t, *more: network(x, span - t, *more),
        "time x 1000": lambda x, t, *more: network(x, t * factor, *more),
        "range [0, 1]": lambda x, t, *more: network(2.0 * x - 1.0, t, *more),
    }


def outcome(model: Any, images: ImageSet) -> str:
    """What the control says."""
    findings = Findings()
    try:
        wiring_control(Auditor(), model, images, findings)
    except AuditError as error:
        return "caught" if findings.controls else f"caught: {str(error)[:60]}"
    held = findings.controls[0].outcome.value == "held"
    return "held" if held else "blur" if findings.unproven else findings.controls[0].outcome.value


class Digits:
    """The trained digits network: noise, clean image and velocity of x = alpha x0 + sigma eps at any ratio."""

    def __init__(self) -> None:
        self.model = load_model(EXAMPLES / "digits-release")
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


def native(digits: Digits) -> Iterator[tuple[str, Function, Function, float, Build]]:
    """A name, a network, what it says of another kind, the last of its times, and the constructor."""
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

        yield f"UNet or network, {kind}", network, other, 999.0, build


def libraries(digits: Digits) -> Iterator[tuple[str, Function, Function, float, Build]]:
    """The same of other people's libraries."""

    def denoised(x: Tensor, sigma: Tensor) -> Tensor:
        return digits.clean(x, torch.ones_like(sigma), sigma)

    def noise(x: Tensor, sigma: Tensor) -> Tensor:
        return digits.at(x, torch.ones_like(sigma), sigma)

    yield "EDM, k-diffusion: D(x, sigma)", denoised, noise, 80.0, lambda one: karras_denoiser(one, SHAPE, version="1")

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return digits.at(x, 1.0 - t, t) - digits.clean(x, 1.0 - t, t)

    def flow_noise(x: Tensor, t: Tensor) -> Tensor:
        return digits.at(x, 1.0 - t, t)

    yield (
        "rectified flow (SD3, Flux): eps - x0",
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
        with_torchvision()
        library = import_module("denoising_diffusion_pytorch.denoising_diffusion_pytorch")

        def build(one: Function) -> Any:
            diffusion = library.GaussianDiffusion(
                _Module(one), image_size=8, objective="pred_noise", beta_schedule="linear"
            )
            return from_denoising_diffusion_pytorch(diffusion, version="1")

        yield "denoising-diffusion-pytorch", digits.eps, lambda x, t: x - digits.eps(x, t), 999.0, build


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
    if find_spec("torchvision") is None:
        names = ["torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.utils"]
        for name in names:
            sys.modules[name] = ModuleType(name)
        for name in names[1:]:
            parent, _, child = name.rpartition(".")
            setattr(sys.modules[parent], child, sys.modules[name])


def pipelines() -> Iterator[tuple[str, Callable[[], Any], str, str, ImageSet]]:
    """A name, what loads the example, its network, another kind of prediction, and images."""
    from build_digits_classes import split
    from digits_probes import digits_probes
    from emoji_probes import RELEASE, V_PREDICTION, emoji_probes
    from sklearn.datasets import load_digits

    unseen = digits_probes("digits-release").nonmembers
    yield "DDPM, DDIM pipeline", lambda: load_model(EXAMPLES / "digits-release"), "v_prediction", "digits", unseen
    data, rows = load_digits(), split()[1]
    pixels = (data.images[rows] / 16.0).astype(np.float32)
    labelled = ImageSet.of(pixels, "non-member", data.target[rows].tolist())
    for null, words in ((10, "null label"), (None, "classes")):
        folder = EXAMPLES / "digits-classes"
        images = ImageSet.of(pixels, "non-member") if null else labelled
        yield (
            f"class-conditional UNet, {words}",
            lambda folder=folder, null=null: load_model(  # type: ignore[misc]
                folder, null_label=null
            ),
            "v_prediction",
            "digits",
            images,
        )
    emoji = emoji_probes().nonmembers.subset(range(130))
    yield "Stable Diffusion, eps", lambda: load_model(RELEASE), "v_prediction", "emoji", emoji
    yield "Stable Diffusion, v", lambda: load_model(V_PREDICTION), "epsilon", "emoji", emoji


def of_pipeline(load: Callable[[], Any], other: str) -> Iterator[tuple[str, Any]]:
    """A pipeline model with its network's forward changed in each way."""
    from dataclasses import replace

    from pytest_diffprivacy.models.prediction import PredictionType

    yield "right", load()
    model = load()
    part = model.predict_eps.__self__
    declared = replace(part, parametrization=replace(part.parametrization, kind=PredictionType(other)))
    model.predict_eps = declared.predict_eps
    yield "another kind", model
    for name in WRONG[1:]:
        model = load()
        forward = model.network.forward

        def asked(x: Tensor, time: Any, *more: Any, name: str = name, forward: Any = forward, **named: Any) -> Any:
            if name == "time reversed":
                time = 999 - time
            if name == "time x 1000":
                time = time * 1e-3
            found = forward(2.0 * x - 1.0 if name == "range [0, 1]" else x, time, *more, **named)
            return tuple(-one for one in found) if name == "opposite sign" else found

        model.network.forward = asked
        yield name, model


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    rows, digits = [], Digits()
    unseen = import_module("digits_probes").digits_probes("digits-release").nonmembers
    for title, network, other, span, build in (*native(digits), *libraries(digits)):
        wired = {"right": network, "another kind": other} | changed(network, span)
        rows.append({"family or library": title} | {name: outcome(build(one), unseen) for name, one in wired.items()})
        print(rows[-1], file=sys.stderr, flush=True)
    for title, load, kind, _, images in pipelines():
        row = {"family or library": title}
        rows.append(row | {name: outcome(model, images) for name, model in of_pipeline(load, kind)})
        print(rows[-1], file=sys.stderr, flush=True)
    targets = {f"{row['family or library']}: right is held": row["right"] == "held" for row in rows}
    for row in rows:
        passed = [name for name in WRONG if row[name] == "held"]
        targets[f"{row['family or library']}: no wrong one passes"] = not passed
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
