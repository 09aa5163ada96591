"""How is a pipeline audited whose network cannot be asked alone? As a black box: prompts and seeds in, images out."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.adapters import AdapterGuard
from pytest_diffprivacy.models.identity import network_identity
from pytest_diffprivacy.models.noise import sampler_seed
from pytest_diffprivacy.models.parts import networks_of, pipeline_digest, settle_networks, without_capture
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.models.refusals import refuse_editing

GIVEN = ("self", "prompt", "args", "kwargs")


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
        networks = networks_of(pipeline)
        if not networks:
            raise ModelError(f"`pipeline` must hold networks, got a {type(pipeline).__name__} without any.")
        digest = pipeline_digest(pipeline, resolution=resolution)
        self._adapters = AdapterGuard(pipeline.components, name)
        settle_networks(networks, device, dtype)
        # A shallow copy shares every part; only its progress bar is not the user's.
        self._pipeline = copy.copy(pipeline)
        self._pipeline.set_progress_bar_config(disable=True)
        self._size = {} if resolution is None else {"height": resolution, "width": resolution}
        parameter = next(next(iter(networks.values())).parameters())
        self._device = parameter.device
        self.identity = network_identity(
            name,
            type(pipeline).__name__,
            digest,
            networks.values(),
            dtype=parameter.dtype,
            device=parameter.device,
            access="black box",
            adapters=self._adapters.loaded,
        )

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs."""
        without_capture(networks_of(self._pipeline))
        return self.__dict__

    @torch.no_grad()
    def generate(
        self,
        seeds: Sequence[int],
        *,
        prompts: Sequence[Prompt] | None = None,
        steps: int = 50,
        guidance_scale: float = 4.0,
    ) -> Tensor:
        """The pipeline's own images (n, channels, height, width) in [0, 1]; image i depends on seeds[i], prompts[i].

        No prompts: the empty prompt, without guidance.

        Raises:
            ModelError: another number of prompts, or one that is no text.
        """
        self._adapters.check()
        texts = [""] * len(seeds) if prompts is None else list(prompts)
        if len(texts) != len(seeds) or not all(isinstance(text, str) for text in texts):
            raise ModelError(f"`prompts` must be {len(seeds)} texts, one for each seed, got {len(texts)}.")
        with warnings.catch_warnings():
            # Kandinsky's pipeline calls its own decoder with an argument that diffusers has deprecated.
            warnings.filterwarnings("ignore", "`callback_steps` is deprecated", FutureWarning)
            images = self._pipeline(
                prompt=texts,
                num_inference_steps=steps,
                guidance_scale=1.0 if prompts is None else guidance_scale,
                generator=[torch.Generator(self._device).manual_seed(sampler_seed(seed)) for seed in seeds],
                output_type="np",
                **self._size,
            ).images
        return torch.from_numpy(np.ascontiguousarray(np.asarray(images).transpose(0, 3, 1, 2)))
