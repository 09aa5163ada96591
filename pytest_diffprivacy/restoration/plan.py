"""Restoration of a degraded image: by the model under audit, at a price, or by a fill without any model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, final, get_args

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models.ddim import ddim_invert
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.models.schedule import Spacing
from pytest_diffprivacy.models.scoring import ImageBatch
from pytest_diffprivacy.restoration.degrade import Degraded
from pytest_diffprivacy.restoration.routines import (
    REPEATS,
    Projection,
    Routine,
    restoration_noise,
    restore_ddim,
    restore_ddnm,
    restore_repaint,
)

Restoration = Literal["ddim", "ddnm", "repaint"]
Start = Literal["noise", "inversion"]
Fill = Literal["mean", "harmonic", "biharmonic"]
FILLS: Final[tuple[str, ...]] = get_args(Fill)
RESTORATIONS = 10
STEPS = 50
_ROUTINES: Final[Mapping[str, Routine]] = {
    "ddim": restore_ddim,
    "ddnm": restore_ddnm,
    "repaint": restore_repaint,
}


@final
@dataclass(frozen=True, slots=True)
class RestorationPlan:
    """How the model restores.

    Attributes:
        restoration: "ddim", "ddnm" or "repaint", see restoration.routines.
        restorations: how many for each degradation.
        steps: sampling steps of the whole path.
        spacing: overrides the schedule's own timestep spacing.
        start: "noise", or "inversion" of the degraded image. Inversion is deterministic: ddim then keeps the known part
            on the inverted path, which makes it equal to ddnm, and there is one restoration to be had.
        strength: share of the steps that are walked, from the clean end; below 1 only with start="inversion".

    Source: Follows METHODS 3.11, except that the known part of an inverted start keeps the inversion's noise: with
    fresh noise members of the ideal denoiser score below non-members (AUROC 0.28 in T7's setting).
    """

    restoration: Restoration = "ddim"
    restorations: int = RESTORATIONS
    steps: int = STEPS
    spacing: Spacing | None = None
    start: Start = "noise"
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.restoration not in _ROUTINES:
            raise UsageError(f"`restoration` must be one of {', '.join(_ROUTINES)}, got {self.restoration!r}.")
        if self.start not in get_args(Start):
            raise UsageError(f"`start` must be 'noise' or 'inversion', got {self.start!r}.")
        for name, value in (("restorations", self.restorations), ("steps", self.steps)):
            if value < 1:
                raise UsageError(f"`{name}` must be at least 1, got {value!r}.")
        if not 0.0 < self.strength <= 1.0:
            raise UsageError(
                f"`strength` must be above 0 and at most 1, got {self.strength!r}. It is a share of steps."
            )
        if self.strength < 1.0 and self.start == "noise":
            raise UsageError(f"`strength` must be 1 with start='noise', got {self.strength!r}. Use start='inversion'.")
        if self.start == "inversion" and self.restoration != "repaint" and self.restorations > 1:
            raise UsageError(
                f"`restorations` must be 1 for {self.restoration} with start='inversion', got {self.restorations!r}. "
                "Nothing is random there, so all would be equal."
            )

    @property
    def walked(self) -> int:
        """Sampling steps that are walked."""
        return max(1, round(self.strength * self.steps))

    @property
    def evaluations(self) -> int:
        """Network evaluations an image and degradation."""
        each = self.walked * (REPEATS if self.restoration == "repaint" else 1)
        return self.restorations * each + (self.walked if self.start == "inversion" else 0)

    def restored(self, model: Denoiser, batch: ImageBatch, degraded: Degraded, name: str) -> Iterator[Tensor]:
        """Restoration after restoration: float64 (b, channels, height, width) in [0, 1], known pixels as they were."""
        times = model.schedule.sampling_timesteps(self.steps, spacing=self.spacing)[-self.walked :]
        known, start = model.encode(degraded.visible), None
        if self.start == "inversion":
            start = ddim_invert(
                model, degraded.visible, timesteps=times[::-1], conditioning=batch.conditioning, predict_at="target"
            )
        for draw in range(self.restorations):
            noise: Iterable[Tensor]
            noise = restoration_noise(batch.images, model.sample_shape, draw=draw, seed=batch.seed, label=name)
            if start is not None and self.restoration == "ddim":
                # Other noise for the known part would not fit the hidden part, which carries the inversion's.
                alpha, sigma = model.schedule.at(times[0])
                noise = [(start - alpha * known) / sigma]
            x0 = _ROUTINES[self.restoration](
                model,
                known,
                _known_part(model, degraded),
                timesteps=times,
                noise=noise,
                start=start,
                conditioning=batch.conditioning,
            )
            images = model.decode(x0).double().cpu()
            yield torch.where(degraded.hidden, images, batch.images.double())


def _known_part(model: Denoiser, degraded: Degraded) -> Tensor | Projection:
    """What of x_t is known. A latent is known only where every pixel that it stands for is."""
    if degraded.known is None:
        assert degraded.project is not None
        return degraded.project
    size = (int(model.sample_shape[-2]), int(model.sample_shape[-1]))
    if size == tuple(degraded.known.shape[2:]):
        return degraded.known
    return -torch.nn.functional.adaptive_max_pool2d(-degraded.known, size)


def fill_in(degraded: Degraded, fill: Fill) -> Tensor:
    """Degraded images with their hidden pixels filled model-free.

    Returns:
        float64 (b, channels, height, width) in [0, 1].

    Source: "harmonic" implements the discrete Laplace equation with the known pixels as boundary values and no flow
    through the image's edge; "biharmonic" minimizes the sum of squares of the same Laplacian.
    """
    if fill == "mean" or degraded.known is None:
        return degraded.visible.clamp(0.0, 1.0)
    filled = degraded.visible.clone()
    solved: dict[bytes, Any] = {}
    for image, known in zip(filled, degraded.known[:, 0].numpy() > 0, strict=True):
        key = known.tobytes()
        if key not in solved:
            operator = _laplacian(*known.shape)
            operator = operator @ operator if fill == "biharmonic" else operator
            inside, outside = np.flatnonzero(~known), np.flatnonzero(known)
            rows = operator.tocsr()[inside]
            solved[key] = (splu(rows[:, inside].tocsc()), rows[:, outside], inside, outside)
        factor, coupling, inside, outside = solved[key]
        flat = image.flatten(1)
        values = factor.solve(-(coupling @ flat[:, outside].numpy().T))
        flat[:, inside] = torch.from_numpy(values.T.copy())
        image.copy_(flat.reshape(image.shape))
    return filled.clamp(0.0, 1.0)


def _laplacian(height: int, width: int) -> Any:
    """The graph Laplacian (degree minus adjacency) of a grid of pixels: sparse (hw, hw), positive semi-definite."""

    def path(n: int) -> Any:
        degree = np.full(n, 2.0)
        degree[0] -= 1.0
        degree[-1] -= 1.0
        off = -np.ones(n - 1)
        return sparse.diags([off, degree, off], [-1, 0, 1])

    return sparse.kron(path(height), sparse.eye(width)) + sparse.kron(sparse.eye(height), path(width))
