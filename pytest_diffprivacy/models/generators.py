"""CallableGenerator and PipelineGenerator: black boxes, prompts and seeds to images, of a function or any pipeline."""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.identity import UNKNOWN_DIGEST, ModelIdentity, Weights, dtype_name
from pytest_diffprivacy.models.noise import sampler_generators
from pytest_diffprivacy.models.parts import FrozenPipeline
from pytest_diffprivacy.models.protocols import Prompt, Prompts
from pytest_diffprivacy.models.refusals import refuse_editing

GIVEN = ("self", "prompt", "args", "kwargs")
Images: TypeAlias = Tensor | NDArray[np.generic] | Sequence[Tensor | NDArray[np.generic]]
Function: TypeAlias = Callable[[Sequence[Prompt] | None, Sequence[int]], Images]


@final
class PipelineGenerator:
    """A diffusers text-to-image pipeline of any kind; satisfies Generator and nothing more.

    For pipelines in which one network makes an image embedding of the prompt and another the image from it (Kandinsky):
    the noise prediction of either says nothing of an image and its prompt together.

    Args:
        pipeline: takes `prompt`, `generator`, `num_inference_steps`, `guidance_scale`, `height`, `width` and
            `output_type="np"`; its networks are put in eval mode and frozen, nothing else in it is changed.
        name: what records call it.
        resolution: pixels a side of the images; the pipeline's default where None.
        device: where to run; the pipeline's own by default.
        dtype: precision to run in; the pipeline's own by default.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        name: str = "pipeline",
        resolution: int | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        refuse_editing(type(pipeline).__name__)
        parameters = inspect.signature(type(pipeline).__call__).parameters
        further = [name for name, one in parameters.items() if name not in GIVEN and one.default is one.empty]
        if "prompt" not in parameters or further:
            lacks = f"it also needs {', '.join(further)}" if further else "it takes no prompt"
            raise ModelError(
                f"`pipeline` must make images of prompts and seeds alone, got a {type(pipeline).__name__}: {lacks}. "
                "Audit the whole text-to-image pipeline, or wrap what makes its images in models.CallableGenerator."
            )
        family = type(pipeline).__name__
        if not any(isinstance(part, torch.nn.Module) for part in pipeline.components.values()):
            raise ModelError(f"`pipeline` must hold networks, got a {family} without any.")
        frozen = self._frozen = FrozenPipeline(
            pipeline, name, facts={"resolution": resolution}, device=device, dtype=dtype
        )
        self._size = {} if resolution is None else {"height": resolution, "width": resolution}
        weights = [weight for network in frozen.networks.values() for weight in network.parameters()]
        count, precision = sum(weight.numel() for weight in weights), dtype_name(weights[0].dtype)
        self._device = weights[0].device
        self.identity = ModelIdentity(
            name, family, frozen.digest, count, precision, self._device.type, "black box", frozen.guard.loaded,
            weights=Weights(frozen.networks.values()),
        )  # fmt: skip

    @torch.no_grad()
    def generate(
        self, seeds: Sequence[int], *, prompts: Prompts = None, steps: int = 50, guidance_scale: float = 4.0
    ) -> Tensor:
        """The pipeline's own images (n, channels, height, width) in [0, 1]; image i depends on seeds[i], prompts[i].

        No prompts: the empty prompt, without guidance.

        Raises:
            ModelError: another number of prompts, or one that is no text.
        """
        self._frozen.guard.check()
        texts = [""] * len(seeds) if prompts is None else list(prompts)
        if len(texts) != len(seeds) or not all(isinstance(text, str) for text in texts):
            raise ModelError(f"`prompts` must be {len(seeds)} texts, one for each seed, got {len(texts)}.")
        with warnings.catch_warnings():
            # Kandinsky's pipeline calls its own decoder with an argument that diffusers has deprecated.
            warnings.filterwarnings("ignore", "`callback_steps` is deprecated", FutureWarning)
            images = self._frozen.call(
                prompt=texts,
                num_inference_steps=steps,
                guidance_scale=1.0 if prompts is None else guidance_scale,
                generator=sampler_generators(seeds, self._device),
                output_type="np",
                **self._size,
            ).images
        return torch.from_numpy(np.ascontiguousarray(np.asarray(images).transpose(0, 3, 1, 2)))


@final
class CallableGenerator:
    """A function `(prompts, seeds) -> images` as a black-box Generator.

    Args:
        function: prompts (one an image, or None) and seeds (one an image) to images (n, channels, height, width), or a
            list of n images (channels, height, width); float in [0, 1] or uint8. The same seed must give the same
            image, whatever else is in the batch.
        name: what records call it.
        version: names everything that the images depend on, e.g. a release tag or the sha256 of the weights: results
            are then stored and reused under it. None: that is not known, and every run calls the function anew.

    Sampling steps and guidance are the function's own affair: steps are not handed on, guidance is refused.

    Raises:
        ModelError: the name is empty.
    """

    def __init__(self, function: Function, *, name: str, version: str | None) -> None:
        if not name:
            raise ModelError(f"`name` must not be empty, got {name!r}. Records need it.")
        self._function = function
        family, digest = "function", UNKNOWN_DIGEST
        if version is not None:
            family = f"function, version {version}"
            digest = hashlib.sha256(f"{name}|{version}".encode()).hexdigest()
        self.identity = ModelIdentity(name, family, digest, 0, "float32", "not known", "black box")

    def generate(
        self, seeds: Sequence[int], *, prompts: Prompts = None, steps: int = 50, guidance_scale: float = 1.0
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
