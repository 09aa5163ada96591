"""Which prompts are mitigations compared on? Different texts, each with its training images where they are left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.mitigation.compare import ComparedPrompts


def compared_prompts(
    prompts: Sequence[str],
    training_images: Sequence[ArrayLike | None],
    other_prompts: Sequence[str],
    shape: tuple[int, int, int] | None,
) -> ComparedPrompts:
    """The prompts of `compare_mitigations`, whose arguments these are.

    Args:
        prompts: that bring training images back.
        training_images: one or several for each of them, or None.
        other_prompts: that are not memorized.
        shape: (channels, height, width) of the model's images; None while an audit is planned: not known.

    Raises:
        UsageError: a prompt twice, images of another shape or range, or none at all.
    """
    if isinstance(prompts, str) or isinstance(other_prompts, str):
        raise UsageError(
            "`prompts` and `other_prompts` must be lists of texts, got one text. Put it into a list of its own."
        )
    if len(prompts) != len(training_images) or not len(prompts):
        raise UsageError(
            f"`training_images` must be one for each prompt, at least one, got {len(training_images)} for "
            f"{len(prompts)}. Pass None where a training image is gone."
        )
    everything = [*prompts, *other_prompts]
    if len(set(everything)) != len(everything):
        twice = next(prompt for prompt in everything if everything.count(prompt) > 1)
        raise UsageError(f"`prompts` and `other_prompts` must be different texts, got {twice!r} more than once.")
    kept = [
        (p, _images(p, image, shape)) for p, image in zip(prompts, training_images, strict=True) if image is not None
    ]
    if not kept:
        raise UsageError("`training_images` must hold at least one image, got None for every prompt.")
    return ComparedPrompts(
        tuple(p for p, _ in kept), tuple(i for _, i in kept), tuple(other_prompts), len(prompts) - len(kept)
    )


def _images(prompt: str, image: ArrayLike, shape: tuple[int, int, int] | None) -> NDArray[np.float32]:
    array = np.asarray(image, dtype=np.float32)
    array = array[None] if array.ndim == 3 else array
    if (
        (shape is not None and array.shape[1:] != shape)
        or not len(array)
        or not (array.min() >= 0.0 and array.max() <= 1.0)
    ):
        raise UsageError(
            f"`training_images` must have the model's shape {shape} with values in [0, 1], got {array.shape} for "
            f"{prompt!r}. Resize and rescale them as the training pipeline did."
        )
    return array
