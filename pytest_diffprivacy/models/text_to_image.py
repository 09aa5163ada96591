"""How is a text-to-image pipeline audited? Its own generations, and its network behind the access protocols."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.adapters import AdapterGuard
from pytest_diffprivacy.models.attention import watch_cross_attention
from pytest_diffprivacy.models.codec import LatentCodec
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.derivatives import forward_jvp
from pytest_diffprivacy.models.families import family_of
from pytest_diffprivacy.models.identity import network_identity
from pytest_diffprivacy.models.noise import sampler_seed, start_noise
from pytest_diffprivacy.models.parts import (
    networks_of,
    pipeline_digest,
    refuse_incomplete,
    settle_networks,
    without_capture,
)
from pytest_diffprivacy.models.prompts import PromptEncoder
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.models.sampler import check_steps
from pytest_diffprivacy.models.scheduler import parametrization_of, schedule_of


@final
class TextToImage:
    """A text-to-image pipeline of one of the FAMILIES; satisfies Generator, WhiteBoxDenoiser and PromptedDenoiser.

    It satisfies CrossAttention as well where positions meet the tokens of CLIP in layers of their own: not where image
    and text are one sequence (Stable Diffusion 3, Flux), nor where tokens are T5's (PixArt).

    Args:
        pipeline: a diffusers pipeline; its networks are put in eval mode and frozen, nothing else in it is changed.
        name: what records call it.
        resolution: pixels a side of the images that are audited and generated; the pipeline's own by default.
        device: where to run; the pipeline's own by default.
        dtype: precision to run in; the pipeline's own by default.

    Generations are the pipeline's own, with its own scheduler. Every other question is asked of the network on the
    scheduler's noise schedule; where a trajectory is needed it is walked by deterministic DDIM. A network that is told
    the guidance scale (Flux, latent consistency) is told 1, no guidance, wherever guidance is not asked for.

    Raises:
        ModelError: the pipeline is of no family, or is made for another task.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        name: str = "text to image",
        resolution: int | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        family = family_of(pipeline)
        if family is None:
            raise ModelError(f"`pipeline` must be a text-to-image pipeline, got {type(pipeline).__name__}.")
        family.check(pipeline)
        refuse_incomplete(pipeline, family.left_out)
        self._family = family
        self.schedule = schedule_of(pipeline.scheduler)
        self._parametrization = parametrization_of(pipeline.scheduler)
        digest = pipeline_digest(pipeline, family.left_out, settings=family.settings, resolution=resolution)
        self._adapters = AdapterGuard(pipeline.components, name)
        settle_networks(networks_of(pipeline, family.left_out), device, dtype)
        # A shallow copy shares every part; only its progress bar is not the user's.
        self._pipeline = copy.copy(pipeline)
        self._pipeline.set_progress_bar_config(disable=True)
        self._network = getattr(pipeline, family.network)
        self.device, self.dtype = self._network.device, self._network.dtype
        latents = _at_resolution(family.latents(pipeline), pipeline, self._network, resolution)
        self.sample_shape: tuple[int, ...] = latents
        self._codec = LatentCodec(pipeline.vae, latents)
        self.image_shape = self._codec.image_shape
        self._fixed = {
            name: tensor.to(self.device) for name, tensor in family.fixed(pipeline, self.image_shape[1:]).items()
        }
        self._zeros = family.zeros(pipeline)
        tokenizer, limit = family.reader(pipeline)
        convert = getattr(pipeline, "maybe_convert_prompt", None)
        self._prompts = PromptEncoder(tokenizer, limit, partial(family.embed, pipeline), convert)
        self.sampler = type(pipeline.scheduler).__name__
        self.substitute = family.substitute
        if family.maps:  # an attribute and no method: without it, the model does not satisfy CrossAttention
            self.cross_attention = partial(watch_cross_attention, self._network)
        self.identity = network_identity(
            name,
            f"{family.name}, {self._parametrization.name}{', guidance-distilled' if family.substitute else ''}",
            digest,
            [self._network],
            dtype=self.dtype,
            device=self.device,
            adapters=self._adapters.loaded,
        )

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs."""
        without_capture(networks_of(self._pipeline, self._family.left_out))
        return self.__dict__

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
            return self._family.predict(self._network, x, time, told)

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
        """What the network is told of texts: embeddings (count, tokens, width) and what else the family needs.

        No prompts: the unconditional branch of the pipeline's guidance for each row, the encoded empty prompt or zeros.

        Raises:
            ModelError: a prompt that is no text, or another number of prompts.

        Warns:
            PromptTruncated: a prompt is longer than the text encoder takes.
        """
        self._adapters.check()
        if prompts is None:
            empty = self._prompts.encode([""])
            if self._zeros:
                empty = Conditioning({name: torch.zeros_like(tensor) for name, tensor in empty.items()})
            return self._complete(empty).repeated(count)
        if len(prompts) != count:
            raise ModelError(f"`prompts` must be {count} texts, one for each row, got {len(prompts)}.")
        return self._complete(self._prompts.encode(prompts))

    @property
    def token_limit(self) -> int:
        """Tokens that the text encoder takes, start and end token included; of the longest where there are several."""
        return self._prompts.limit

    def token_counts(self, prompts: Sequence[Prompt]) -> list[int]:
        """Tokens of each prompt with its start and end token."""
        return self._prompts.counts(prompts)

    @property
    def vocabulary(self) -> list[str]:
        """The text of every token of the tokenizer that is no special one."""
        return self._prompts.vocabulary

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
        guidance_scale: float = 7.5,
        negative_prompt: str | None = None,
    ) -> Tensor:
        """The pipeline's own images; image i depends on seeds[i] and prompts[i] alone.

        Args:
            seeds: one an image; each gives the image's start noise and, for a stochastic scheduler, its later noise.
            prompts: one text an image; None: the unconditional branch, without guidance.
            steps: of the pipeline's own scheduler.
            guidance_scale: of classifier-free guidance, 1 is none; or what a guidance-distilled network is told.
            negative_prompt: what guidance leads away from; None: the unconditional branch.

        Returns:
            (n, channels, height, width) in [0, 1] in the model's precision.

        Raises:
            ModelError: a negative prompt for a network that guidance was distilled into.
            UsageError: the scheduler does not go so many steps.
        """
        self._adapters.check()
        check_steps(self._pipeline.scheduler, steps)
        count = len(seeds)
        if negative_prompt is not None and self.substitute:
            raise ModelError(
                f"`negative_prompt` must be None for {self._family.name}, got {negative_prompt!r}: {self.substitute}."
            )
        latents = start_noise(seeds, self.sample_shape).to(device=self.device, dtype=self.dtype)
        guided = prompts is not None and guidance_scale > 1.0
        away = None
        if guided and not self.substitute:
            away = self.condition(None if negative_prompt is None else [negative_prompt] * count, count)
        images: Tensor = self._pipeline(
            **self._family.arguments(self.condition(prompts, count), away, guidance_scale if guided else 1.0),
            height=self.image_shape[1],
            width=self.image_shape[2],
            num_inference_steps=steps,
            latents=self._family.pack(latents),
            generator=[torch.Generator(self.device).manual_seed(sampler_seed(seed)) for seed in seeds],
            output_type="pt",
        ).images
        return images

    def _complete(self, told: Conditioning) -> Conditioning:
        """With what the family tells of every image."""
        rows = {name: tensor.expand(len(told), *tensor.shape[1:]) for name, tensor in self._fixed.items()}
        return Conditioning({**dict(told.items()), **rows})


def _at_resolution(
    latents: tuple[int, int, int], pipeline: Any, network: Any, resolution: int | None
) -> tuple[int, int, int]:
    """The latent shape at a resolution that autoencoder, patches and table of positions can hold."""
    if resolution is None:
        return latents
    factor = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    # Flux packs patches of two by two itself: its `patch_size` is 1.
    patch = 2 if "_pack_latents" in dir(pipeline) else int(network.config.get("patch_size") or 1)
    if resolution < factor * patch or resolution % (factor * patch):
        raise ModelError(f"`resolution` must be a multiple of {factor * patch} pixels, got {resolution!r}.")
    places = network.config.get("pos_embed_max_size")
    if places is not None and resolution > factor * patch * int(places):
        raise ModelError(
            f"`resolution` must be at most {factor * patch * int(places)} pixels for this network, got {resolution!r}."
        )
    return latents[0], resolution // factor, resolution // factor
