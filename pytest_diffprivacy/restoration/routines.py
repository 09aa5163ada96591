"""Restoration routines: DDIM replacement, DDNM and RePaint restore what is hidden from the part that is left.

The calling contract, shared by every attack that restores:

- m = 1 known, m = 0 hidden. `mask` is a tensor (n, 1 or channels, height, width) of zeros and ones at the size of x_t,
  or an orthogonal projection P (n, ...) -> (n, ...) onto what is known, where a mask would be P x = m * x.
- Only P(known) enters: what `known` holds in hidden places is never looked at.
- `noise` is an iterable of standard normal tensors (n, *model.sample_shape), taken one after another; either a list
  that was drawn elsewhere, or the endless `restoration_noise(...)`, which draws each image's noise from its digest.
- Result: P(known) + (1 - P) xhat in the model's space, not clamped; `model.decode` gives images in [0, 1].
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import update_wrapper
from itertools import pairwise
from typing import TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.ddim import ddim_step
from pytest_diffprivacy.models.noise import image_digest, noise_stream
from pytest_diffprivacy.models.prediction import x0_from_eps
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.models.schedule import Point

Projection: TypeAlias = Callable[[Tensor], Tensor]
REPEATS = 10
JUMP = 10


def restoration_noise(
    images: Tensor, shape: Sequence[int], *, draw: int = 0, seed: int = 0, label: str = ""
) -> Iterator[Tensor]:
    """Endless standard normal noise for one restoration of each image; row i depends on image i alone.

    Args:
        images: (n, channels, height, width) in [0, 1]; their digests enter the seed, never their places.
        shape: shape of one x_t, the model's sample_shape.
        draw: which of the image's restorations.
        seed: the run's seed.
        label: sets different tasks on one image apart, e.g. the name of a mask.

    Yields:
        float64 (n, *shape) on the CPU.

    Source: Follows METHODS 0.7 (noise from run seed, digest and draw), with a label beside the draw.
    """
    pixels = images.detach().to(device="cpu", dtype=torch.float32).numpy()
    task = f"{draw}|{label}|".encode()
    streams = [noise_stream("restoration", seed, task + image_digest(image)) for image in pixels]
    while True:
        yield torch.from_numpy(np.stack([stream.standard_normal(tuple(shape)) for stream in streams]))


@final
class _Path:
    """What the routines share: checked input, the steps, and the part that is put back."""

    def __init__(
        self,
        model: Denoiser,
        known: Tensor,
        mask: Tensor | Projection,
        timesteps: Sequence[int],
        noise: Iterable[Tensor],
        conditioning: Conditioning | None,
    ) -> None:
        self.model, self._conditioning = model, conditioning
        if tuple(known.shape[1:]) != tuple(model.sample_shape):
            raise UsageError(f"`known` must have shape (n, {model.sample_shape}), got {tuple(known.shape)}.")
        times = [int(t) for t in timesteps]
        if not times or any(b >= a for a, b in pairwise(times)):
            raise UsageError(f"`timesteps` must be decreasing and not empty, got {times}.")
        points = [*(model.schedule.at(t) for t in times), model.schedule.final]
        self.steps = list(zip(times, points[:-1], points[1:], strict=True))
        """(timestep, its alpha and sigma, those of the result) of every step."""
        known = self._here(known)
        if isinstance(mask, Tensor):
            m = self._here(check_mask(mask, known.shape))
            # `where` and not a product: a NaN or infinity in a hidden place must not enter.
            self.project: Projection = lambda x: torch.where(m > 0, x, torch.zeros_like(x))
        else:
            self.project = mask
        self.shape = tuple(known.shape)
        self.known = self.project(known)
        self._noise = iter(noise)

    def _here(self, x: Tensor) -> Tensor:
        return x.to(device=self.model.device, dtype=self.model.dtype)

    def eps(self, x: Tensor, timestep: int) -> Tensor:
        """The predicted noise."""
        return self.model.predict_eps(x, timestep, self._conditioning)

    def draw(self) -> Tensor:
        """The next noise tensor."""
        drawn = next(self._noise, None)
        if drawn is None or tuple(drawn.shape) != self.shape:
            got = "an end of the iterable" if drawn is None else str(tuple(drawn.shape))
            raise UsageError(f"`noise` must give tensors of shape {self.shape}, got {got}. Use restoration_noise(...).")
        return self._here(drawn)

    def begin(self, start: Tensor | None) -> Tensor:
        """The state at the first timestep."""
        if start is None:
            _, (_, sigma), _ = self.steps[0]
            return sigma * self.draw()
        if tuple(start.shape) != self.shape:
            raise UsageError(f"`start` must have shape {self.shape}, got {tuple(start.shape)}.")
        return self._here(start)

    def replace(self, x: Tensor, part: Tensor) -> Tensor:
        """X with the projection of `part` in place of its own."""
        return x - self.project(x) + self.project(part)


@final
class Routine:
    """A way of restoring: a walk over a path, with the arguments, checks and documentation that all of them share."""

    def __init__(self, walk: Callable[..., Tensor]) -> None:
        self._walk = walk
        update_wrapper(self, walk)
        own, shared = inspect.signature(walk).parameters, inspect.signature(Routine.__call__).parameters
        self.__signature__ = inspect.Signature([*list(shared.values())[1:-1], *list(own.values())[2:]])
        head, source = inspect.cleandoc(walk.__doc__ or "").split("Source:")
        _, arguments = inspect.cleandoc(Routine.__call__.__doc__ or "").split("Args:")
        self.__doc__ = f"{head}Args:{arguments}\n\nSource:{source}"

    @torch.no_grad()
    def __call__(
        self,
        model: Denoiser,
        known: Tensor,
        mask: Tensor | Projection,
        *,
        timesteps: Sequence[int],
        noise: Iterable[Tensor],
        start: Tensor | None = None,
        conditioning: Conditioning | None = None,
        **own: int,
    ) -> Tensor:
        """Restore images that are hidden in part; every routine does so.

        Args:
            model: the denoiser.
            known: (n, *model.sample_shape) in the model's space, right where the mask is 1.
            mask: 1 known, 0 hidden, or a projection (see the contract of restoration.routines).
            timesteps: decreasing indices to visit, e.g. `model.schedule.sampling_timesteps(50)`.
            noise: z of the start sigma_T z (not taken where `start` is given), then what the routine says.
            start: (n, *model.sample_shape) at the noise level of timesteps[0], e.g. from `ddim_invert`.
            conditioning: what `model.condition(...)` returned, or None.
            **own: the routine's own parameters.

        Returns:
            (n, *model.sample_shape), equal to `known` where the mask is 1.

        Raises:
            UsageError: shapes do not fit, a mask is not of zeros and ones or has no known or no hidden part, timesteps
                do not decrease, the noise ran out, or a parameter of its own is out of range.
        """
        path = _Path(model, known, mask, timesteps, noise, conditioning)
        return path.replace(self._walk(path, path.begin(start), **own), path.known)


@Routine
def restore_ddim(path: _Path, x: Tensor) -> Tensor:
    """Restore by deterministic steps; after each the known part is replaced by its noised self.

    The known part is put at the noise level of the step's RESULT, always with the same noise e, taken after the start.
    (At the level one comes from, the usual mistake, it never fits the part around it.)

    Source: Implements METHODS 2.1, `restore_ddim` (replacement as in Song et al. 2021, "Score-based generative
    modeling", section 5, with DDIM steps).
    """
    e = path.draw()
    for t, source, target in path.steps:
        x = ddim_step(x, path.eps(x, t), source, target)
        x = path.replace(x, target[0] * path.known + target[1] * e)
    return x


@Routine
def restore_ddnm(path: _Path, x: Tensor) -> Tensor:
    """Restore by deterministic steps in which the predicted clean image is corrected, not the state.

    `x0hat <- P known + (1 - P) x0hat; eps = (x - alpha_t x0hat) / sigma_t; x = alpha_s x0hat + sigma_s eps`. For a
    degradation y = A x, P = A^+ A and `known` = A^+ y is the null-space correction of the paper. Takes no noise after
    the start.

    Source: Follows Wang et al. 2023 (DDNM), Eq. 13-14 in the form of METHODS 2.1, except that the steps are
    deterministic (eta = 0) and there is no time travel.
    """
    for t, source, target in path.steps:
        x0 = path.replace(x0_from_eps(path.eps(x, t), x, *source), path.known)
        x = target[0] * x0 + target[1] * (x - source[0] * x0) / source[1]
    return x


@Routine
def restore_repaint(path: _Path, x: Tensor, *, repeats: int = REPEATS, jump: int = JUMP) -> Tensor:
    """Restore by ancestral steps with fresh noise for the known part, walking every stretch of the path several times.

    After `jump` steps the state is noised back by `jump` steps and walked again, `repeats` times in all (1 is
    replacement without resampling), so that the hidden part can adapt to the known one; the last stretch may be
    shorter. Network evaluations: len(timesteps) * repeats. Noise is taken for each step and for its known part, and
    once for each jump back.

    Source: Follows Lugmayr et al. 2022 (RePaint), Algorithm 1, in the form of METHODS 2.1, except that jumps are
    counted in sampling steps from the noisy end and the last stretch is repeated like the others.
    """
    for name, value in (("repeats", repeats), ("jump", jump)):
        if value < 1:
            raise UsageError(f"`{name}` must be at least 1, got {value!r}.")
    for first in range(0, len(path.steps), jump):
        stretch = path.steps[first : first + jump]
        for again in range(repeats):
            if again:
                x = _noise_back(x, path.draw(), stretch[-1][2], stretch[0][1])
            for t, source, target in stretch:
                x = ancestral_step(x, path.eps(x, t), path.draw(), source, target)
                x = path.replace(x, target[0] * path.known + target[1] * path.draw())
    return x


def ancestral_step(x: Tensor, eps: Tensor, z: Tensor, source: Point, target: Point, eta: float = 1.0) -> Tensor:
    """Move x from (alpha, sigma) `source` to a less noisy `target`, with fresh noise z; eta = 1 is DDPM.

    Source: Implements METHODS 0.4, "ancestral noise"; Song, Meng and Ermon 2021 (DDIM), Eq. 12 and 16.
    """
    (a_t, s_t), (a_s, s_s) = source, target
    w = eta * s_s * math.sqrt(max(0.0, 1.0 - (a_t / a_s) ** 2 * (s_s / s_t) ** 2))
    return a_s * x0_from_eps(eps, x, a_t, s_t) + math.sqrt(max(0.0, s_s**2 - w**2)) * eps + w * z


def check_mask(mask: Tensor, like: Sequence[int], name: str = "mask", *, first: int = 0) -> Tensor:
    """A mask of images of the shape `like` as float64 zeros and ones; messages count images from `first`.

    Raises:
        UsageError: another shape (nothing is broadcast over images, height or width), other values, or an image with
            no known or no hidden part.
    """
    n, channels, height, width = like
    allowed = {(n, 1, height, width), (n, channels, height, width)}
    if tuple(mask.shape) not in allowed:
        raise UsageError(
            f"`{name}` must have shape (n, 1 or channels, height, width) for {tuple(like)}, got {tuple(mask.shape)}. "
            "Give one mask an image, channels first."
        )
    values = mask.detach().to(torch.float64)
    if not bool(((values == 0) | (values == 1)).all()):
        low, high = float(values.min()), float(values.max())
        raise UsageError(f"`{name}` must hold zeros and ones only, got values in [{low:g}, {high:g}]. Threshold it.")
    known = values.flatten(1).mean(1)
    for share, what in ((1.0, "hides nothing"), (0.0, "shows nothing")):
        if bool((known == share).any()):
            which = first + int((known == share).nonzero()[0])
            raise UsageError(
                f"`{name}` must show a part of every image and hide a part, got one that {what} for image {which}. "
                "Change it, or leave the image out of members and non-members alike."
            )
    return values


def _noise_back(x: Tensor, z: Tensor, source: Point, target: Point) -> Tensor:
    """X at a noisier level by the forward process: what one jump back does."""
    ratio = target[0] / source[0]
    return ratio * x + math.sqrt(max(0.0, target[1] ** 2 - ratio**2 * source[1] ** 2)) * z
