"""Scores of images: checked input, batches with their conditioning and noise, and no NaN that passes silently."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast, final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.noise import ProbeDraws
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, WhiteBoxDenoiser
from pytest_diffprivacy.models.schedule import match_all
from pytest_diffprivacy.slices import in_batches

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


@final
@dataclass(frozen=True)
class ImageBatch:
    """Images that a method scores together, and all that it may ask about them.

    Attributes:
        model: the model under audit.
        images: (b, channels, height, width) in [0, 1] on the CPU.
        part: the batch's place among all images.
        total: number of all images.
        prompts: one an image, of all images; None: the unconditional branch.
        seed: of the noise; each image's also depends on its own digest.
        given: noise of all images that replaces the draws, or None.
    """

    model: Denoiser
    images: Tensor
    part: slice
    total: int
    prompts: Sequence[Prompt] | None = None
    seed: int = 0
    given: Tensor | None = None

    @property
    def white_box(self) -> WhiteBoxDenoiser:
        """The model of a method that asked for white-box access."""
        return cast("WhiteBoxDenoiser", self.model)

    @cached_property
    def x0(self) -> Tensor:
        """The images in the model's space, (b, *model.sample_shape)."""
        return self.model.encode(self.images)

    @cached_property
    def conditioning(self) -> Conditioning | None:
        """The conditioning of the images' own prompts."""
        return self.conditioned(self.prompts)

    def conditioned(self, prompts: Sequence[Prompt] | None) -> Conditioning | None:
        """The conditioning of other prompts, one for each of all images.

        Raises:
            UsageError: the number of prompts is not that of the images.
        """
        if prompts is not None and len(prompts) != self.total:
            raise UsageError(f"`prompts` must hold one prompt for each of the {self.total} images, got {len(prompts)}.")
        return self.model.condition(None if prompts is None else prompts[self.part], len(self.images))

    def at(self, timestep: int) -> tuple[int, float, float]:
        """The model's own index of a timestep, and its alpha and sigma.

        Raises:
            UsageError: it leaves the schedule.
        """
        index = self.model.schedule.match(timestep).index
        return index, *self.model.schedule.at(index)

    def times(self, timesteps: Sequence[int]) -> list[int]:
        """The model's own indices of several timesteps.

        Raises:
            UsageError: there are none, two are one, or one leaves the schedule.
        """
        return [match.index for match in match_all(self.model.schedule, timesteps)]

    def predict(self, x_t: Tensor, timestep: int) -> Tensor:
        """The noise that the model predicts in x_t at its own timestep, with the images' own prompts."""
        return self.model.predict_eps(x_t, timestep, self.conditioning)

    def noise(self, draws: int, *, view: Tensor | None = None) -> Tensor:
        """Standard normal noise (draws, b, *model.sample_shape), on the model's device in its precision.

        Args:
            draws: noise draws for each image; as many as there are where the noise was given.
            view: another view of the images, such as the mirror images; its noise depends on its own digests.

        Raises:
            UsageError: no draws, or given noise that does not fit the images.
        """
        shape, noise = self.model.sample_shape, self.given
        if noise is None:
            if draws < 1:
                raise UsageError(f"`draws` must be at least 1, got {draws!r}.")
            like = torch.empty(0, dtype=self.model.dtype)
            drawn = torch.empty((draws, len(self.images), *shape), dtype=self.model.dtype)
            of = self.images if view is None else view
            for row, draw in zip(drawn, ProbeDraws(of, draws, shape, self.seed, like), strict=True):
                row.copy_(draw)
        else:
            given = noise[None] if noise.ndim == 1 + len(shape) else noise
            if given.ndim != 2 + len(shape) or given.shape[1] != self.total or tuple(given.shape[2:]) != shape:
                raise UsageError(f"`noise` must have shape (draws, {self.total}, {shape}), got {tuple(noise.shape)}.")
            drawn = given[:, self.part]
        return drawn.to(device=self.model.device, dtype=self.model.dtype)

    def draws(self, count: int) -> Tensor | ProbeDraws:
        """The same noise draw by draw, (b, *model.sample_shape) each, of which one is held at a time.

        Raises:
            UsageError: as `noise`.
        """
        if self.given is not None or count < 1:
            return self.noise(count)
        like = torch.empty(0, device=self.model.device, dtype=self.model.dtype)
        return ProbeDraws(self.images, count, self.model.sample_shape, self.seed, like)

    def noise_by_timestep(self, timesteps: Sequence[int]) -> Tensor:
        """One draw for each of the timesteps: (timesteps, b, *model.sample_shape).

        Raises:
            UsageError: given noise of another shape or of another number of draws.
        """
        drawn = self.noise(len(timesteps))
        if len(drawn) != len(timesteps):
            raise UsageError(
                f"`noise` must hold one draw for each of the {len(timesteps)} timesteps, got {len(drawn)}."
            )
        return drawn


def image_batches(
    model: Denoiser | None,
    images: Tensor | ArrayLike,
    *,
    prompts: Sequence[Prompt] | None = None,
    noise: Tensor | None = None,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Iterator[ImageBatch]:
    """Images, batch by batch, with the prompts and the noise of all of them; without a model nobody may be asked.

    Raises:
        UsageError: bad images or batch size.
    """
    checked = as_images(images)
    for part in in_batches(len(checked), batch_size):
        yield ImageBatch(cast("Denoiser", model), checked[part], part, len(checked), prompts, seed, noise)


def finite_scores(parts: Iterable[Tensor], *, called: str, what: str = "the model's output is") -> NDArray[np.float64]:
    """The scores of all batches, float64 (n, ...).

    Args:
        parts: scores of one batch after the other, (b, ...).
        called: what messages call the method.
        what: what messages say is not finite.

    Raises:
        AuditError: a value is not finite, i.e. the model returned NaN or infinity.
    """
    values: NDArray[np.float64] = np.concatenate([part.double().cpu().numpy() for part in parts])
    broken = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if len(broken):
        raise AuditError(
            f"{called}: {what} not finite for {len(broken)} of {len(values)} images, the first at position "
            f"{broken[0]}. Check the checkpoint and its precision (try dtype float32)."
        )
    return values
