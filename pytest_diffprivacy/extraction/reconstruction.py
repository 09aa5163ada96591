"""Reconstruction: whether the model restores a hidden part of an image it saw better than of one it did not see.

An attacker who holds a part of an image lets the model fill in the rest many times and keeps what the model itself
finds most likely; he does not hold the original. The best of all tries by the original is measured too, as an upper
bound: it needs the answer, and it falls with the number of tries for unseen images as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.methods import Access, Kind, Published, register, with_parameters_of
from pytest_diffprivacy.models.noise import ProbeDraws
from pytest_diffprivacy.models.prediction import denoising_loss
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, require_denoiser
from pytest_diffprivacy.models.schedule import ReferenceTimestep, match_all
from pytest_diffprivacy.models.scoring import BATCH_SIZE, ImageBatch, as_images, image_batches
from pytest_diffprivacy.restoration.degrade import Degradation, Degraded, rms_hidden
from pytest_diffprivacy.restoration.masks import find_degradations
from pytest_diffprivacy.restoration.plan import FILLS, Restoration, RestorationPlan, fill_in

DRAWS = 100
KEEP = 10
STEPS = 50
LOSS_DRAWS = 20
TIMESTEP: int = ReferenceTimestep(100)
COLUMNS: Final = ("honest", "oracle", "single")
VERSION = 1

RECONSTRUCTION = Published(
    name="reconstruction",
    title="Inpainting, chosen by the model's own loss",
    access=Access.GREY_BOX,
    source="Carlini et al. 2023, section 5.4; honest choice and control of METHODS 2.2",
    kind=Kind.EXTRACTION,
    built_by="assert_no_reconstruction(model, probes)",
    claim="no_reconstruction",
    asks="Can the hidden part of a training image be filled in?",
)
register(RECONSTRUCTION)


@dataclass(frozen=True)
class _Trying:
    """How often and how the hidden part is restored, and how a try is chosen; as in `reconstruction_errors`."""

    mask: str | Degradation = "left"
    draws: int = DRAWS
    restoration: Restoration = "ddim"
    steps: int = STEPS
    timestep: int = TIMESTEP
    loss_draws: int = LOSS_DRAWS

    def __post_init__(self) -> None:
        _ = self.plan  # refuses numbers that do not fit

    @cached_property
    def plan(self) -> RestorationPlan:
        """How the model restores."""
        return RestorationPlan(self.restoration, self.draws, self.steps)

    @cached_property
    def degradation(self) -> Degradation:
        """What is hidden."""
        return _one(self.mask)

    @torch.no_grad()
    def tries(
        self, model: Denoiser, batch: ImageBatch, degraded: Degraded
    ) -> Iterator[tuple[Tensor, NDArray[np.float64], NDArray[np.float64]]]:
        """Restoration after restoration: the images, the model's loss of them, their distance to the original, (b,).

        The loss has one set of noise draws for all restorations of an image, from what is left of it, which is all that
        an attacker holds.
        """
        times = [match.index for match in match_all(model.schedule, [self.timestep])]
        left = degraded.visible.clamp(0.0, 1.0).float()
        like = torch.empty(0, device=model.device, dtype=model.dtype)
        noise = ProbeDraws(left, self.loss_draws, model.sample_shape, batch.seed, like)
        for restored in self.plan.restored(model, batch, degraded, self.degradation.name):
            x0, conditioning = model.encode(restored), batch.conditioning
            loss = denoising_loss(model, x0, timesteps=times, noise=noise, conditioning=conditioning)
            distances = rms_hidden(restored, batch.images, degraded.hidden)
            yield restored, loss.double().cpu().numpy(), distances.numpy()


@with_parameters_of(_Trying)
def reconstruction_errors(  # noqa: D417 - the others are handed on
    model: Denoiser,
    images: Tensor | ArrayLike,
    *,
    keep: int = KEEP,
    seed: int = 0,
    prompts: Sequence[Prompt] | None = None,
    batch_size: int = BATCH_SIZE,
    **asked: Any,
) -> NDArray[np.float64]:
    """Measure how far restored images are from the originals on hidden pixels.

    Args:
        model: grey-box access.
        images: (n, channels, height, width) in [0, 1].
        mask: what is hidden: "left", "right", "top", "bottom", "random:0.3", or `Boxes`, `GivenMasks`, ...
        draws: restorations of each image, the same number for all.
        keep: how many of them, those of the lowest model loss, are averaged.
        restoration: "ddim", "ddnm" or "repaint", see restoration.routines.
        steps: sampling steps of one restoration.
        timestep: of the loss that chooses; the default is t = 100, matched by signal-to-noise ratio.
        loss_draws: noise draws of that loss, the same for all restorations of an image.
        seed: seed of noise and random masks.
        prompts: one prompt an image for conditional models; None is the unconditional branch.
        batch_size: images in one network call.

    Returns:
        float64 (n, 3), **distances, lower = closer**, in the order of `COLUMNS`: mean RMS of the kept restorations,
        which is the attack; the smallest RMS of all, an upper bound that needs the answer; the mean RMS of all.

    Raises:
        UsageError: a bad argument, or a mask that hides nothing or everything.
        AuditError: the model's output is not finite.

    Source: Follows Carlini et al. 2023, section 5.4 (inpainting) with the choice of METHODS 2.2; which restoration the
        authors used is not stated.
    """
    denoiser, checked = require_denoiser(model, "Reconstruction"), as_images(images)
    trying = _Trying(**asked)
    draws, loss_draws = trying.draws, trying.loss_draws
    if not 1 <= keep <= draws:
        raise UsageError(f"`keep` must be between 1 and `draws` ({draws}), got {keep!r}.")
    if loss_draws < 1 or batch_size < 1:
        raise UsageError(f"`loss_draws` and `batch_size` must be at least 1, got {loss_draws!r} and {batch_size!r}.")
    errors = np.empty((len(checked), len(COLUMNS)))
    for batch in image_batches(denoiser, checked, prompts=prompts, seed=seed, batch_size=batch_size):
        tries = trying.tries(denoiser, batch, trying.degradation.degrade(batch))
        losses, distances = np.stack([measured for _, *measured in tries], axis=1)
        chosen = np.argsort(losses, axis=0, kind="stable")[:keep]
        honest = np.take_along_axis(distances, chosen, axis=0).mean(0)
        errors[batch.part] = np.stack([honest, distances.min(0), distances.mean(0)], axis=1)
    broken = np.flatnonzero(~np.isfinite(errors).all(axis=1))
    if len(broken):
        raise AuditError(
            f"Reconstruction: the model's output is not finite for {len(broken)} of {len(errors)} images, the first at "
            f"position {broken[0]}. Check the checkpoint and its precision (try dtype float32)."
        )
    return errors


def fill_errors(
    images: Tensor | ArrayLike,
    *,
    mask: str | Degradation = "left",
    seed: int = 0,
    prompts: Sequence[Prompt] | None = None,
    model: Denoiser | None = None,
    batch_size: int = BATCH_SIZE,
) -> NDArray[np.float64]:
    """The same distances for restorations without any model: the mean of the rest, and the smoothest surface.

    If these separate members from non-members, the split itself does.

    Args:
        images: (n, channels, height, width) in [0, 1].
        mask: what `reconstruction_errors` was given.
        seed: likewise.
        prompts: for masks that come from a conditional model.
        model: needed only where the mask comes from it; it restores nothing here.
        batch_size: images handled at once.

    Returns:
        float64 (n, fills), in the order of restoration.FILLS.

    Source: Implements METHODS 2.2, point 5.
    """
    checked, degradation = as_images(images), _one(mask)
    errors = np.empty((len(checked), len(FILLS)))
    for batch in image_batches(model, checked, prompts=prompts, seed=seed, batch_size=batch_size):
        degraded = degradation.degrade(batch)
        for column, fill in enumerate(FILLS):
            filled = fill_in(degraded, fill)  # type: ignore[arg-type]  # FILLS holds the literals
            errors[batch.part, column] = rms_hidden(filled, batch.images, degraded.hidden).numpy()
    return errors


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """What the attack shows of one image, in [0, 1].

    Attributes:
        original: (channels, height, width).
        degraded: the same shape, hidden pixels filled with the mean of the others.
        chosen: the restoration of the lowest model loss, as an attacker would pick it.
        closest: the restoration nearest to the original, which needs the answer.
        errors: RMS of these two on hidden pixels.
        mask: name of the mask.
    """

    original: NDArray[np.float64]
    degraded: NDArray[np.float64]
    chosen: NDArray[np.float64]
    closest: NDArray[np.float64]
    errors: tuple[float, float]
    mask: str


@with_parameters_of(_Trying)
@torch.no_grad()
def reconstruct(
    model: Denoiser,
    image: Tensor | ArrayLike,
    *,
    seed: int = 0,
    prompt: Prompt | None = None,
    **asked: Any,
) -> Reconstruction:
    """Original, degraded image, and the restorations that `reconstruction_errors` measured, as evidence.

    Args:
        model: grey-box access.
        image: (channels, height, width) in [0, 1].
        seed: seed of noise and random masks.
        prompt: the image's prompt for conditional models.
        **asked: mask, draws, restoration, steps, timestep and loss_draws, as for `reconstruction_errors`.

    Raises:
        UsageError: as for `reconstruction_errors`.

    Source: Follows METHODS 2.2.
    """
    denoiser, trying = require_denoiser(model, "Reconstruction"), _Trying(**asked)
    single = as_images(image[None] if isinstance(image, Tensor) else np.asarray(image)[None])
    (batch,) = image_batches(denoiser, single, prompts=None if prompt is None else [prompt], seed=seed)
    degraded = trying.degradation.degrade(batch)
    restored, losses, errors = zip(*trying.tries(denoiser, batch, degraded), strict=True)
    first, best = int(np.argmin(losses)), int(np.argmin(errors))
    return Reconstruction(
        original=single[0].double().numpy(),
        degraded=degraded.shown[0].numpy(),
        chosen=restored[first][0].numpy(),
        closest=restored[best][0].numpy(),
        errors=(float(errors[first][0]), float(errors[best][0])),
        mask=trying.degradation.name,
    )


def _one(mask: str | Degradation) -> Degradation:
    found = find_degradations(mask)
    if len(found) != 1:
        raise UsageError(f"`mask` must be one mask, got {len(found)}. Judge each mask by a claim of its own.")
    return found[0]
