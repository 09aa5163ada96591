"""Which tiny trained pipeline stands for a family of docs/models.md? Of diffusers' own classes, trained as it trains.

Nothing of the audit is used to train: networks are called, noise is added and targets are taken as the training
scripts of diffusers (or the papers, where there is none) do it. Latents are those of the emoji's autoencoder, whose
scale and shift are set to the family's form; text encoders are frozen, the T5 and second CLIP with random weights.
A trained pipeline lies below build/families and is not trained again.
"""

from __future__ import annotations

import copy
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, FlowMatchEulerDiscreteScheduler, FluxPipeline, UNet2DModel
from sklearn.datasets import load_digits
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from pytest_diffprivacy.probes import ImageSet
from tests.benchmarks import ROOT
from tests.models.family_builders import autoencoder, seeded, t5, t5_tokenizer

BUILT: Final = ROOT / "build" / "families"
EMOJI: Final = ROOT / "example_audits" / "emoji-release"
WIDTH, SIDE, CHANNELS, FEW = 64, 8, 16, 4
UNSEEN, RATE = 48, 2e-3
DIGITS_SEEN: Final = 1200
CONSISTENCY_STEPS: Final = 1600

Loss = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""(clean images or latents, their rows, generator) -> loss."""


@dataclass(frozen=True)
class Trained:
    """A family with its tiny pipeline.

    Attributes:
        name: its row in docs/models.md.
        build: a pipeline with random weights.
        loss: of its network on a batch, given the pipeline.
        data: clean images or latents, and what each is conditioned on.
        steps: of training.
        unseen: images that no pipeline has seen, with their prompts.
        arguments: of load_model.
        batch: images in a step.
        rate: largest learning rate.
    """

    name: str
    build: Callable[[], Any]
    loss: Callable[[Any, list[Any]], Loss]
    data: Callable[[Any], tuple[Tensor, list[Any]]]
    steps: int
    unseen: Callable[[], ImageSet]
    arguments: tuple[tuple[str, Any], ...] = ()
    batch: int = 16
    rate: float = RATE

    def folder(self) -> Path:
        """Where the trained pipeline lies; trained on the first call."""
        folder = BUILT / self.name.replace(" ", "-").replace(",", "").replace("/", "-")
        recipe = {"steps": self.steps, "batch": self.batch, "rate": self.rate, "version": 1}
        noted = folder / "recipe.json"
        if not noted.exists() or json.loads(noted.read_text()) != recipe:
            pipeline = self.build()
            _train(pipeline, self)
            pipeline.save_pretrained(folder)
            noted.write_text(json.dumps(recipe))
        return folder


def _train(pipeline: Any, family: Trained) -> None:
    """Adam under one cycle; the weights are averaged."""
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(1)
    x0, conditions = family.data(pipeline)
    network = _network(pipeline).train().requires_grad_(True)
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=family.rate, weight_decay=0.0)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, family.rate, total_steps=family.steps, pct_start=0.05)
    loss_of, recent = family.loss(pipeline, conditions), 0.0
    for step in range(1, family.steps + 1):
        rows = torch.randint(len(x0), (family.batch,), generator=generator)
        loss = loss_of(x0[rows], rows, generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rate.step()
        with torch.no_grad():
            torch._foreach_lerp_(
                list(average.parameters()), list(network.parameters()), 1 - min(0.99, step / (step + 10))
            )
        recent = 0.98 * recent + 0.02 * loss.item() if step > 1 else loss.item()
        if step % 100 == 0:
            print(f"{family.name}  step {step}  loss {recent:.4f}", file=sys.stderr, flush=True)
    network.load_state_dict(average.state_dict())
    network.eval().requires_grad_(False)


def _network(pipeline: Any) -> torch.nn.Module:
    network = getattr(pipeline, "transformer", None)
    return pipeline.unet if network is None else network


# Data


@lru_cache(maxsize=2)
def _emoji(name: str) -> tuple[np.ndarray, list[str]]:
    with np.load(ROOT / "example_audits" / "emoji.npz", allow_pickle=False) as stored:
        return stored[f"{name}_images"], stored[f"{name}_prompts"].tolist()


@lru_cache(maxsize=1)
def _raw_latents() -> Tensor:
    """Of all pictures of the `many` prompts, neither shifted nor scaled."""
    vae = AutoencoderKL.from_pretrained(EMOJI / "vae", torch_dtype=torch.float32).requires_grad_(False)
    images = torch.from_numpy(_emoji("many")[0]).permute(0, 3, 1, 2) / 127.5 - 1.0
    return torch.cat([vae.encode(part).latent_dist.mode() for part in images.split(250)])


def _latents(pipeline: Any) -> Tensor:
    """As training scripts have them: (latents - shift) * scale."""
    config = pipeline.vae.config
    return (_raw_latents() - (config.shift_factor or 0.0)) * config.scaling_factor


def _captioned(pipeline: Any) -> tuple[Tensor, list[Any]]:
    return _latents(pipeline), _emoji("many")[1]


def _classes(pipeline: Any) -> tuple[Tensor, list[Any]]:
    names = sorted(set(_emoji("many")[1]))
    return _latents(pipeline), [names.index(prompt) for prompt in _emoji("many")[1]]


def emoji_unseen() -> ImageSet:
    """Held-out pictures with their prompts."""
    images, prompts = _emoji("heldout")
    return ImageSet.of(images[:UNSEEN], "non-member", prompts[:UNSEEN])


@lru_cache(maxsize=2)
def _small_pictures(name: str) -> np.ndarray:
    """At a quarter of their side: Flux's 512 text tokens leave it time for few channels only."""
    images = _emoji(name)[0].astype(np.float32) / 255.0
    return images.reshape(len(images), 16, 4, 16, 4, 3).mean((2, 4)).transpose(0, 3, 1, 2)


@lru_cache(maxsize=1)
def _small_raw() -> Tensor:
    vae = autoencoder(use_quant_conv=False, use_post_quant_conv=False).requires_grad_(False)
    return vae.encode(2.0 * torch.from_numpy(_small_pictures("many")) - 1.0).latent_dist.mode()


def _small(pipeline: Any) -> tuple[Tensor, list[Any]]:
    """Latents of small pictures by an autoencoder with random weights, which keeps neighbours alike."""
    config = pipeline.vae.config
    return (_small_raw() - config.shift_factor) * config.scaling_factor, _emoji("many")[1]


def small_unseen() -> ImageSet:
    """Held-out pictures of that size."""
    return ImageSet.of(_small_pictures("heldout")[:UNSEEN], "non-member", _emoji("heldout")[1][:UNSEEN])


def emoji_unseen_classes() -> ImageSet:
    """The same with the class of their prompt."""
    images, prompts = _emoji("heldout")
    names = sorted(set(_emoji("many")[1]))
    return ImageSet.of(images[:UNSEEN], "non-member", [names.index(prompt) for prompt in prompts[:UNSEEN]])


@lru_cache(maxsize=1)
def _digits() -> tuple[np.ndarray, np.ndarray]:
    data, order = load_digits(), np.random.default_rng(0).permutation(1797)
    return (data.images[order] / 16.0).astype(np.float32), data.target[order]


def _pixels(pipeline: Any) -> tuple[Tensor, list[Any]]:
    images, labels = _digits()
    return torch.from_numpy(2.0 * images[:DIGITS_SEEN, None] - 1.0), labels[:DIGITS_SEEN].tolist()


def digits_unseen() -> ImageSet:
    """Digits that were not trained on."""
    return ImageSet.of(_digits()[0][DIGITS_SEEN : DIGITS_SEEN + UNSEEN], "non-member")


def digits_unseen_classes() -> ImageSet:
    """The same with their digit."""
    rows = slice(DIGITS_SEEN, DIGITS_SEEN + UNSEEN)
    return ImageSet.of(_digits()[0][rows], "non-member", _digits()[1][rows].tolist())


# Parts


def _autoencoder(*, shifted: bool = False) -> Any:
    vae = AutoencoderKL.from_pretrained(EMOJI / "vae", torch_dtype=torch.float32)
    raw = _raw_latents()
    shift = float(raw.mean()) if shifted else None
    vae.register_to_config(scaling_factor=float(1.0 / raw.std()), shift_factor=shift)
    return vae


def _small_autoencoder() -> Any:
    vae, raw = autoencoder(use_quant_conv=False, use_post_quant_conv=False), _small_raw()
    vae.register_to_config(scaling_factor=float(1.0 / raw.std()), shift_factor=float(raw.mean()))
    return vae


def _tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(EMOJI / "tokenizer")


def _clip() -> CLIPTextModel:
    return CLIPTextModel.from_pretrained(EMOJI / "text_encoder", torch_dtype=torch.float32).eval()


def _projecting(seed: int) -> CLIPTextModelWithProjection:
    config = CLIPTextConfig.from_pretrained(EMOJI / "text_encoder", projection_dim=WIDTH, dtype="float32")
    return seeded(lambda: CLIPTextModelWithProjection(config), seed).float()


def _unet(**settings: Any) -> Any:
    return seeded(
        lambda: diffusers.UNet2DConditionModel(
            sample_size=SIDE, in_channels=CHANNELS, out_channels=CHANNELS, block_out_channels=(48, 64),
            layers_per_block=1, norm_num_groups=8, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=4,
            **{"cross_attention_dim": WIDTH} | settings,
        )
    )  # fmt: skip


def _digits_unet(*, classes: int | None = None) -> Any:
    return seeded(
        lambda: UNet2DModel(
            sample_size=8, in_channels=1, out_channels=1, block_out_channels=(32, 64), layers_per_block=1,
            down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, norm_num_groups=8,
            add_attention=False, num_class_embeds=classes,
        )
    )  # fmt: skip


# Pipelines


def _stable_diffusion_xl() -> Any:
    return diffusers.StableDiffusionXLPipeline(
        vae=_autoencoder(), text_encoder=_clip(), text_encoder_2=_projecting(4), tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        unet=_unet(
            cross_attention_dim=2 * WIDTH, addition_embed_type="text_time", addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + WIDTH, transformer_layers_per_block=1,
            use_linear_projection=True,
        ),
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1
        ),
        add_watermarker=False,
    )  # fmt: skip


def _stable_diffusion_3() -> Any:
    transformer = seeded(
        lambda: diffusers.SD3Transformer2DModel(
            sample_size=SIDE, patch_size=1, in_channels=CHANNELS, out_channels=CHANNELS, num_layers=2,
            attention_head_dim=16, num_attention_heads=4, joint_attention_dim=2 * WIDTH,
            caption_projection_dim=WIDTH, pooled_projection_dim=2 * WIDTH, pos_embed_max_size=SIDE,
        )
    )  # fmt: skip
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), vae=_autoencoder(shifted=True),
        text_encoder=_projecting(3), tokenizer=_tokenizer(), text_encoder_2=_projecting(4),
        tokenizer_2=_tokenizer(), text_encoder_3=None, tokenizer_3=None,
    )  # fmt: skip


def _flux() -> Any:
    transformer = seeded(
        lambda: diffusers.FluxTransformer2DModel(
            patch_size=1, in_channels=4 * FEW, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=4, joint_attention_dim=16, pooled_projection_dim=WIDTH, guidance_embeds=True,
            axes_dims_rope=(4, 6, 6),
        )
    )  # fmt: skip
    return FluxPipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_small_autoencoder(), text_encoder=_clip(), tokenizer=_tokenizer(), text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(),
    )  # fmt: skip


def _pixart_transformer(**settings: Any) -> Any:
    return seeded(
        lambda: diffusers.PixArtTransformer2DModel(
            sample_size=SIDE, num_layers=3, patch_size=1, attention_head_dim=16, num_attention_heads=4,
            caption_channels=16, cross_attention_dim=WIDTH, in_channels=CHANNELS, out_channels=2 * CHANNELS,
            **settings,
        )
    )  # fmt: skip


def _pixart(kind: Any, **settings: Any) -> Any:
    return kind(
        transformer=_pixart_transformer(**settings), vae=_autoencoder(), text_encoder=t5(), tokenizer=t5_tokenizer(),
        scheduler=diffusers.DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02),
    )  # fmt: skip


def _latent_consistency() -> Any:
    return diffusers.LatentConsistencyModelPipeline(
        unet=_unet(time_cond_proj_dim=16), scheduler=diffusers.LCMScheduler(), vae=_autoencoder(),
        text_encoder=_clip(), tokenizer=_tokenizer(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


def _dit() -> Any:
    transformer = seeded(
        lambda: diffusers.DiTTransformer2DModel(
            sample_size=SIDE, num_layers=3, patch_size=1, attention_head_dim=16, num_attention_heads=4,
            in_channels=CHANNELS, out_channels=2 * CHANNELS, num_embeds_ada_norm=1000,
        )
    )  # fmt: skip
    return diffusers.DiTPipeline(transformer=transformer, vae=_autoencoder(), scheduler=DDIMScheduler())


def _edm() -> Any:
    return diffusers.DDPMPipeline(unet=_digits_unet(), scheduler=diffusers.EDMEulerScheduler())


def _consistency() -> Any:
    return diffusers.ConsistencyModelPipeline(
        unet=_digits_unet(classes=10), scheduler=diffusers.CMStochasticIterativeScheduler()
    )


# Losses


def _encoded(pipeline: Any, texts: list[str], encode: Callable[[list[str]], tuple[Tensor, ...]]) -> list[Any]:
    """(index of a row's text, tensors of the distinct texts); a tenth of the rows is shown the empty text."""
    distinct = ["", *dict.fromkeys(texts)]
    with torch.no_grad():
        parts = [encode(distinct[start : start + 50]) for start in range(0, len(distinct), 50)]
    tensors = [torch.cat(columns) for columns in zip(*parts, strict=True)]
    places = {text: place for place, text in enumerate(distinct)}
    return [torch.tensor([places[text] for text in texts]), tensors]


def _chosen(encoded: list[Any], rows: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    where, tensors = encoded
    kept = torch.rand(len(rows), generator=generator) >= 0.1
    return (tensor[where[rows] * kept] for tensor in tensors)


def _noised(pipeline: Any, x0: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, its whole timesteps and the noise, by DDPM's arithmetic on the pipeline's betas."""
    own = diffusers.DDPMScheduler.from_config(pipeline.scheduler.config)
    times = torch.randint(1000, (len(x0),), generator=generator)
    noise = torch.randn(x0.shape, generator=generator)
    return own.add_noise(x0, noise, times), times, noise


def _flowing(pipeline: Any, x0: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """x_t = (1 - sigma) x0 + sigma eps, the scheduler's times and eps - x0."""
    own = FlowMatchEulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    rows = torch.randint(1000, (len(x0),), generator=generator)
    sigmas, noise = own.sigmas[rows].reshape(-1, 1, 1, 1), torch.randn(x0.shape, generator=generator)
    return (1.0 - sigmas) * x0 + sigmas * noise, own.timesteps[rows], noise - x0


def _squared(predicted: Tensor, target: Tensor) -> Tensor:
    return torch.nn.functional.mse_loss(predicted, target)


def _xl_loss(pipeline: Any, texts: list[Any]) -> Loss:
    def encode(some: list[str]) -> tuple[Tensor, Tensor]:
        embedding, _, pooled, _ = pipeline.encode_prompt(some, do_classifier_free_guidance=False)
        return embedding, pooled

    encoded, size = _encoded(pipeline, texts, encode), [64, 64, 0, 0, 64, 64]

    def loss(x0: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        x_t, times, noise = _noised(pipeline, x0, generator)
        embedding, pooled = _chosen(encoded, rows, generator)
        added = {"text_embeds": pooled, "time_ids": torch.tensor([size] * len(x0), dtype=torch.float32)}
        return _squared(pipeline.unet(x_t, times, embedding, added_cond_kwargs=added).sample, noise)

    return loss


def _sd3_loss(pipeline: Any, texts: list[Any]) -> Loss:
    def encode(some: list[str]) -> tuple[Tensor, Tensor]:
        embedding, _, pooled, _ = pipeline.encode_prompt(some, None, None, do_classifier_free_guidance=False)
        return embedding, pooled

    encoded = _encoded(pipeline, texts, encode)

    def loss(x0: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        x_t, times, velocity = _flowing(pipeline, x0, generator)
        embedding, pooled = _chosen(encoded, rows, generator)
        output = pipeline.transformer(
            hidden_states=x_t, timestep=times, encoder_hidden_states=embedding, pooled_projections=pooled
        ).sample
        return _squared(output, velocity)

    return loss


def _flux_loss(pipeline: Any, texts: list[Any]) -> Loss:
    def encode(some: list[str]) -> tuple[Tensor, Tensor]:
        return pipeline.encode_prompt(some, some)[:2]

    encoded = _encoded(pipeline, texts, encode)
    places = FluxPipeline._prepare_latent_image_ids(1, SIDE // 2, SIDE // 2, "cpu", torch.float32)

    def loss(x0: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        x_t, times, velocity = _flowing(pipeline, x0, generator)
        embedding, pooled = _chosen(encoded, rows, generator)
        packed = FluxPipeline._pack_latents(x_t, *x_t.shape)
        output = pipeline.transformer(
            hidden_states=packed, timestep=times / 1000, guidance=torch.ones(len(x0)), pooled_projections=pooled,
            encoder_hidden_states=embedding, txt_ids=torch.zeros(embedding.shape[1], 3), img_ids=places,
        ).sample  # fmt: skip
        return _squared(FluxPipeline._unpack_latents(output, SIDE * 2, SIDE * 2, 2), velocity)

    return loss


def _pixart_loss(pipeline: Any, texts: list[Any]) -> Loss:
    encoded = _encoded(
        pipeline, texts, lambda some: pipeline.encode_prompt(some, do_classifier_free_guidance=False)[:2]
    )

    def loss(x0: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        x_t, times, noise = _noised(pipeline, x0, generator)
        embedding, mask = _chosen(encoded, rows, generator)
        added = {"resolution": None, "aspect_ratio": None}
        output = pipeline.transformer(
            x_t, encoder_hidden_states=embedding, encoder_attention_mask=mask, timestep=times, added_cond_kwargs=added
        ).sample
        return _squared(output.chunk(2, dim=1)[0], noise)

    return loss


def _lcm_loss(pipeline: Any, texts: list[Any]) -> Loss:
    """The denoiser that a latent consistency model starts from, told a guidance scale that it learns to ignore."""
    encoded = _encoded(
        pipeline, texts, lambda some: pipeline.encode_prompt(some, "cpu", 1, do_classifier_free_guidance=False)[:1]
    )

    def loss(x0: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        x_t, times, noise = _noised(pipeline, x0, generator)
        (embedding,) = _chosen(encoded, rows, generator)
        scale = pipeline.get_guidance_scale_embedding(14.0 * torch.rand(len(x0), generator=generator), 16)
        return _squared(pipeline.unet(x_t, times, embedding, timestep_cond=scale).sample, noise)

    return loss


def _dit_loss(pipeline: Any, classes: list[Any]) -> Loss:
    """Its network leaves labels out by itself while it trains."""
    labels = torch.tensor(classes)

    def loss(x0: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        x_t, times, noise = _noised(pipeline, x0, generator)
        output = pipeline.transformer(x_t, timestep=times, class_labels=labels[rows]).sample
        return _squared(output.chunk(2, dim=1)[0], noise)

    return loss


def _edm_loss(pipeline: Any, _: list[Any]) -> Loss:
    """Karras et al. 2022, Table 1: log-normal noise levels, weight (s^2 + d^2) / (s d)^2."""
    d, own = pipeline.scheduler.config.sigma_data, pipeline.scheduler

    def loss(x0: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        s = (1.2 * torch.randn(len(x0), 1, 1, 1, generator=generator) - 0.6).exp()
        x = x0 + s * torch.randn(x0.shape, generator=generator)
        output = pipeline.unet(own.precondition_inputs(x, s), own.precondition_noise(s).flatten()).sample
        denoised = own.precondition_outputs(x, output, s)
        return (((s**2 + d**2) / (s * d) ** 2) * (denoised - x0).square()).mean()

    return loss


def _consistency_loss(pipeline: Any, classes: list[Any]) -> Loss:
    """Half of the steps a denoiser (EDM's weights), then consistency distillation (Song et al. 2023, Algorithm 2)."""
    own, labels = pipeline.scheduler, torch.tensor(classes)
    config, unet, taught = own.config, pipeline.unet, itertools.count()
    d, teacher = config.sigma_data, copy.deepcopy(unet)
    low, high = (level ** (1 / config.rho) for level in (config.sigma_min, config.sigma_max))
    levels = (low + torch.linspace(0, 1, 40) * (high - low)) ** config.rho

    def clean(network: Any, x: Tensor, s: Tensor, told: Tensor) -> Tensor:
        c_skip, c_out = own.get_scalings_for_boundary_condition(s)
        times = torch.tensor(own.sigma_to_t(s.flatten().double().numpy())).float()
        return c_skip * x + c_out * network(x / (s**2 + d**2) ** 0.5, times, class_labels=told).sample

    def loss(x0: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        noise, told = torch.randn(x0.shape, generator=generator), labels[rows]
        if next(taught) < CONSISTENCY_STEPS // 2:
            s = (1.2 * torch.randn(len(x0), 1, 1, 1, generator=generator) - 0.6).exp().clamp(config.sigma_min, 80.0)
            weight = (s**2 + d**2) / (s * d) ** 2
            found = (weight * (clean(unet, x0 + s * noise, s, told) - x0).square()).mean()
            with torch.no_grad():
                torch._foreach_lerp_(list(teacher.parameters()), list(unet.parameters()), 0.02)
            return found
        places = torch.randint(len(levels) - 1, (len(x0),), generator=generator)
        near, far = (levels[places + more].reshape(-1, 1, 1, 1) for more in (0, 1))
        x = x0 + far * noise
        with torch.no_grad():
            slope = (x - clean(teacher, x, far, told)) / far
            goal = clean(unet, x + (near - far) * slope, near, told)
        return (clean(unet, x, far, told) - goal).square().mean() / d**2

    return loss


FAMILIES: Final = (
    Trained("EDM-preconditioned UNet2DModel", _edm, _edm_loss, _pixels, 800, digits_unseen, batch=32),
    Trained(
        "Consistency model", _consistency, _consistency_loss, _pixels, CONSISTENCY_STEPS, digits_unseen_classes,
        batch=32,
    ),
    Trained("DiT, class-conditional", _dit, _dit_loss, _classes, 1000, emoji_unseen_classes, batch=32),
    Trained("Stable Diffusion XL", _stable_diffusion_xl, _xl_loss, _captioned, 600, emoji_unseen, batch=32),
    Trained("Stable Diffusion 3", _stable_diffusion_3, _sd3_loss, _captioned, 300, emoji_unseen, batch=8),
    Trained("Flux", _flux, _flux_loss, _small, 600, small_unseen, (("resolution", 2 * SIDE),), batch=8, rate=5e-3),
    Trained(
        "PixArt Alpha", lambda: _pixart(diffusers.PixArtAlphaPipeline), _pixart_loss, _captioned, 500, emoji_unseen
    ),
    Trained(
        "PixArt Sigma",
        lambda: _pixart(diffusers.PixArtSigmaPipeline, use_additional_conditions=False, interpolation_scale=2),
        _pixart_loss,
        _captioned,
        500,
        emoji_unseen,
    ),
    Trained("Latent consistency (LCM)", _latent_consistency, _lcm_loss, _captioned, 500, emoji_unseen),
)  # fmt: skip


def main() -> None:
    """Train those that are not built."""
    for family in FAMILIES:
        if len(sys.argv) == 1 or family.name in sys.argv[1:]:
            family.folder()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
