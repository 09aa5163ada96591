"""What a network predicts: conversions between noise, clean image, v and flow velocity, own scales, and the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.noise import ProbeDraws
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.models.schedule import NoiseSchedule
from pytest_diffprivacy.slices import in_batches

ERROR_BYTES = 2**23
"""Of errors that are squared in float64 at once."""

Array: TypeAlias = NDArray[np.float64]
Network: TypeAlias = Callable[[Tensor, float], Tensor]
"""(what the network takes, its time) -> what it returns."""


class PredictionType(StrEnum):
    """What a network returns at (x_t, t); the values are diffusers' names where it has one."""

    EPS = "epsilon"
    X0 = "sample"
    V = "v_prediction"
    FLOW = "flow"


def eps_from(prediction: Tensor, x_t: Tensor, alpha: float, sigma: float, kind: PredictionType) -> Tensor:
    """The noise eps that a prediction in the shape of x_t = alpha x0 + sigma eps implies.

    Source: Implements the conversion table of METHODS 0.3; v of Salimans and Ho 2022, flow of Liu et al. 2022.
    """
    match kind:
        case PredictionType.EPS:
            return prediction
        case PredictionType.X0:
            return (x_t - alpha * prediction) / sigma
        case PredictionType.V:  # v = alpha eps - sigma x0 with alpha^2 + sigma^2 = 1
            return sigma * x_t + alpha * prediction
        case PredictionType.FLOW:  # u = eps - x0 with alpha = 1 - sigma
            return x_t + alpha * prediction


def prediction_from_eps(eps: Tensor, x_t: Tensor, alpha: float, sigma: float, kind: PredictionType) -> Tensor:
    """The inverse of `eps_from`: what a network of this kind would have returned for this eps."""
    x0 = x0_from_eps(eps, x_t, alpha, sigma)
    match kind:
        case PredictionType.EPS:
            return eps
        case PredictionType.X0:
            return x0
        case PredictionType.V:
            return alpha * eps - sigma * x0
        case PredictionType.FLOW:
            return eps - x0


def x0_from_eps(eps: Tensor, x_t: Tensor, alpha: float, sigma: float) -> Tensor:
    """The clean image that eps implies: (x_t - sigma eps) / alpha; never clipped."""
    return (x_t - sigma * eps) / alpha


def denoising_loss(
    model: Denoiser,
    x0: Tensor,
    *,
    timesteps: Sequence[int],
    noise: Tensor | ProbeDraws,
    conditioning: Conditioning | None,
    size: Callable[[Tensor, int], Tensor] | None = None,
) -> Tensor:
    """Summed squared error of the predicted noise, averaged over timesteps and draws.

    `mean_{t, j} || eps_j - eps_theta(alpha_t x0 + sigma_t eps_j, t) ||_2^2`, a sum over elements.

    Args:
        model: the denoiser.
        x0: (b, *model.sample_shape) in the model's space.
        timesteps: the model's own indices.
        noise: (draws, b, *model.sample_shape), or draw by draw, shared by all timesteps.
        conditioning: what `model.condition(...)` returned for these rows, or None.
        size: (error float64 (b, *model.sample_shape), timestep) -> (b,), in the place of the sum of squares.

    Returns:
        float64 (b,), on the model's device.

    Source: METHODS 3.0.
    """
    measure = size or _sum_of_squares
    loss = torch.zeros(len(x0), dtype=torch.float64, device=model.device)
    rows = max(1, ERROR_BYTES // (8 * math.prod(x0.shape[1:])))
    for eps in noise:
        for t in timesteps:
            alpha, sigma = model.schedule.at(t)
            noised = sigma * eps
            noised += alpha * x0
            error = eps - model.predict_eps(noised, t, conditioning)
            del noised
            loss += torch.cat([measure(error[part].double(), t) for part in in_batches(len(x0), rows)])
    return loss / (len(timesteps) * len(noise))


def _sum_of_squares(error: Tensor, _: int) -> Tensor:
    return error.square().flatten(1).sum(1)


class Parametrization(Protocol):
    """What a network takes and returns at each timestep."""

    @property
    def name(self) -> str:
        """What the network predicts, for records."""

    @property
    def mean(self) -> bool:
        """Whether that is the mean of all that could be there; a consistency function answers with one of them."""

    def eps(self, network: Network, x_t: Tensor, timestep: int, schedule: NoiseSchedule) -> Tensor:
        """The noise in x_t, never clipped."""


@final
@dataclass(frozen=True, slots=True)
class Direct:
    """A network that takes x = alpha x0 + sigma eps at the scale of its own schedule.

    Attributes:
        kind: what it predicts.
        times: float64 (T,), its time at each index; None: the index.
        own: its schedule, of the same signal-to-noise ratios as the model's; None: the model's, so that x is x_t.
        mean: see `Parametrization`.
    """

    kind: PredictionType
    times: Array | None = None
    own: NoiseSchedule | None = None
    mean: bool = True

    @property
    def name(self) -> str:
        """What the network predicts, for records."""
        return self.kind.value

    def eps(self, network: Network, x_t: Tensor, timestep: int, schedule: NoiseSchedule) -> Tensor:
        """The noise in x_t, converted from whatever the network predicts."""
        alpha, sigma = (self.own or schedule).at(timestep)
        time = int(timestep) if self.times is None else float(self.times[timestep])
        scale = 1.0 if self.own is None else float(np.hypot(alpha, sigma))
        x = x_t if math.isclose(scale, 1.0, rel_tol=1e-12) else scale * x_t
        return eps_from(network(x, time), x, alpha, sigma, self.kind)


@final
@dataclass(frozen=True, slots=True)
class Preconditioned:
    """A network F inside a denoiser D(x; s) = c_skip x + c_out F(c_in x; time), for x = x0 + s eps.

    x_t is held at the scale of a variance-preserving schedule with the same signal-to-noise ratio: x = r x_t with
    r = sqrt(1 + s^2), alpha = 1/r, sigma = s/r. So x_T is standard normal and scores compare across families.

    Attributes:
        name: what the network predicts, for records.
        levels: float64 (T,), the noise level s at each index.
        times: float64 (T,), the network's time there.
        c_in: float64 (T,), scale of its input.
        c_skip: float64 (T,), share of x in D.
        c_out: float64 (T,), scale of its output in D.
        mean: see `Parametrization`.

    Source: Implements Karras et al. 2022 (EDM), Eq. 7, with the state changed as in METHODS 0.3.
    """

    name: str
    levels: Array
    times: Array
    c_in: Array
    c_skip: Array
    c_out: Array
    mean: bool = True

    def eps(self, network: Network, x_t: Tensor, timestep: int, schedule: NoiseSchedule) -> Tensor:
        """The noise (x - D) / s, with the cancellation of x done before anything is rounded."""
        schedule.check(timestep)
        s = self.levels[timestep]
        r = np.sqrt(1.0 + s**2)
        output = network(float(r * self.c_in[timestep]) * x_t, float(self.times[timestep]))
        return float(r * (1.0 - self.c_skip[timestep]) / s) * x_t - float(self.c_out[timestep] / s) * output
