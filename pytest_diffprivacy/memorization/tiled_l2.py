"""Tiled distance: whether the prompt gives the same picture whatever the noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.distances.pixels import GRID4, pairwise_tiled_l2
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.memorization.detector import detector
from pytest_diffprivacy.memorization.observation import Arrays, Observation, Observed, Seen, last_step
from pytest_diffprivacy.methods import Access

Reduction = Literal["mean", "median", "min"]


@detector(
    title="Tiled distance between generations",
    access=Access.GREY_BOX,
    source="Carlini et al. 2023, section 4.2; the mean over pairs is ours",
    version=1,
    least_images=2,
)
def tiled_l2(*, reduction: Reduction = "mean", tile: int | str = GRID4) -> Observation:
    """Score prompts by minus the tiled RMS distance between their generations, at most 0.

    The distance of two generations is that of their most different tile, so two pictures that share only a background
    are not called equal.

    Args:
        reduction: how the distances of the pairs become one number, "mean", "median" or "min"; no paper says.
        tile: "grid4" for a quarter of each side, or the side in pixels.

    Source: Implements the distance of Carlini et al. 2023, section 4.2, as a score of prompts (METHODS 4.6).
    """
    if reduction not in get_args(Reduction):
        raise UsageError(f"`reduction` must be one of {', '.join(get_args(Reduction))}, got {reduction!r}.")
    reduce: Any = {"mean": np.mean, "median": np.median, "min": np.min}[reduction]

    def decoded(step: Seen) -> Mapping[str, Tensor]:
        return {"images": step.model.decode(step.x_next)}

    return Observation(
        at=last_step,
        observe=decoded,
        formula=lambda arrays: -reduce(pair_distances(arrays["images"], tile), axis=1),
        kept=_as_received,
    )


tiled_l2_scores = tiled_l2.scores


def pair_distances(images: NDArray[np.uint8], tile: int | str = GRID4) -> NDArray[np.float64]:
    """Tiled distances of every pair of images (prompts, images, channels, height, width): float64 (prompts, pairs)."""
    first, second = np.triu_indices(images.shape[1], 1)
    pixels = images.astype(np.float32) / np.float32(255.0)
    return np.stack([pairwise_tiled_l2(rows, tile=tile)[first, second] for rows in pixels])


def _as_received(observed: Observed) -> Arrays:
    """The generations as 8-bit images, as a user receives them; NaN would become some colour, so it is passed on."""
    (images,) = observed["images"]
    pixels = images.double().cpu()
    finite = bool(pixels.isfinite().all())
    return {"images": (pixels.clamp(0.0, 1.0) * 255.0).round().numpy().astype(np.uint8) if finite else pixels.numpy()}
