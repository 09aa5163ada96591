"""Which features does dataset inference ask for, at which noise levels, and what do they cost?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models.protocols import WhiteBoxDenoiser
from pytest_diffprivacy.models.schedule import ReferenceTimestep

TIMESTEP: int = ReferenceTimestep(100)
PIA_TIMESTEP: int = ReferenceTimestep(200)
TIMESTEPS: tuple[int, ...] = tuple(ReferenceTimestep(t) for t in range(0, 1000, 100))
STEP = 10
DRAWS = 5
OPTIMIZATION_STEPS = 5

GREY_BOX: Final = ("loss", "secmi", "pia", "pian", "multiple_loss")
WHITE_BOX: Final = ("gm_paper", "noise_optimization")
FAMILIES: Final = GREY_BOX + WHITE_BOX


@dataclass(frozen=True, slots=True)
class CdiSettings:
    """Which features, and at which noise levels.

    Attributes:
        features: families out of FAMILIES; "gm_paper" and "noise_optimization" need white-box access.
        timestep: of the loss, SecMI and the noise optimization.
        pia_timestep: of PIA and PIAN.
        timesteps: of the multiple loss and of gradient masking.
        draws: noise draws of the loss.

    Timesteps are those of the papers' schedule, matched by signal-to-noise ratio; plain ints are the model's own.
    """

    features: tuple[str, ...] = FAMILIES
    timestep: int = TIMESTEP
    pia_timestep: int = PIA_TIMESTEP
    timesteps: tuple[int, ...] = TIMESTEPS
    draws: int = DRAWS

    def __post_init__(self) -> None:
        unknown = [name for name in self.features if name not in FAMILIES]
        if unknown or not self.features or len(set(self.features)) != len(self.features):
            raise UsageError(
                f"`features` must be distinct names out of {', '.join(FAMILIES)}, got {', '.join(self.features)!r}."
            )
        if self.draws < 1:
            raise UsageError(f"`draws` must be at least 1, got {self.draws!r}.")

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the feature matrix; times as they were asked for."""
        each = [f"t={int(t)}" for t in self.timesteps]
        columns = {
            "multiple_loss": [f"multiple_loss {t}" for t in each],
            "gm_paper": [f"gm_paper {t}" for t in each],
            "noise_optimization": ["noise_optimization error", "noise_optimization size"],
        }
        return tuple(name for family in self.features for name in columns.get(family, [family]))

    @property
    def forward_passes(self) -> int:
        """Network evaluations an image costs."""
        chosen, times = set(self.features), len(self.timesteps)
        scanned = bool(chosen & {"multiple_loss", "gm_paper"})
        alone = bool(chosen & {"loss", "noise_optimization"}) and not (scanned and self.timestep in self.timesteps)
        extra = {
            "loss": self.draws - 1,
            "secmi": int(self.timestep) // STEP + 1,
            "pia": 1,
            "pian": 1,
            "gm_paper": times,
            "noise_optimization": OPTIMIZATION_STEPS,
        }
        shared = times * scanned + alone + bool(chosen & {"secmi", "pia", "pian"})
        return shared + sum(extra.get(family, 0) for family in chosen)

    @property
    def backward_passes(self) -> int:
        """Gradients an image costs."""
        masked, optimized = "gm_paper" in self.features, "noise_optimization" in self.features
        start = optimized and not (masked and self.timestep in self.timesteps)
        return len(self.timesteps) * masked + OPTIMIZATION_STEPS * optimized + start


def affordable_features(model: object) -> tuple[str, ...]:
    """The families that the model's access allows."""
    return FAMILIES if isinstance(model, WhiteBoxDenoiser) else GREY_BOX
