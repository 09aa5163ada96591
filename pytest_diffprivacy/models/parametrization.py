"""What does a network take and return at a timestep? Its own time and scales, turned into the noise eps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.models.prediction import PredictionType, eps_from
from pytest_diffprivacy.models.schedule import NoiseSchedule

Network: TypeAlias = Callable[[Tensor, float], Tensor]
"""(what the network takes, its time) -> what it returns."""


class Parametrization(Protocol):
    """How a network's own language is translated."""

    @property
    def name(self) -> str:
        """What the network predicts, for records."""
        ...

    def eps(self, network: Network, x_t: Tensor, timestep: int, schedule: NoiseSchedule) -> Tensor:
        """The noise in x_t, never clipped."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Direct:
    """A network that takes x_t as it is.

    Attributes:
        kind: what it predicts.
        times: float64 (T,), what it is told at each index; None: the index.
    """

    kind: PredictionType
    times: NDArray[np.float64] | None = None

    @property
    def name(self) -> str:
        """What the network predicts, for records."""
        return self.kind.value

    def eps(self, network: Network, x_t: Tensor, timestep: int, schedule: NoiseSchedule) -> Tensor:
        """The noise in x_t, converted from whatever the network predicts."""
        alpha, sigma = schedule.at(timestep)
        time = int(timestep) if self.times is None else float(self.times[timestep])
        return eps_from(network(x_t, time), x_t, alpha, sigma, self.kind)


@final
@dataclass(frozen=True, slots=True)
class Preconditioned:
    """A network F inside a denoiser D(x; s) = c_skip x + c_out F(c_in x; time), for x = x0 + s eps.

    x_t is held at the scale of a variance-preserving schedule with the same signal-to-noise ratio: x = r x_t with
    r = sqrt(1 + s^2), alpha = 1/r, sigma = s/r. So x_T is standard normal and scores compare across families.

    Attributes:
        name: what the network predicts, for records.
        levels: float64 (T,), the noise level s at each index.
        times: float64 (T,), what the network is told there.
        c_in: float64 (T,), scale of its input.
        c_skip: float64 (T,), share of x in D.
        c_out: float64 (T,), scale of its output in D.

    Source: Implements Karras et al. 2022 (EDM), Eq. 7, with the state changed as in METHODS 0.3.
    """

    name: str
    levels: NDArray[np.float64]
    times: NDArray[np.float64]
    c_in: NDArray[np.float64]
    c_skip: NDArray[np.float64]
    c_out: NDArray[np.float64]

    def eps(self, network: Network, x_t: Tensor, timestep: int, schedule: NoiseSchedule) -> Tensor:
        """The noise (x - D) / s, with the cancellation of x done before anything is rounded."""
        schedule.check(timestep)
        s = self.levels[timestep]
        r = np.sqrt(1.0 + s**2)
        output = network(float(r * self.c_in[timestep]) * x_t, float(self.times[timestep]))
        return float(r * (1.0 - self.c_skip[timestep]) / s) * x_t - float(self.c_out[timestep] / s) * output
