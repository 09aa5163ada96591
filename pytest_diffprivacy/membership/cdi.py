"""CDI: dataset inference from the features of several attacks; their settings, and the scorer that mixes them.

The scorer learns on control images which mixture tells members from non-members, and is judged on others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.methods import Access, Published, register
from pytest_diffprivacy.models.protocols import WhiteBoxDenoiser
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from pytest_diffprivacy.statistics.control_splits import ControlSplit
from pytest_diffprivacy.statistics.dataset_inference import SplitLogits

TOLERANCE = 1e-6
MOST_STEPS = 10_000
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


CDI = Published(
    name="cdi",
    title="CDI dataset inference",
    access=Access.GREY_BOX,
    source="Dubinski et al. 2025 (CDI), with disjoint control and test images",
    built_by="assert_dataset_not_inferable(model, probes)",
    claim="dataset_not_inferable",
    asks="Was this set of images used in training?",
)
register(CDI)


def cdi_logits(
    member_features: ArrayLike, nonmember_features: ArrayLike, splits: Sequence[ControlSplit]
) -> tuple[SplitLogits, ...]:
    """Fit one scorer a split on its control images and return its logits for the test images.

    Features are standardized by the control images of both sides, and a logistic regression (l2 penalty, C = 1) is
    fitted on them. Test images take no part in either.

    Args:
        member_features: (members, features), finite.
        nonmember_features: (non-members, features), finite.
        splits: positions of control and test images.

    Returns:
        Logits of the test images, one pair a split; higher = more likely member.

    Raises:
        UsageError: matrices of different width, empty, or not finite.
        AuditError: no feature varies over the control images.

    Source: Implements Dubinski et al. 2025 (CDI), section 4.3, with one disjoint control and test part a split.
    """
    members = as_features("member_features", member_features)
    nonmembers = as_features("nonmember_features", nonmember_features)
    if members.shape[1] != nonmembers.shape[1]:
        raise UsageError(
            f"`member_features` and `nonmember_features` must have the same columns, got {members.shape[1]} and "
            f"{nonmembers.shape[1]}."
        )
    return tuple(_logits(members, nonmembers, split) for split in splits)


def as_features(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """A feature matrix as float64 (images, features); refuses what is no matrix of finite real numbers."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or array.ndim != 2 or 0 in array.shape:
        raise UsageError(
            f"`{name}` must be a matrix of real numbers, one row an image, got shape {array.shape} and dtype "
            f"{array.dtype}."
        )
    matrix = array.astype(np.float64)
    broken = int((~np.isfinite(matrix).all(axis=1)).sum())
    if broken:
        raise UsageError(
            f"`{name}` must be finite, got {broken} of {len(matrix)} images with NaN or infinity. Score them again."
        )
    return matrix


def _logits(members: NDArray[np.float64], nonmembers: NDArray[np.float64], split: ControlSplit) -> SplitLogits:
    from sklearn.linear_model import LogisticRegression

    control = np.concatenate([members[split.member_control], nonmembers[split.nonmember_control]])
    labels = np.repeat([1, 0], [len(split.member_control), len(split.nonmember_control)])
    mean, spread = control.mean(axis=0), control.std(axis=0)
    flat = spread <= 1e-12 * np.abs(mean)  # a constant up to rounding says nothing
    if flat.all():
        raise AuditError("No feature varies over the control images: they say nothing. Check the features.")
    spread = np.where(flat, np.inf, spread)
    scorer = LogisticRegression(tol=TOLERANCE, max_iter=MOST_STEPS)
    scorer.fit((control - mean) / spread, labels)
    return SplitLogits(
        members=scorer.decision_function((members[split.member_test] - mean) / spread),
        nonmembers=scorer.decision_function((nonmembers[split.nonmember_test] - mean) / spread),
    )
