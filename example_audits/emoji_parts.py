"""What are the text-to-image example models made of? The untrained parts of a small Stable Diffusion pipeline."""

import copy
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from emoji_data import SIDE
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

TOKENS, VOCABULARY = 20, 800
LATENT_CHANNELS = 16


def make_autoencoder() -> AutoencoderKL:
    """64x64 RGB to 16x8x8 and back; 0.47 million parameters, no attention.

    Sixteen latent channels, as Stable Diffusion 3 has: with four, an 8x8 patch of an outlined drawing cannot be told.
    """
    autoencoder = AutoencoderKL(
        latent_channels=LATENT_CHANNELS,
        block_out_channels=(16, 24, 32, 48),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=SIDE,
        mid_block_add_attention=False,
    )
    for name, module in autoencoder.named_modules():
        if name.endswith(".conv2"):  # every residual block starts as the identity
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
    return autoencoder


@torch.no_grad()
def encode(autoencoder: AutoencoderKL, images: torch.Tensor) -> torch.Tensor:
    """The posterior's mode, not scaled."""
    return torch.cat([autoencoder.encode(part).latent_dist.mode() for part in images.split(250)])


def make_tokenizer(captions: list[str], folder: Path) -> CLIPTokenizer:
    """A byte-pair vocabulary of the captions' own words, in CLIP's form."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE(unk_token=end, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[start, end], end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(sorted(set(captions)), trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.model.save(str(folder))
    return CLIPTokenizer.from_pretrained(
        folder, bos_token=start, eos_token=end, pad_token=end, unk_token=end, model_max_length=TOKENS
    )


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """CLIP's text transformer, two layers of width 64."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_unet(width: tuple[int, int], dropout: float, layers_per_block: int = 1) -> UNet2DConditionModel:
    """Two resolutions (8x8 and 4x4), each with cross-attention, so that layers stand where Stable Diffusion's do."""
    return UNet2DConditionModel(
        sample_size=SIDE // 8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=width,
        layers_per_block=layers_per_block,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        attention_head_dim=4,
        cross_attention_dim=64,
        norm_num_groups=8,
        dropout=dropout,
    )


def make_scheduler(prediction: str) -> DDIMScheduler:
    """Stable Diffusion's schedule."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
    )


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """uint8 (n, height, width, 3) to float32 (n, 3, height, width) in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def tokenize(tokenizer: CLIPTokenizer, prompts: list[str]) -> torch.Tensor:
    """Token ids (n, TOKENS)."""
    return tokenizer(prompts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt").input_ids


def pipeline(unet, text, autoencoder, tokenizer, scheduler) -> StableDiffusionPipeline:
    """The parts as one pipeline, without safety checker."""
    return StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save(made: StableDiffusionPipeline, folder: Path) -> None:
    """Write the folder that `StableDiffusionPipeline.from_pretrained` reads, weights in half precision."""
    halved = copy.deepcopy({name: getattr(made, name) for name in ("unet", "text_encoder", "vae")})
    for part in halved.values():
        torch.nn.Module.half(part)
    pipeline(halved["unet"], halved["text_encoder"], halved["vae"], made.tokenizer, made.scheduler).save_pretrained(
        folder, safe_serialization=True
    )
