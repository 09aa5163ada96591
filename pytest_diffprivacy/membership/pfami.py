"""PFAMI: whether the image is a local maximum of the model's likelihood, compared with crops of itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.methods import Access, ImageBatch, method
from pytest_diffprivacy.models.schedule import ReferenceTimestep

TIMESTEPS: tuple[int, ...] = tuple(ReferenceTimestep(t) for t in range(0, 500, 50))
STRENGTHS: tuple[float, ...] = tuple(float(s) for s in np.linspace(0.95, 0.70, 10))


@method(
    title="PFAMI (statistic)",
    called="PFAMI",
    access=Access.GREY_BOX,
    source="Fu et al. 2023 (PFAMI), metric variant, with noise shared by an image and its crops",
    version=1,
    evaluations=lambda p: len(p["timesteps"]) * (1 + len(p["strengths"])),
    noise="a draw a timestep",
)
def pfami(batch: ImageBatch, *, timesteps: Sequence[int] = TIMESTEPS, strengths: Sequence[float] = STRENGTHS) -> Tensor:
    """Score images by how much their loss grows when they are cropped a little (PFAMI's statistical variant).

    `score = -mean_s [ mean_t L(x, t) - mean_t L(crop_s(x), t) ]` with L the *mean* squared noise error. The image and
    all its crops see the same noise, so that the crop is all that differs; the public code draws anew each time.

    Args:
        timesteps: the default is 0, 50, ..., 450 of the papers' schedule, matched by signal-to-noise ratio; plain ints
            are the model's own.
        strengths: sides of the centre crops as shares of the image's, in (0, 1]; crops are resized back bilinearly.

    Raises:
        UsageError: bad images, noise, timesteps, strengths or prompts.

    Source: Follows Fu et al. 2023 (PFAMI), metric variant, as re-implemented by Rao et al. 2025, except for the shared
    noise (METHODS 3.7).
    """
    times = batch.times(timesteps)
    crops = [_crop_side(s, batch.images.shape[2:]) for s in strengths]
    if not crops:
        raise UsageError("`strengths` must hold at least one crop, got none.")
    drawn = batch.noise_by_timestep(times)

    def mean_loss(view: Tensor) -> Tensor:
        x0 = batch.model.encode(view)
        loss = torch.zeros(len(view), dtype=torch.float64, device=batch.model.device)
        for t, eps in zip(times, drawn, strict=True):
            alpha, sigma = batch.model.schedule.at(t)
            loss += (eps - batch.predict(alpha * x0 + sigma * eps, t)).double().square().flatten(1).mean(1)
        return loss / len(times)

    own, cropped = mean_loss(batch.images), [mean_loss(view) for view in _cropped(batch.images, crops)]
    return torch.stack(cropped).mean(0) - own


pfami_scores = pfami.scores


def _crop_side(strength: float, size: Sequence[int]) -> tuple[int, int]:
    """Height and width of a centre crop, rounded down."""
    if not 0.0 < strength <= 1.0:
        raise UsageError(f"`strengths` must be in (0, 1], got {strength!r}.")
    height, width = (int(side * strength) for side in size)
    if min(height, width) < 1:
        raise UsageError(f"`strengths` must leave at least one pixel of {tuple(size)}, got {strength!r}.")
    return height, width


def _cropped(images: Tensor, crops: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
    """The centre crops of images, resized back to their size; in float64, whatever the model's precision."""
    full = images.shape[2], images.shape[3]
    for height, width in crops:
        top, left = (full[0] - height) // 2, (full[1] - width) // 2
        centre = images[:, :, top : top + height, left : left + width].double()
        yield interpolate(centre, size=full, mode="bilinear", align_corners=False)
