"""How is a Stable Diffusion pipeline audited? Its own generations, and its network behind the access protocols."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.attention import AttentionRecord, Edit, watch_cross_attention
from pytest_diffprivacy.models.codec import LatentCodec
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.derivatives import forward_jvp
from pytest_diffprivacy.models.identity import ModelIdentity, public, weights_digest
from pytest_diffprivacy.models.noise import sampler_seed, start_noise
from pytest_diffprivacy.models.prediction import eps_from
from pytest_diffprivacy.models.prompts import PromptEncoder
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.models.scheduler import prediction_type_of, schedule_of

EMBEDDING = "encoder_hidden_states"


@final
class StableDiffusion:
    """A StableDiffusionPipeline 1.x or 2.x; satisfies Generator, WhiteBoxDenoiser, PromptedDenoiser, CrossAttention.

    Args:
        pipeline: a diffusers StableDiffusionPipeline; its networks are put in eval mode and frozen, nothing else in it
            is changed.
        name: what records call it.
        device: where to run; the pipeline's own by default.
        dtype: precision to run in; the pipeline's own by default.

    Generations are the pipeline's own, with its own scheduler. Every other question is asked of the network on the
    scheduler's noise schedule; where a trajectory is needed it is walked by deterministic DDIM.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        name: str = "Stable Diffusion",
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.schedule = schedule_of(pipeline.scheduler)
        self._kind = prediction_type_of(pipeline.scheduler)
        digest = _digest(pipeline)
        for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            torch.nn.Module.to(part.eval().requires_grad_(False), device=device, dtype=dtype)
        # A shallow copy shares every part; only its progress bar is not the user's.
        self._pipeline = copy.copy(pipeline)
        self._pipeline.set_progress_bar_config(disable=True)
        self._unet = pipeline.unet
        self.device, self.dtype = self._unet.device, self._unet.dtype
        self.sample_shape: tuple[int, ...] = _latent_shape(self._unet)
        self._codec = LatentCodec(pipeline.vae, _latent_shape(self._unet))
        self.image_shape = self._codec.image_shape
        self._prompts = PromptEncoder(pipeline.tokenizer, pipeline.text_encoder, pipeline.maybe_convert_prompt)
        self.sampler = type(pipeline.scheduler).__name__
        self.identity = ModelIdentity(
            name=name,
            family=f"Stable Diffusion, {self._kind.value}",
            digest=digest,
            parameters=sum(p.numel() for p in self._unet.parameters()),
            dtype=str(self.dtype).removeprefix("torch."),
            device=self.device.type,
            access="white box",
        )

    def predict_eps(self, x_t: Tensor, timestep: int, conditioning: Conditioning | None = None) -> Tensor:
        """The noise in x_t, converted from whatever the network predicts; never clipped."""
        alpha, sigma = self.schedule.at(timestep)
        told = self.condition(None, len(x_t)) if conditioning is None else conditioning
        output = self._unet(x_t, int(timestep), encoder_hidden_states=told[EMBEDDING], return_dict=False)[0]
        return eps_from(output, x_t, alpha, sigma, self._kind)

    def eps_jvp(
        self, x_t: Tensor, timestep: int, tangent: Tensor, conditioning: Conditioning | None = None
    ) -> tuple[Tensor, Tensor]:
        """Eps and J_eps @ tangent in one forward-mode pass."""
        return forward_jvp(lambda x: self.predict_eps(x, timestep, conditioning), x_t, tangent)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """The denoising network's parameters."""
        yield from self._unet.named_parameters()

    def condition(self, prompts: Sequence[Prompt] | None, count: int) -> Conditioning:
        """Text embeddings (count, tokens, width); no prompts: the empty prompt for each row.

        Raises:
            ModelError: a prompt that is no text, or another number of prompts.

        Warns:
            PromptTruncated: a prompt is longer than the text encoder takes.
        """
        if prompts is None:
            empty = self._prompts.encode([""])
            return Conditioning({EMBEDDING: empty.expand(count, -1, -1)})
        if len(prompts) != count:
            raise ModelError(f"`prompts` must be {count} texts, one for each row, got {len(prompts)}.")
        return Conditioning({EMBEDDING: self._prompts.encode(prompts)})

    @property
    def token_limit(self) -> int:
        """Tokens that the text encoder takes, start and end token included."""
        return self._prompts.limit

    def token_counts(self, prompts: Sequence[Prompt]) -> list[int]:
        """Tokens of each prompt with its start and end token."""
        return self._prompts.counts(prompts)

    @property
    def vocabulary(self) -> list[str]:
        """The text of every token of the tokenizer that is no special one."""
        return self._prompts.vocabulary

    def cross_attention(self, *, maps: int = 0, edit: Edit | None = None) -> AbstractContextManager[AttentionRecord]:
        """A block in which the latest evaluation's cross-attention is recorded, and edited if an edit is given.

        Raises:
            ModelError: the network's attention processors are not diffusers' plain ones.
        """
        return watch_cross_attention(self._unet, maps=maps, edit=edit)

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
        negative_prompt: str = "",
    ) -> Tensor:
        """The pipeline's own images; image i depends on seeds[i] and prompts[i] alone.

        Args:
            seeds: one an image; each gives the image's start noise and, for a stochastic scheduler, its later noise.
            prompts: one text an image; None: the empty prompt, without guidance.
            steps: of the pipeline's own scheduler.
            guidance_scale: of classifier-free guidance; 1 is none.
            negative_prompt: what guidance leads away from.

        Returns:
            (n, channels, height, width) in [0, 1] in the model's precision.
        """
        count = len(seeds)
        latents = start_noise(seeds, self.sample_shape).to(device=self.device, dtype=self.dtype)
        embeddings = self.condition(prompts, count)[EMBEDDING]
        guided = prompts is not None and guidance_scale > 1.0
        images: Tensor = self._pipeline(
            prompt_embeds=embeddings,
            negative_prompt_embeds=self.condition([negative_prompt] * count, count)[EMBEDDING] if guided else None,
            height=self.image_shape[1],
            width=self.image_shape[2],
            num_inference_steps=steps,
            guidance_scale=guidance_scale if guided else 1.0,
            latents=latents,
            generator=[torch.Generator(self.device).manual_seed(sampler_seed(seed)) for seed in seeds],
            output_type="pt",
        ).images
        return images


def _latent_shape(unet: Any) -> tuple[int, int, int]:
    size, channels = unet.config.get("sample_size"), int(unet.config["in_channels"])
    if size is None:
        raise ModelError("The UNet's configuration has no `sample_size`. Set it to the training resolution.")
    if channels != int(unet.config["out_channels"]):
        raise ModelError(
            f"The UNet takes {channels} channels and returns {unet.config['out_channels']}: it is made for inpainting "
            "or editing, not for text to image alone. Audit the text-to-image model it comes from."
        )
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    return channels, height, width


def _digest(pipeline: Any) -> str:
    """sha256 over the weights and configurations of all parts, tokenizer included."""
    parts = {"unet": pipeline.unet, "vae": pipeline.vae, "text_encoder": pipeline.text_encoder}
    tensors = ((f"{name}.{key}", t) for name, part in parts.items() for key, t in part.state_dict().items())
    tokenizer = pipeline.tokenizer
    configuration = {
        "unet": dict(pipeline.unet.config),
        "vae": dict(pipeline.vae.config),
        "text_encoder": _architecture(pipeline.text_encoder.config.to_dict()),
        "scheduler": dict(pipeline.scheduler.config),
        "tokenizer": {
            "vocabulary": tokenizer.get_vocab(),
            "special": {k: str(v) for k, v in tokenizer.special_tokens_map.items()},
            "length": tokenizer.model_max_length,
        },
    }
    return weights_digest(tensors, public(configuration))


def _architecture(config: dict[str, Any]) -> dict[str, Any]:
    """A text encoder's configuration without what depends on how it was loaded."""
    dependent = ("dtype", "torch_dtype", "transformers_version", "architectures")
    return {key: value for key, value in config.items() if key not in dependent}
