"""How does a score for a few images become one for many? Checked input, batches, and no NaN that passes silently."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.noise import probe_noise
from pytest_diffprivacy.models.protocols import Denoiser, Prompt

BATCH_SIZE = 256


def as_images(images: Tensor | ArrayLike) -> Tensor:
    """Images as a float tensor (n, channels, height, width) on the CPU.

    Raises:
        UsageError: another shape, values that are not finite, or values outside [0, 1].
    """
    tensor = images.detach().cpu() if isinstance(images, Tensor) else torch.from_numpy(np.asarray(images))
    if tensor.ndim != 4 or len(tensor) == 0:
        raise UsageError(f"`images` must have shape (n, channels, height, width), n >= 1, got {tuple(tensor.shape)}.")
    tensor = tensor if tensor.is_floating_point() else tensor.double()
    low, high = float(tensor.min()), float(tensor.max())
    if not (low >= 0.0 and high <= 1.0):
        raise UsageError(f"`images` must lie in [0, 1], got values in [{low:g}, {high:g}]. Rescale them.")
    return tensor


def score_images(
    images: Tensor | ArrayLike,
    score_batch: Callable[[slice, Tensor], Tensor],
    *,
    batch_size: int = BATCH_SIZE,
    method: str,
) -> NDArray[np.float64]:
    """Apply a score to images batch by batch.

    Args:
        images: (n, channels, height, width) in [0, 1].
        score_batch: (which images, the images) -> scores (batch,).
        batch_size: images in one network call.
        method: the method's name, for messages.

    Returns:
        float64 (n,).

    Raises:
        UsageError: bad images or batch size.
        AuditError: a score is not finite, i.e. the model returned NaN or infinity.
    """
    checked = as_images(images)
    if batch_size < 1:
        raise UsageError(f"`batch_size` must be at least 1, got {batch_size!r}.")
    scores = np.empty(len(checked), dtype=np.float64)
    for start in range(0, len(checked), batch_size):
        part = slice(start, min(start + batch_size, len(checked)))
        scores[part] = score_batch(part, checked[part]).double().cpu().numpy()
    broken = np.flatnonzero(~np.isfinite(scores))
    if len(broken):
        raise AuditError(
            f"{method}: the model's output is not finite for {len(broken)} of {len(scores)} images, the first at "
            f"position {broken[0]}. Check the checkpoint and its precision (try dtype float32)."
        )
    return scores


def batch_noise(
    model: Denoiser,
    images: Tensor,
    part: slice,
    *,
    draws: int,
    noise: Tensor | None,
    total: int,
    seed: int,
) -> Tensor:
    """The noise of a batch: given, or from the seed and each image's digest.

    Args:
        model: gives the shape of one draw, the device and the precision.
        images: the batch.
        part: the batch's place among all images.
        draws: noise draws for each image; ignored where `noise` is given.
        noise: (draws, images, *shape), or (images, *shape) for one draw; None: drawn here.
        total: number of all images.
        seed: the run's seed.

    Returns:
        (draws, batch, *shape) on the model's device in its precision.

    Raises:
        UsageError: `noise` does not fit the images.
    """
    shape = model.sample_shape
    if noise is None:
        if draws < 1:
            raise UsageError(f"`draws` must be at least 1, got {draws!r}.")
        drawn = probe_noise(images, draws, shape, seed)
    else:
        given = noise[None] if noise.ndim == 1 + len(shape) else noise
        if given.ndim != 2 + len(shape) or given.shape[1] != total or tuple(given.shape[2:]) != shape:
            raise UsageError(f"`noise` must have shape (draws, {total}, {shape}), got {tuple(noise.shape)}.")
        drawn = given[:, part]
    return drawn.to(device=model.device, dtype=model.dtype)


def batch_condition(model: Denoiser, prompts: Sequence[Prompt] | None, part: slice, total: int) -> Conditioning | None:
    """The conditioning of a batch of images with one prompt each.

    Raises:
        UsageError: the number of prompts is not that of the images.
    """
    if prompts is not None and len(prompts) != total:
        raise UsageError(f"`prompts` must hold one prompt for each of the {total} images, got {len(prompts)}.")
    return model.condition(None if prompts is None else prompts[part], part.stop - part.start)
