"""How is a pixel-space diffusers pipeline audited? A UNet2DModel and its scheduler behind the access protocols."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.adapters import AdapterGuard, adapter_facts, base_tensors
from pytest_diffprivacy.models.codec import PixelCodec
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.derivatives import forward_jvp
from pytest_diffprivacy.models.families.family import each_row
from pytest_diffprivacy.models.identity import network_identity, public, weights_digest
from pytest_diffprivacy.models.labels import LABELS, ClassLabels
from pytest_diffprivacy.models.noise import sampler_seed, start_noise
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.models.sampler import walk
from pytest_diffprivacy.models.scheduler import parametrization_of, schedule_of


@final
class PixelDiffusion:
    """A diffusers UNet2DModel with its scheduler; satisfies Generator and WhiteBoxDenoiser.

    Args:
        unet: a diffusers UNet2DModel, unconditional or class-conditional; put in eval mode, its weights frozen.
        scheduler: the diffusers scheduler that it was trained with: one with `alphas_cumprod` (DDPM, DDIM and
            relatives), of rectified flow (FlowMatchEuler), or with EDM preconditioning (EDMEuler). It draws the
            generations, too.
        name: what records call it.
        null_label: the class index trained as "no class", if there is one.
        pipeline: a ConsistencyModelPipeline whose own call draws the generations; None: the steps of a DDPMPipeline or
            DDIMPipeline do, which takes no start noise and is therefore not called itself.
        device: where to run; the network's own by default.
        dtype: precision to run in; the network's own by default.

    Generations are those of the scheduler as it is, stochastic or clipped where it is so. Everything else is asked on
    its noise schedule, never clipped. A consistency function is asked as a denoiser at the noise levels it was trained
    on: its clean image is one that could be there, no mean of all.
    """

    def __init__(
        self,
        unet: Any,
        scheduler: Any,
        *,
        name: str = "pixel diffusion",
        null_label: int | None = None,
        pipeline: Any = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.schedule = schedule_of(scheduler)
        self._scheduler = scheduler
        self._parametrization = parametrization_of(scheduler)
        classes = _number_of_classes(unet)
        if null_label is not None and (classes is None or not 0 <= null_label < classes):
            raise ModelError(f"`null_label` must be one of the model's {classes} classes, got {null_label!r}.")
        parts = {"unet": unet}
        facts = adapter_facts(parts)
        configuration = {
            "unet": dict(unet.config),
            "scheduler": dict(scheduler.config),
            "null_label": null_label,
        } | ({"adapters": facts} if facts else {})
        digest = weights_digest(base_tensors(unet), public(configuration))
        self._adapters = AdapterGuard(parts, name)
        unet = unet if device is None else unet.to(device)
        if dtype is not None:
            torch.nn.Module.to(
                unet, dtype
            )  # diffusers' own `to` warns of layers kept in float32, of which there are none
        self._unet = unet.eval().requires_grad_(False)
        parameter = next(self._unet.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self._labels = ClassLabels(classes, null_label, self.device)
        self._pipeline = copy.copy(pipeline)
        if self._pipeline is not None:
            self._pipeline.set_progress_bar_config(disable=True)
        self.image_shape = _image_shape(unet)
        self.sample_shape: tuple[int, ...] = self.image_shape
        self._codec = PixelCodec(self.image_shape, self.device, self.dtype)
        self.identity = network_identity(
            name,
            f"pixel diffusion, {self._parametrization.name}",
            digest,
            [self._unet],
            dtype=self.dtype,
            device=self.device,
            adapters=self._adapters.loaded,
        )

    @property
    def network(self) -> torch.nn.Module:
        """The denoising network."""
        network: torch.nn.Module = self._unet
        return network

    def predict_eps(self, x_t: Tensor, timestep: int, conditioning: Conditioning | None = None) -> Tensor:
        """The noise in x_t, converted from whatever the network predicts; never clipped."""
        self._adapters.check()
        given = self.condition(None, len(x_t)) if conditioning is None else conditioning

        def network(x: Tensor, time: float) -> Tensor:
            # A UNet2DModel rounds a number to a whole one; the times of flow and EDM are none.
            told = time if isinstance(time, int) else each_row(time, x)
            return self._output(x, told, given)[:, : x.shape[1]]  # what follows is the variance that it has learned

        return self._parametrization.eps(network, x_t, timestep, self.schedule)

    def eps_jvp(
        self, x_t: Tensor, timestep: int, tangent: Tensor, conditioning: Conditioning | None = None
    ) -> tuple[Tensor, Tensor]:
        """Eps and J_eps @ tangent in one forward-mode pass."""
        return forward_jvp(lambda x: self.predict_eps(x, timestep, conditioning), x_t, tangent)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """The network's parameters."""
        yield from self._unet.named_parameters()

    def condition(self, prompts: Sequence[Prompt] | None, count: int) -> Conditioning | None:
        """Class labels (count,) for class indices; None for an unconditional model.

        Raises:
            ModelError: prompts for an unconditional model, no prompts and no null label for a conditional one, or an
                index outside the classes.
        """
        return self._labels.condition(prompts, count)

    def encode(self, images: Tensor) -> Tensor:
        """Pixels in [0, 1] to [-1, 1], on the model's device and in its precision.

        Raises:
            ModelError: the images have another size or number of channels than the model.
        """
        return self._codec.encode(images)

    def decode(self, x0: Tensor) -> Tensor:
        """Pixels in [-1, 1] to [0, 1], clamped."""
        return self._codec.decode(x0)

    @torch.no_grad()
    def generate(
        self,
        seeds: Sequence[int],
        *,
        prompts: Sequence[Prompt] | None = None,
        steps: int = 50,
        guidance_scale: float = 1.0,
    ) -> Tensor:
        """Images of the scheduler's own walk, or of the pipeline's call; image i depends on seeds[i], prompts[i] alone.

        Args:
            seeds: one an image; each gives the image's start noise and, for a stochastic scheduler, its later noise.
            prompts: one class index an image; None: the null label, or none for an unconditional model.
            steps: of the scheduler.
            guidance_scale: 1.0, as there is no guidance.

        Returns:
            (n, channels, height, width) in [0, 1] in the model's precision.

        Raises:
            ModelError: guidance other than 1, which needs a text-to-image pipeline.
        """
        if guidance_scale != 1.0:
            raise ModelError(f"`guidance_scale` must be 1.0 for pixel-space models, got {guidance_scale!r}.")
        self._adapters.check()
        told = self.condition(prompts, len(seeds))
        x_T = start_noise(seeds, self.sample_shape).to(device=self.device, dtype=self.dtype)
        if self._pipeline is None:
            keep = str(self._scheduler.config.get("variance_type")).startswith("learned")

            def output(x: Tensor, times: Tensor) -> Tensor:
                predicted = self._output(x, times, told)
                return predicted if keep else predicted[:, : x.shape[1]]

            return self.decode(walk(self._scheduler, output, x_T, steps=steps, seeds=seeds))
        most = int(self._pipeline.scheduler.config.num_train_timesteps)
        if not 1 <= steps <= most:
            raise ModelError(f"`steps` must be between 1 and {most} for this scheduler, got {steps!r}.")
        images: Tensor = self._pipeline(
            batch_size=len(seeds),
            class_labels=None if told is None else told[LABELS].tolist(),
            num_inference_steps=steps,
            latents=x_T,
            generator=[torch.Generator(self.device).manual_seed(sampler_seed(seed)) for seed in seeds],
            output_type="pt",
        ).images
        return images

    def _output(self, x: Tensor, time: int | Tensor, told: Conditioning | None) -> Tensor:
        labels = None if told is None else told[LABELS]
        output: Tensor = self._unet(x, time, class_labels=labels, return_dict=False)[0]
        return output


def _number_of_classes(unet: Any) -> int | None:
    kind, count = unet.config.get("class_embed_type"), unet.config.get("num_class_embeds")
    if kind not in (None, "timestep"):
        raise ModelError(f"`class_embed_type` must be None or 'timestep', got {kind!r}. Wrap the model as a Denoiser.")
    return None if count is None else int(count)


def _image_shape(unet: Any) -> tuple[int, int, int]:
    size, channels = unet.config.get("sample_size"), int(unet.config["in_channels"])
    if size is None:
        raise ModelError("The UNet's configuration has no `sample_size`. Set it to the training resolution.")
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    return channels, height, width
