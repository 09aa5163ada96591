"""PixelDiffusion and ClassToImage: diffusers models whose prompt is a class index, or nothing, behind the protocols."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.adapters import AdapterGuard, adapter_facts, base_tensors
from pytest_diffprivacy.models.codec import LatentCodec, PixelCodec
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.denoising_network import DenoisingNetwork, each_row
from pytest_diffprivacy.models.identity import public, weights_digest
from pytest_diffprivacy.models.noise import sampler_generators, start_noise
from pytest_diffprivacy.models.parts import FrozenPipeline, settle_networks, unet_shape
from pytest_diffprivacy.models.prompts import LABELS, ClassLabels
from pytest_diffprivacy.models.protocols import Prompts
from pytest_diffprivacy.models.scheduler import parametrization_of, schedule_of, walk


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

    Generations are those of the scheduler as it is, stochastic or clipped where it is so. Everything else is evaluated
    on its noise schedule, never clipped. A consistency function is evaluated as a denoiser at the noise levels it was
    trained on: its clean image is one that could be there, no mean of all.
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
        parametrization = parametrization_of(scheduler)
        classes = _number_of_classes(unet)
        if null_label is not None and (classes is None or not 0 <= null_label < classes):
            raise ModelError(
                f"`null_label` must be one of the model's {classes} classes, got {null_label!r}."
                if classes is not None
                else f"`null_label` must be None for a model without classes, got {null_label!r}."
            )
        parts = {"unet": unet}
        digest = weights_digest(base_tensors(unet), _configuration(unet, scheduler, null_label))
        self._guard = AdapterGuard(parts, name)
        settle_networks(parts, device, dtype)
        self.network: torch.nn.Module = unet
        parameter = next(self.network.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self._pipeline = copy.copy(pipeline)
        if self._pipeline is not None:
            self._pipeline.set_progress_bar_config(disable=True)
        self.image_shape = unet_shape(unet.config)
        self.sample_shape: tuple[int, ...] = self.image_shape
        codec = PixelCodec(self.image_shape, self.device, self.dtype)
        self._labels = ClassLabels(classes, null_label, self.device)
        self.condition = self._labels.condition
        part = DenoisingNetwork(
            self.network, self._predict, self.condition, self.schedule, parametrization, codec, self._guard
        )
        self.predict_eps, self.eps_jvp, self.named_parameters = part.predict_eps, part.eps_jvp, part.named_parameters
        self.encode, self.decode = part.codec.encode, part.codec.decode
        family = f"pixel diffusion, {parametrization.name}{self._labels.facts}"
        self.identity = part.identity(name, family, digest, dtype=self.dtype, device=self.device)

    @torch.no_grad()
    def generate(
        self, seeds: Sequence[int], *, prompts: Prompts = None, steps: int = 50, guidance_scale: float = 1.0
    ) -> Tensor:
        """Images of the scheduler's own walk, or of the pipeline's call; image i depends on seeds[i], prompts[i] alone.

        Args:
            seeds: one an image; each gives the image's start noise and, for a stochastic scheduler, its later noise.
            prompts: one class index an image; None: the null label, or none for an unconditional model.
            steps: of the scheduler.
            guidance_scale: of classifier-free guidance, which needs a null label; 1 is none.

        Returns:
            (n, channels, height, width) in [0, 1] in the model's precision.

        Raises:
            ModelError: guidance of a model without a null label, or of a pipeline's own call, which has none.
        """
        self._guard.check()
        if self._pipeline is not None and guidance_scale != 1.0:
            raise ModelError(f"`guidance_scale` must be 1.0 for a consistency model, got {guidance_scale!r}.")
        x_T = start_noise(seeds, self.sample_shape).to(device=self.device, dtype=self.dtype)
        if self._pipeline is None:
            keep = str(self._scheduler.config.get("variance_type")).startswith("learned")
            guided = self._labels.guided(self._output, prompts, len(seeds), guidance_scale)

            def output(x: Tensor, times: Tensor) -> Tensor:
                predicted = guided(x, times)
                return predicted if keep else predicted[:, : x.shape[1]]

            return self.decode(walk(self._scheduler, output, x_T, steps=steps, seeds=seeds))
        conditioning = self.condition(prompts, len(seeds))
        most = int(self._pipeline.scheduler.config.num_train_timesteps)
        if not 1 <= steps <= most:
            raise ModelError(f"`steps` must be between 1 and {most} for this scheduler, got {steps!r}.")
        images: Tensor = self._pipeline(
            batch_size=len(seeds),
            class_labels=None if conditioning is None else conditioning[LABELS].tolist(),
            num_inference_steps=steps,
            latents=x_T,
            generator=sampler_generators(seeds, self.device),
            output_type="pt",
        ).images
        return images

    def _predict(self, x: Tensor, time: float, conditioning: Conditioning | None) -> Tensor:
        # A UNet2DModel rounds a number to a whole one; the times of flow and EDM are none.
        given = time if isinstance(time, int) else each_row(time, x)
        return self._output(x, given, conditioning)[:, : x.shape[1]]  # what follows is the variance that it has learned

    def _output(self, x: Tensor, time: int | Tensor, conditioning: Conditioning | None) -> Tensor:
        labels = None if conditioning is None else conditioning[LABELS]
        output: Tensor = self.network(x, time, class_labels=labels, return_dict=False)[0]
        return output


@final
class ClassToImage:
    """A DiTPipeline; satisfies Generator and WhiteBoxDenoiser. No prompts: the class that was trained as "no class".

    Args:
        pipeline: a diffusers DiTPipeline; its networks are put in eval mode and frozen, nothing else in it is changed.
        name: what records call it.
        device: where to run; the pipeline's own by default.
        dtype: precision to run in; the pipeline's own by default.

    Generations are those of the pipeline's own scheduler, in the steps of the pipeline's own call, which takes no start
    noise and is therefore not called itself.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        name: str = "class to image",
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.schedule = schedule_of(pipeline.scheduler)
        parametrization = parametrization_of(pipeline.scheduler)
        self._frozen = FrozenPipeline(pipeline, name, device=device, dtype=dtype)
        transformer, self._scheduler = pipeline.transformer, pipeline.scheduler
        self.network: torch.nn.Module = transformer
        self.device, self.dtype = transformer.device, transformer.dtype
        config = transformer.config
        latents = int(config.in_channels), int(config.sample_size), int(config.sample_size)
        self.sample_shape: tuple[int, ...] = latents
        codec = LatentCodec(pipeline.vae, latents)
        self.image_shape = codec.image_shape
        classes = int(config.num_embeds_ada_norm)
        self._labels = ClassLabels(classes, classes, self.device)
        self.condition = self._labels.condition
        part = DenoisingNetwork(
            self.network, self._predict, self.condition, self.schedule, parametrization, codec, self._frozen.guard
        )
        self.decoder_products, self.autoencoder_digest = codec.decoder_products, codec.autoencoder_digest
        self.predict_eps, self.eps_jvp, self.named_parameters = part.predict_eps, part.eps_jvp, part.named_parameters
        self.encode, self.decode = part.codec.encode, part.codec.decode
        family = f"class-conditional latents, {parametrization.name}"
        networks = self._frozen.networks.values()
        self.identity = part.identity(
            name, family, self._frozen.digest, dtype=self.dtype, device=self.device, networks=networks
        )

    @torch.no_grad()
    def generate(
        self, seeds: Sequence[int], *, prompts: Prompts = None, steps: int = 50, guidance_scale: float = 4.0
    ) -> Tensor:
        """Images by the pipeline's own scheduler; image i depends on seeds[i] and prompts[i] alone.

        Args:
            seeds: one an image; each gives the image's start noise and, for a stochastic scheduler, its later noise.
            prompts: one class index an image; None: "no class", without guidance.
            steps: of the pipeline's own scheduler.
            guidance_scale: of classifier-free guidance; 1 is none.

        Returns:
            (n, channels, height, width) in [0, 1] in the model's precision.
        """
        self._frozen.guard.check()
        output = self._labels.guided(self._predict, prompts, len(seeds), guidance_scale)
        x_T = start_noise(seeds, self.sample_shape).to(device=self.device, dtype=self.dtype)
        return self.decode(walk(self._scheduler, output, x_T, steps=steps, seeds=seeds))

    def _predict(self, x: Tensor, time: float | Tensor, conditioning: Conditioning | None) -> Tensor:
        assert conditioning is not None, "the model has classes"
        times = time if isinstance(time, Tensor) else each_row(time, x)
        output: Tensor = self.network(x, timestep=times, class_labels=conditioning[LABELS], return_dict=False)[0]
        return output[:, : x.shape[1]]  # what follows is the variance that it has learned


def _configuration(unet: Any, scheduler: Any, null_label: int | None) -> Any:
    """What a digest holds of a UNet and its scheduler besides weights."""
    facts = adapter_facts({"unet": unet})
    own = {"unet": dict(unet.config), "scheduler": dict(scheduler.config), "null_label": null_label}
    return public(own | ({"adapters": facts} if facts else {}))


def _number_of_classes(unet: Any) -> int | None:
    kind, count = unet.config.get("class_embed_type"), unet.config.get("num_class_embeds")
    if kind not in (None, "timestep"):
        raise ModelError(f"`class_embed_type` must be None or 'timestep', got {kind!r}. Wrap the model as a Denoiser.")
    return None if count is None else int(count)
