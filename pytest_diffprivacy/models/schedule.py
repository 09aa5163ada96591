"""NoiseSchedule: signal and noise in x_t at timestep t, and the timestep of another schedule that equals it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.errors import UsageError

Spacing = Literal["leading", "trailing", "linspace"]
Point: TypeAlias = tuple[float, float]
"""(alpha, sigma)."""

LEAST_ABAR: Final = 2.0**-24
"""The smallest signal that half precision can hold: what stands for none at all."""


class ReferenceTimestep(int):
    """A timestep of the papers' schedule (1000 steps, linear betas 1e-4 to 0.02), not of the model's own.

    It is matched to a model's schedule by signal-to-noise ratio. A plain int is always the model's own index.
    Source: Follows METHODS section 0.5 of this project (matching by SNR).
    """

    def __repr__(self) -> str:
        """Show what the number refers to."""
        return f"ReferenceTimestep({int(self)})"


@dataclass(frozen=True, slots=True)
class MatchedTimestep:
    """A requested timestep, the model's own index that was used, and the log SNR of both."""

    requested: int
    index: int
    requested_log_snr: float
    log_snr: float
    matched: bool


@dataclass(frozen=True)
class NoiseSchedule:
    """alpha_t and sigma_t of x_t = alpha_t * x0 + sigma_t * eps for the indices 0..T-1, noise growing with t.

    Attributes:
        alphas: float64 (T,), signal factors.
        sigmas: float64 (T,), noise factors.
        spacing: how `sampling_timesteps` spreads its steps (diffusers' timestep_spacing).
        steps_offset: diffusers' offset for "leading" spacing.
        final: (alpha, sigma) at which sampling ends; (1, 0) is diffusers' set_alpha_to_one.
    """

    alphas: NDArray[np.float64]
    sigmas: NDArray[np.float64]
    spacing: Spacing = "leading"
    steps_offset: int = 0
    final: tuple[float, float] = (1.0, 0.0)

    def __post_init__(self) -> None:
        alphas = np.asarray(self.alphas, dtype=np.float64)
        sigmas = np.asarray(self.sigmas, dtype=np.float64)
        if alphas.ndim != 1 or alphas.shape != sigmas.shape or len(alphas) < 2:
            raise UsageError(
                f"`alphas` and `sigmas` must be vectors of one length >= 2, got {alphas.shape} and {sigmas.shape}."
            )
        if not (np.isfinite(alphas).all() and np.isfinite(sigmas).all() and (sigmas > 0).all() and (alphas >= 0).all()):
            raise UsageError("`alphas` must be finite and >= 0 and `sigmas` finite and > 0 at every timestep.")
        if (np.diff(alphas / sigmas) > 0).any():
            raise UsageError("The signal-to-noise ratio must not grow with the timestep. Reverse the schedule.")
        object.__setattr__(self, "alphas", alphas)
        object.__setattr__(self, "sigmas", sigmas)

    @classmethod
    def from_alphas_cumprod(
        cls,
        alphas_cumprod: ArrayLike,
        *,
        spacing: Spacing = "leading",
        steps_offset: int = 0,
        final: tuple[float, float] = (1.0, 0.0),
    ) -> NoiseSchedule:
        """The variance-preserving schedule of DDPM: alpha = sqrt(abar), sigma = sqrt(1 - abar).

        Where abar ends at 0 (a terminal signal-to-noise ratio of zero), eps is x_t and says nothing of the clean image.
        LEAST_ABAR stands there, as in diffusers' Euler and DPM-Solver schedulers, or the abar before it if smaller.

        Source: Implements Ho et al. 2020 (DDPM), Eq. 4.
        """
        abar = np.array(alphas_cumprod, dtype=np.float64)
        if abar.ndim == 1 and len(abar) > 1 and abar[-1] in (0.0, LEAST_ABAR):
            abar[-1] = min(LEAST_ABAR, abar[-2])
        return cls(np.sqrt(abar), np.sqrt(1.0 - abar), spacing, steps_offset, final)

    @classmethod
    def linear(cls, steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> NoiseSchedule:
        """DDPM's linear schedule; the defaults are the reference schedule of the membership papers."""
        return cls.from_alphas_cumprod(np.cumprod(1.0 - np.linspace(beta_start, beta_end, steps)))

    def __len__(self) -> int:
        return len(self.alphas)

    def at(self, timestep: int) -> tuple[float, float]:
        """(alpha, sigma) at a timestep.

        Raises:
            UsageError: the index is outside 0..T-1.
        """
        self.check(timestep)
        return float(self.alphas[timestep]), float(self.sigmas[timestep])

    def check(self, timestep: int, name: str = "timestep") -> None:
        """Refuse an index outside the schedule, and what is none, by name."""
        if isinstance(timestep, bool) or not isinstance(timestep, (int, np.integer)):
            raise UsageError(f"`{name}` must be a whole number, got {timestep!r}.")
        if not 0 <= timestep < len(self):
            raise UsageError(f"`{name}` must be between 0 and {len(self) - 1}, got {int(timestep)!r}.")

    def tensors(self) -> dict[str, Tensor]:
        """What defines x_t, for digests."""
        return {"alphas": torch.from_numpy(self.alphas), "sigmas": torch.from_numpy(self.sigmas)}

    @cached_property
    def log_snr(self) -> NDArray[np.float64]:
        """Log signal-to-noise ratio log(alpha^2 / sigma^2), float64 (T,); -inf where no signal is left."""
        with np.errstate(divide="ignore"):
            return 2.0 * (np.log(self.alphas) - np.log(self.sigmas))

    def nearest(self, log_snr: float) -> int:
        """The index whose log SNR is nearest."""
        return int(np.argmin(np.abs(self.log_snr - log_snr)))

    def match(self, timestep: int, name: str = "timestep") -> MatchedTimestep:
        """The model's own index for a requested timestep.

        A `ReferenceTimestep` is matched by signal-to-noise ratio; any other int is taken as it is.

        Raises:
            UsageError: a plain index lies outside the schedule.
        """
        if isinstance(timestep, ReferenceTimestep):
            reference_schedule().check(int(timestep), name)
            wanted = float(reference_schedule().log_snr[int(timestep)])
            index = self.nearest(wanted)
            return MatchedTimestep(int(timestep), index, wanted, float(self.log_snr[index]), True)
        self.check(timestep, name)
        value = float(self.log_snr[timestep])
        return MatchedTimestep(int(timestep), int(timestep), value, value, False)

    def sampling_timesteps(self, steps: int, *, spacing: Spacing | None = None) -> tuple[int, ...]:
        """The decreasing indices that a sampler of `steps` steps visits.

        Raises:
            UsageError: steps is not between 1 and T.
        """
        total = len(self)
        if not 1 <= steps <= total:
            raise UsageError(f"`steps` must be between 1 and {total}, got {steps!r}.")
        kind = spacing or self.spacing
        times: NDArray[Any]
        if kind == "leading":
            times = np.arange(steps)[::-1] * (total // steps) + self.steps_offset
        elif kind == "trailing":
            # np.arange runs one too far for some numbers of steps: rounding puts its end below 0.
            times = np.round(np.arange(total, 0, -total / steps)[:steps]) - 1
        else:
            times = np.round(np.linspace(0, total - 1, steps))[::-1]
        return tuple(int(t) for t in times)

    def sampling_path(self, steps: int, spacing: Spacing | None = None) -> list[tuple[int, Point, Point]]:
        """(timestep, its (alpha, sigma), those that it leads to) of each step that a sampler of `steps` steps takes.

        Raises:
            UsageError: steps is not between 1 and T.
        """
        times = self.sampling_timesteps(steps, spacing=spacing)
        points = [*(self.at(t) for t in times), self.final]
        return list(zip(times, points[:-1], points[1:], strict=True))


@lru_cache(maxsize=1)
def reference_schedule() -> NoiseSchedule:
    """The schedule that papers number their timesteps on."""
    return NoiseSchedule.linear()


def match_all(schedule: NoiseSchedule, timesteps: Sequence[int]) -> tuple[MatchedTimestep, ...]:
    """Match several timesteps and refuse those that fall on one index.

    Raises:
        UsageError: none given, or two of them are the same index of this schedule.
    """
    matched = tuple(schedule.match(t, "timesteps") for t in timesteps)
    indices = [m.index for m in matched]
    if not indices or len(set(indices)) != len(indices):
        raise UsageError(
            f"`timesteps` must be at least one and distinct on the model's schedule, got {[*timesteps]} -> {indices}. "
            "Give the model's own timesteps as plain ints."
        )
    return matched
