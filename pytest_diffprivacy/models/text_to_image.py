"""TextToImage: a diffusers text-to-image pipeline, its own generations and its network behind the access protocols."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.attention import watch_cross_attention
from pytest_diffprivacy.models.codec import LatentCodec
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.denoising_network import DenoisingNetwork
from pytest_diffprivacy.models.families import family_of
from pytest_diffprivacy.models.families.family import Family, Size
from pytest_diffprivacy.models.noise import sampler_generators, start_noise
from pytest_diffprivacy.models.parts import FrozenPipeline, refuse_incomplete
from pytest_diffprivacy.models.prompts import PromptEncoder
from pytest_diffprivacy.models.protocols import Prompts
from pytest_diffprivacy.models.scheduler import check_steps, parametrization_of, schedule_of


@final
class TextToImage:
    """A text-to-image pipeline of one of the FAMILIES; satisfies Generator, WhiteBoxDenoiser and PromptedDenoiser.

    It satisfies CrossAttention as well where positions meet the tokens of CLIP in layers of their own: not where image
    and text are one sequence (Stable Diffusion 3, Flux), nor where tokens are T5's (PixArt).

    Args:
        pipeline: a diffusers pipeline; its networks are put in eval mode and frozen, nothing else in it is changed.
        name: what records call it.
        resolution: pixels a side of the images that are audited and generated; the pipeline's own by default.
        clip_skip: layers of CLIP that are left out at its end, as diffusers counts them ("clip skip 2" of other
            programs is 1); none by default.
        device: where to run; the pipeline's own by default.
        dtype: precision to run in; the pipeline's own by default.

    Generations are the pipeline's own, with its own scheduler. Everything else is evaluated on the scheduler's
    noise schedule; where a trajectory is needed it is walked by deterministic DDIM. A network that takes the guidance
    scale (Flux, latent consistency) is given 1, no guidance, wherever guidance is not asked for.

    Raises:
        ModelError: the pipeline is of no family, or is made for another task.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        name: str = "text to image",
        resolution: int | None = None,
        clip_skip: int | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        family = family_of(pipeline)
        if family is None:
            raise ModelError(f"`pipeline` must be a text-to-image pipeline, got {type(pipeline).__name__}.")
        family.check(pipeline)
        refuse_incomplete(pipeline, family.left_out)
        _check_skip(clip_skip, family, pipeline)
        self._family = family
        self.schedule = schedule_of(pipeline.scheduler)
        parametrization = parametrization_of(pipeline.scheduler)
        self._frozen = FrozenPipeline(
            pipeline,
            name,
            left_out=family.left_out,
            facts={**family.facts(pipeline), "resolution": resolution, "clip_skip": clip_skip},
            device=device,
            dtype=dtype,
        )
        network = getattr(pipeline, family.network)
        self.network: torch.nn.Module = network
        self.device, self.dtype = network.device, network.dtype
        latents = _at_resolution(family.latents(pipeline), pipeline, network, resolution)
        self.sample_shape: tuple[int, ...] = latents
        codec = LatentCodec(pipeline.vae, latents, upcast=family.upcasts)
        self.image_shape = codec.image_shape
        prompts = self._prompts = _prompt_encoder(family, pipeline, self.image_shape[1:], self.device, clip_skip)
        self.token_limit, self.token_counts = prompts.limit, prompts.counts
        self.sampler, self.substitute = type(pipeline.scheduler).__name__, family.substitute
        if family.maps:  # without this attribute, the model does not satisfy CrossAttention
            self.cross_attention = partial(watch_cross_attention, network)
        part = DenoisingNetwork(
            network, self._predict, self.condition, self.schedule, parametrization, codec, self._frozen.guard
        )
        self.decoder_products, self.autoencoder_digest = codec.decoder_products, codec.autoencoder_digest
        self.predict_eps, self.eps_jvp, self.named_parameters = part.predict_eps, part.eps_jvp, part.named_parameters
        self.encode, self.decode = part.codec.encode, part.codec.decode
        kind = f"{family.name}, {parametrization.name}{', guidance-distilled' if family.substitute else ''}"
        kind += f", clip skip {clip_skip}" if clip_skip else ""
        networks = self._frozen.networks.values()
        self.identity = part.identity(
            name, kind, self._frozen.digest, dtype=self.dtype, device=self.device, networks=networks
        )

    def condition(self, prompts: Prompts, count: int) -> Conditioning:
        """Conditioning of texts: embeddings (count, tokens, width) and what else the family's network takes.

        No prompts: the unconditional branch of the pipeline's guidance for each row, the encoded empty prompt or zeros.

        Raises:
            ModelError: a prompt that is no text, or another number of prompts.

        Warns:
            PromptTruncated: a prompt is longer than the text encoder takes.
        """
        self._frozen.guard.check()
        return self._prompts.condition(prompts, count)

    @property
    def vocabulary(self) -> list[str]:
        """The text of every token of the tokenizer that is no special one."""
        return self._prompts.vocabulary

    @torch.no_grad()
    def generate(
        self,
        seeds: Sequence[int],
        *,
        prompts: Prompts = None,
        steps: int = 50,
        guidance_scale: float = 7.5,
        negative_prompt: str | None = None,
    ) -> Tensor:
        """The pipeline's own images; image i depends on seeds[i] and prompts[i] alone.

        Args:
            seeds: one an image; each gives the image's start noise and, for a stochastic scheduler, its later noise.
            prompts: one text an image; None: the unconditional branch, without guidance.
            steps: of the pipeline's own scheduler.
            guidance_scale: of classifier-free guidance, 1 is none; or what a guidance-distilled network takes.
            negative_prompt: what guidance leads away from; None: the unconditional branch.

        Returns:
            (n, channels, height, width) in [0, 1] in the model's precision.

        Raises:
            ModelError: a negative prompt for a network that guidance was distilled into.
            UsageError: the scheduler does not go so many steps.
        """
        self._frozen.guard.check()
        check_steps(self._frozen.call.scheduler, steps)
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
        images: Tensor = self._frozen.call(
            **self._family.pipeline_arguments(self.condition(prompts, count), away, guidance_scale if guided else 1.0),
            height=self.image_shape[1],
            width=self.image_shape[2],
            num_inference_steps=steps,
            latents=self._family.pack(latents),
            generator=sampler_generators(seeds, self.device),
            output_type="pt",
        ).images
        return images

    def _predict(self, x: Tensor, time: float, conditioning: Conditioning | None) -> Tensor:
        assert conditioning is not None, "the model takes texts"
        return self._family.predict(self.network, x, time, conditioning)


StableDiffusion = TextToImage
"""The name from the time when there was one family."""


def _prompt_encoder(
    family: Family, pipeline: Any, size: Size, device: torch.device, clip_skip: int | None
) -> PromptEncoder:
    """What makes conditioning of texts, as the family does."""
    tokenizer, limit = family.reader(pipeline)
    fixed = {name: tensor.to(device) for name, tensor in family.fixed(pipeline, size).items()}
    embed = partial(family.embed, pipeline, **({"clip_skip": clip_skip} if clip_skip else {}))
    return PromptEncoder(tokenizer, limit, embed, family.convert(pipeline), zeros=family.zeros(pipeline), fixed=fixed)


def _check_skip(clip_skip: int | None, family: Family, pipeline: Any) -> None:
    """Refuse to leave out layers of CLIP that are not there, or where the family's pipelines leave out none."""
    if clip_skip is None:
        return
    if not family.skips:
        raise ModelError(f"`clip_skip` must be None for {family.name}, whose pipeline has none, got {clip_skip!r}.")
    layers = int(pipeline.text_encoder.config.num_hidden_layers)
    if isinstance(clip_skip, bool) or not isinstance(clip_skip, int) or not 1 <= clip_skip < layers:
        raise ModelError(
            f"`clip_skip` must be a whole number between 1 and {layers - 1}, got {clip_skip!r}. diffusers counts the "
            'layers left out: "clip skip 2" of other programs is 1.'
        )


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
