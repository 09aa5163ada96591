"""Tiled distance: does the prompt give the same picture whatever the noise?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, final, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.distances.tiled import GRID4, pairwise_tiled_l2
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.memorization.detector import Arrays, Detector, Needs, Scores, Seen
from pytest_diffprivacy.memorization.run import BATCH_SIZE, Sampling, detector_scores

Reduction = Literal["mean", "median", "min"]
_REDUCTIONS: Mapping[str, Callable[..., Any]] = {"mean": np.mean, "median": np.median, "min": np.min}


def tiled_l2_scores(
    model: object,
    prompts: Sequence[str],
    *,
    reduction: Reduction,
    latents: Tensor | NDArray[Any] | None = None,
    images_per_prompt: int = 4,
    tile: int | str = GRID4,
    sampling_steps: int = 50,
    guidance_scale: float = 7.5,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Scores:
    """Score prompts by minus the tiled RMS distance between their generations.

    The distance of two generations is that of their most different tile, so two pictures that share only a background
    are not called equal.

    Args:
        model: a text-to-image model.
        prompts: texts, none of them empty.
        reduction: how the distances of the pairs become one number; no paper says.
        latents: x_T, (prompts, images, *model.sample_shape); None: drawn from the seed and each prompt.
        images_per_prompt: images a prompt, at least 2; the latents' own if they are given.
        tile: "grid4" for a quarter of each side, or the side in pixels.
        sampling_steps: DDIM steps.
        guidance_scale: of the walk.
        seed: of x_T.
        batch_size: images in one network call.

    Returns:
        float64 (prompts,), at most 0; higher = memorized.

    Raises:
        UsageError: empty prompts, fewer than 2 images, ragged tiles, or another reduction.
        ModelError: the model takes no texts.
        AuditError: the model's output is not finite.

    Source: Implements the distance of Carlini et al. 2023, section 4.2, as a score of prompts (METHODS 4.6).
    """
    return detector_scores(
        TILED_L2, model, prompts, Sampling(images_per_prompt, sampling_steps, guidance_scale, seed),
        latents=latents, batch_size=batch_size, reduction=reduction, tile=tile,
    )  # fmt: skip


def pair_distances(images: NDArray[np.uint8], tile: int | str = GRID4) -> NDArray[np.float64]:
    """Tiled distances of every pair of a prompt's images, float64 (prompts, pairs).

    Args:
        images: (prompts, images, channels, height, width).
        tile: "grid4" for a quarter of each side, or the side in pixels.
    """
    first, second = np.triu_indices(images.shape[1], 1)
    pixels = images.astype(np.float32) / np.float32(255.0)
    return np.stack([pairwise_tiled_l2(rows, tile=tile)[first, second] for rows in pixels])


@final
class Images:
    """The generations as 8-bit images, (rows, channels, height, width), as a user receives them."""

    def __init__(self) -> None:
        self._images: NDArray[np.uint8] | None = None

    def see(self, step: Seen) -> None:
        """Decode x0 after the last step."""
        if step.last:
            pixels = step.model.decode(step.x_next).double()
            # NaN would become some colour, so it is passed on and refused.
            self._images = (pixels * 255.0).round().cpu().numpy() if bool(pixels.isfinite().all()) else pixels.numpy()

    def arrays(self) -> Arrays:
        """The images; only finite ones are 8-bit."""
        assert self._images is not None, "the last step was seen"
        finite = bool(np.isfinite(self._images).all())
        return {"images": self._images.astype(np.uint8) if finite else self._images}


def _needs(sampling_steps: int, *, reduction: Reduction, tile: int | str) -> Needs:
    if reduction not in get_args(Reduction):
        raise UsageError(f"`reduction` must be one of {', '.join(get_args(Reduction))}, got {reduction!r}.")
    return Needs(sampling_steps)


def _scores(arrays: Arrays, *, reduction: Reduction, tile: int | str) -> Scores:
    return np.asarray(-_REDUCTIONS[reduction](pair_distances(arrays["images"], tile), axis=1))


def _observer(*, reduction: Reduction, tile: int | str) -> Images:
    return Images()


def _evaluations(sampling_steps: int, *, reduction: Reduction, tile: int | str) -> int:
    return 2 * sampling_steps


TILED_L2 = Detector(
    name="tiled_l2",
    title="Tiled distance between generations",
    access="grey box",
    source="Carlini et al. 2023, section 4.2; the mean over pairs is ours",
    needs=_needs,
    observer=_observer,
    scores=_scores,
    defaults={"reduction": "mean", "tile": GRID4},
    version=1,
    evaluations=_evaluations,
    least_images=2,
)
