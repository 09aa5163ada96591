"""PFAMI: is the image a local maximum of the model's likelihood, compared with crops of itself?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership.attack import Attack
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, require_denoiser
from pytest_diffprivacy.models.schedule import ReferenceTimestep, match_all
from pytest_diffprivacy.models.scoring import (
    BATCH_SIZE,
    as_images,
    batch_condition,
    batch_noise,
    score_images,
)

TIMESTEPS: tuple[int, ...] = tuple(ReferenceTimestep(t) for t in range(0, 500, 50))
STRENGTHS: tuple[float, ...] = tuple(float(s) for s in np.linspace(0.95, 0.70, 10))


def pfami_scores(
    model: Denoiser,
    images: Tensor | ArrayLike,
    *,
    timesteps: Sequence[int] = TIMESTEPS,
    strengths: Sequence[float] = STRENGTHS,
    noise: Tensor | None = None,
    seed: int = 0,
    prompts: Sequence[Prompt] | None = None,
    batch_size: int = BATCH_SIZE,
) -> NDArray[np.float64]:
    """Score images by how much their loss grows when they are cropped a little (PFAMI's statistical variant).

    `score = -mean_s [ mean_t L(x, t) - mean_t L(crop_s(x), t) ]` with L the *mean* squared noise error. The image and
    all its crops see the same noise, so that the crop is all that differs; the public code draws anew each time.

    Args:
        model: grey-box access.
        images: (n, channels, height, width) in [0, 1].
        timesteps: the default is 0, 50, ..., 450 of the papers' schedule, matched by signal-to-noise ratio; plain ints
            are the model's own.
        strengths: sides of the centre crops as shares of the image's, in (0, 1]; crops are resized back bilinearly.
        noise: replaces the draws: (timesteps, n, *model.sample_shape), row j for timesteps[j].
        seed: seed of the draws; draw j of the image's own stream belongs to timesteps[j].
        prompts: one prompt an image for conditional models; None is the unconditional branch.
        batch_size: images in one network call.

    Returns:
        float64 (n,), higher = more likely member.

    Raises:
        UsageError: bad images, noise, timesteps, strengths or prompts.
        AuditError: the model's output is not finite.

    Source: Follows Fu et al. 2023 (PFAMI), metric variant, as re-implemented by Rao et al. 2025, except for the shared
    noise (METHODS 3.7).
    """
    denoiser = require_denoiser(model, "PFAMI")
    checked = as_images(images)
    times = [m.index for m in match_all(denoiser.schedule, timesteps)]
    crops = [_crop_side(s, checked.shape[2:]) for s in strengths]
    if not crops:
        raise UsageError("`strengths` must hold at least one crop, got none.")

    @torch.no_grad()
    def score_batch(part: slice, batch: Tensor) -> Tensor:
        condition = batch_condition(denoiser, prompts, part, len(checked))
        drawn = batch_noise(denoiser, batch, part, draws=len(times), noise=noise, total=len(checked), seed=seed)
        if len(drawn) != len(times):
            raise UsageError(f"`noise` must hold one draw for each of the {len(times)} timesteps, got {len(drawn)}.")

        def mean_loss(view: Tensor) -> Tensor:
            x0 = denoiser.encode(view)
            loss = torch.zeros(len(view), dtype=torch.float64, device=denoiser.device)
            for t, eps in zip(times, drawn, strict=True):
                alpha, sigma = denoiser.schedule.at(t)
                predicted = denoiser.predict_eps(alpha * x0 + sigma * eps, t, condition)
                loss += (eps - predicted).double().square().flatten(1).mean(1)
            return loss / len(times)

        own, cropped = mean_loss(batch), [mean_loss(view) for view in _cropped(batch, crops)]
        return torch.stack(cropped).mean(0) - own

    return score_images(checked, score_batch, batch_size=batch_size, method="PFAMI")


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


PFAMI = Attack(
    name="pfami",
    title="PFAMI (statistic)",
    access="grey box",
    source="Fu et al. 2023 (PFAMI), metric variant, with noise shared by an image and its crops",
    scores=pfami_scores,
    defaults={"timesteps": TIMESTEPS, "strengths": STRENGTHS},
    version=1,
    seeded=True,
    evaluations=lambda p: len(p["timesteps"]) * (1 + len(p["strengths"])),
    timesteps=lambda p: tuple(p["timesteps"]),
)
