"""How is a model audited that is no diffusers pipeline? A function from prompts and seeds to images: a GAN, an API."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.identity import UNKNOWN_DIGEST, ModelIdentity
from pytest_diffprivacy.models.protocols import Prompt

Images: TypeAlias = Tensor | NDArray[np.generic] | Sequence[Tensor | NDArray[np.generic]]
Function: TypeAlias = Callable[[Sequence[Prompt] | None, Sequence[int]], Images]


@final
class CallableGenerator:
    """A function `(prompts, seeds) -> images` as a black-box Generator.

    Args:
        function: prompts (one an image, or None) and seeds (one an image) to images (n, channels, height, width), or a
            list of n images (channels, height, width); float in [0, 1] or uint8. The same seed must give the same
            image, whatever else is in the batch.
        name: what records call it.
        version: names everything that the images depend on, e.g. a release tag or the sha256 of the weights: results
            are then stored and reused under it. None: that is not known, and every run asks the function anew.

    Sampling steps and guidance are the function's own affair: steps are not handed on, guidance is refused.

    Raises:
        ModelError: the name is empty.
    """

    def __init__(self, function: Function, *, name: str, version: str | None) -> None:
        if not name:
            raise ModelError(f"`name` must not be empty, got {name!r}. Records need it.")
        self._function = function
        known = None if version is None else hashlib.sha256(f"{name}|{version}".encode()).hexdigest()
        self.identity = ModelIdentity(
            name=name,
            family="function" if version is None else f"function, version {version}",
            digest=known or UNKNOWN_DIGEST,
            parameters=0,
            dtype="float32",
            device="not known",
            access="black box",
        )

    def generate(
        self,
        seeds: Sequence[int],
        *,
        prompts: Sequence[Prompt] | None = None,
        steps: int = 50,
        guidance_scale: float = 1.0,
    ) -> Tensor:
        """The function's images (n, channels, height, width) in [0, 1].

        Raises:
            ModelError: guidance is asked for, or what the function returns is no batch of images in [0, 1].
        """
        if guidance_scale != 1.0:
            raise ModelError(
                f"`guidance_scale` must be 1.0 for a function, got {guidance_scale!r}. Ask at 1.0 only, as by "
                "PromptSearch(guidance_scales=(1.0,)), and wrap one function for each scale; or write a class that "
                "satisfies models.Generator."
            )
        made = self._function(prompts, seeds)
        if isinstance(made, list | tuple) and made and all(isinstance(one, np.ndarray | Tensor) for one in made):
            made = np.stack([np.asarray(torch.as_tensor(one).detach().cpu()) for one in made])
        if not isinstance(made, np.ndarray | Tensor) or not _real(made):
            raise ModelError(
                f"{self.identity.name} must return a tensor or an array of images (n, channels, height, width), got "
                f"{_described(made)}. A PIL image becomes one by np.asarray(image.convert('RGB')).transpose(2, 0, 1)."
            )
        images = torch.as_tensor(made).detach()
        if images.ndim != 4 or len(images) != len(seeds):
            raise ModelError(
                f"{self.identity.name} must return {len(seeds)} images (n, channels, height, width), got shape "
                f"{tuple(images.shape)}. Return one image for each seed."
            )
        if images.dtype == torch.uint8:
            return images.float() / 255.0
        low, high = float(images.min()), float(images.max())
        if low < 0.0 or high > 1.0:
            raise ModelError(
                f"{self.identity.name} must return images in [0, 1], got [{low:g}, {high:g}]. "
                "Rescale them; (x + 1) / 2 brings [-1, 1] there."
            )
        return images


def _real(images: Tensor | NDArray[np.generic]) -> bool:
    """Whether these are real numbers."""
    return not images.is_complex() if isinstance(images, Tensor) else images.dtype.kind in "fiub"


def _described(made: object) -> str:
    """What kind of thing a function returned."""
    if isinstance(made, np.ndarray | Tensor):
        return f"{made.dtype}"
    if isinstance(made, list | tuple) and made:
        return f"a {type(made).__name__} of {type(made[0]).__name__}"
    return type(made).__name__
