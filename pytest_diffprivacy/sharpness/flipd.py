"""FLIPD: in how many dimensions can an image vary under the model? A memorized image in none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.models.protocols import Prompt, WhiteBoxDenoiser, require_white_box
from pytest_diffprivacy.models.schedule import match_all
from pytest_diffprivacy.models.scoring import BATCH_SIZE, as_images, batch_condition, batch_noise, score_images
from pytest_diffprivacy.sharpness.noised import DRAWS
from pytest_diffprivacy.sharpness.statistic import SharpnessStatistic


def flipd_scores(
    model: WhiteBoxDenoiser,
    images: Tensor | ArrayLike,
    *,
    timestep: int,
    draws: int = DRAWS,
    noise: Tensor | None = None,
    seed: int = 0,
    prompts: Sequence[Prompt] | None = None,
    batch_size: int = BATCH_SIZE,
) -> NDArray[np.float64]:
    """Minus the local intrinsic dimension of the model's density at each image; higher = sharper.

    `LID(x) = d - sigma_t tr J_eps(alpha_t x, t) + || eps(alpha_t x, t) ||^2` at the scaled clean image, the trace by
    Hutchinson's estimate with Rademacher vectors. It tends to 0 at a memorized image and to k on a k-dimensional
    manifold as t -> 0. Which t is right depends on the architecture and is not settled, hence no default: look at
    `flipd_curve` first.

    Args:
        model: white-box access (forward-mode derivatives).
        images: (n, channels, height, width) in [0, 1].
        timestep: a small noise level; a ReferenceTimestep is matched by signal-to-noise ratio, a plain int is the
            model's own.
        draws: Rademacher vectors for the trace of each image.
        noise: replaces them by the signs of (draws, n, *model.sample_shape), or (n, *model.sample_shape) for one.
        seed: seed of the vectors; each image's also depend on its own digest.
        prompts: one prompt an image for conditional models; None is the unconditional branch.
        batch_size: images in one network call.

    Returns:
        float64 (n,), in dimensions.

    Raises:
        UsageError: bad images, noise, timestep or prompts.
        AuditError: the model's output is not finite.

    Source: Implements FLIPD of Kamkari et al. 2024, used for memorization by Ross et al. 2025 (METHODS 4.7).
    """
    denoiser = require_white_box(model, "The intrinsic dimension (FLIPD)")
    checked = as_images(images)
    t = denoiser.schedule.match(timestep).index
    alpha, sigma = denoiser.schedule.at(t)

    def score_batch(part: slice, batch: Tensor) -> Tensor:
        x = alpha * denoiser.encode(batch)
        condition = batch_condition(denoiser, prompts, part, len(checked))
        drawn = batch_noise(denoiser, batch, part, draws=draws, noise=noise, total=len(checked), seed=seed)
        traces, norm = [], torch.empty(0)
        for vectors in torch.where(drawn < 0.0, -1.0, 1.0).to(x.dtype):
            eps, change = denoiser.eps_jvp(x, t, vectors, condition)
            traces.append((vectors.double() * change.double()).flatten(1).sum(1))
            norm = eps.double().flatten(1).square().sum(1)
        dimension = x[0].numel()
        return -(dimension - sigma * torch.stack(traces).mean(0) + norm)

    return score_images(checked, score_batch, batch_size=batch_size, method="The intrinsic dimension (FLIPD)")


@dataclass(frozen=True, slots=True)
class LidCurve:
    """The intrinsic dimension of images over noise levels.

    Attributes:
        timesteps: the model's own indices.
        sigmas: float64 (timesteps,), their noise factors.
        dimensions: float64 (timesteps, images).
    """

    timesteps: tuple[int, ...]
    sigmas: NDArray[np.float64]
    dimensions: NDArray[np.float64]


def flipd_curve(
    model: WhiteBoxDenoiser,
    images: Tensor | ArrayLike,
    *,
    timesteps: Sequence[int],
    draws: int = DRAWS,
    seed: int = 0,
    prompts: Sequence[Prompt] | None = None,
    batch_size: int = BATCH_SIZE,
) -> LidCurve:
    """The intrinsic dimension at several noise levels: arguments as for `flipd_scores`.

    Raises:
        UsageError: bad images or prompts, or timesteps that are none, outside the schedule or the same.
        AuditError: the model's output is not finite.

    Source: Implements FLIPD of Kamkari et al. 2024 (METHODS 4.7).
    """
    matched = match_all(model.schedule, timesteps)
    rows = [
        -flipd_scores(model, images, timestep=m.index, draws=draws, seed=seed, prompts=prompts, batch_size=batch_size)
        for m in matched
    ]
    indices = tuple(m.index for m in matched)
    return LidCurve(indices, model.schedule.sigmas[list(indices)], np.stack(rows))


LID = SharpnessStatistic(
    name="lid",
    title="Intrinsic dimension (FLIPD), negated",
    access="white box",
    source="Kamkari et al. 2024; Ross et al. 2025",
    scores=flipd_scores,
    timestep=None,
    version=1,
)
