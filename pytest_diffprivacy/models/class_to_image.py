"""How is a class-conditional latent pipeline (DiT) audited? Class indices as prompts, its transformer by protocols."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, final

import torch
from torch import Tensor

from pytest_diffprivacy.models.adapters import AdapterGuard
from pytest_diffprivacy.models.codec import LatentCodec
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.derivatives import forward_jvp
from pytest_diffprivacy.models.families.family import each_row
from pytest_diffprivacy.models.identity import network_identity
from pytest_diffprivacy.models.labels import LABELS, ClassLabels
from pytest_diffprivacy.models.noise import start_noise
from pytest_diffprivacy.models.parts import networks_of, pipeline_digest, settle_networks
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.models.sampler import walk
from pytest_diffprivacy.models.scheduler import parametrization_of, schedule_of


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
        self._parametrization = parametrization_of(pipeline.scheduler)
        digest = pipeline_digest(pipeline)
        self._adapters = AdapterGuard(pipeline.components, name)
        settle_networks(networks_of(pipeline), device, dtype)
        self._network, self._scheduler = pipeline.transformer, pipeline.scheduler
        self.device, self.dtype = self._network.device, self._network.dtype
        config = self._network.config
        latents = int(config.in_channels), int(config.sample_size), int(config.sample_size)
        self.sample_shape: tuple[int, ...] = latents
        self._codec = LatentCodec(pipeline.vae, latents)
        self.image_shape = self._codec.image_shape
        classes = int(config.num_embeds_ada_norm)
        self._labels = ClassLabels(classes, classes, self.device)
        self.identity = network_identity(
            name,
            f"class-conditional latents, {self._parametrization.name}",
            digest,
            [self._network],
            dtype=self.dtype,
            device=self.device,
            adapters=self._adapters.loaded,
        )

    @property
    def network(self) -> torch.nn.Module:
        """The denoising network."""
        network: torch.nn.Module = self._network
        return network

    def predict_eps(self, x_t: Tensor, timestep: int, conditioning: Conditioning | None = None) -> Tensor:
        """The noise in x_t, converted from whatever the network predicts; never clipped."""
        self._adapters.check()
        told = self.condition(None, len(x_t)) if conditioning is None else conditioning

        def network(x: Tensor, time: float) -> Tensor:
            return self._predict(x, each_row(time, x), told)

        return self._parametrization.eps(network, x_t, timestep, self.schedule)

    def eps_jvp(
        self, x_t: Tensor, timestep: int, tangent: Tensor, conditioning: Conditioning | None = None
    ) -> tuple[Tensor, Tensor]:
        """Eps and J_eps @ tangent in one forward-mode pass."""
        return forward_jvp(lambda x: self.predict_eps(x, timestep, conditioning), x_t, tangent)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """The denoising network's parameters."""
        yield from self._network.named_parameters()

    def condition(self, prompts: Sequence[Prompt] | None, count: int) -> Conditioning:
        """Class labels (count,) for class indices.

        Raises:
            ModelError: another number of prompts, or one that is no class.
        """
        told = self._labels.condition(prompts, count)
        assert told is not None, "the model has classes"
        return told

    def encode(self, images: Tensor) -> Tensor:
        """Latents of images in [0, 1]: the autoencoder's posterior mode, scaled."""
        return self._codec.encode(images)

    def decode(self, x0: Tensor) -> Tensor:
        """Images in [0, 1] of latents, clamped."""
        return self._codec.decode(x0)

    @torch.no_grad()
    def generate(
        self,
        seeds: Sequence[int],
        *,
        prompts: Sequence[Prompt] | None = None,
        steps: int = 50,
        guidance_scale: float = 4.0,
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
        self._adapters.check()
        count = len(seeds)
        told = self.condition(prompts, count)
        guided = prompts is not None and guidance_scale > 1.0
        both = Conditioning.joined([told, self.condition(None, count)]) if guided else told

        def output(x: Tensor, times: Tensor) -> Tensor:
            if not guided:
                return self._predict(x, times, told)
            asked = self._predict(torch.cat([x, x]), torch.cat([times, times]), both)
            conditional, unconditional = asked.chunk(2)
            return unconditional + guidance_scale * (conditional - unconditional)

        x_T = start_noise(seeds, self.sample_shape).to(device=self.device, dtype=self.dtype)
        return self.decode(walk(self._scheduler, output, x_T, steps=steps, seeds=seeds))

    def _predict(self, x: Tensor, times: Tensor, told: Conditioning) -> Tensor:
        output: Tensor = self._network(x, timestep=times, class_labels=told[LABELS], return_dict=False)[0]
        return output[:, : x.shape[1]]  # what follows is the variance that it has learned
