"""Which networks do Stable Diffusion 1.5 and XL consist of? Their public configurations, filled with random weights.

Nothing is downloaded: the configurations are facts, written down here; the tokenizer is a small one of the tests, whose
ids are a part of the vocabulary's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn

from tests.benchmarks import ROOT

TOKENIZER = ROOT / "tests" / "golden" / "text_to_image" / "pipeline" / "tokenizer"
SPREAD = 0.02
SCHEDULE: Final[dict[str, Any]] = {
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1,
    "clip_sample": False, "set_alpha_to_one": False,
}  # fmt: skip
UNET_15: Final[dict[str, Any]] = {
    "sample_size": 64, "in_channels": 4, "out_channels": 4, "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 768, "attention_head_dim": 8,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}  # fmt: skip
UNET_XL: Final[dict[str, Any]] = {
    "sample_size": 128, "in_channels": 4, "out_channels": 4, "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280), "cross_attention_dim": 2048, "attention_head_dim": (5, 10, 20),
    "down_block_types": ("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
    "up_block_types": ("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",),
    "transformer_layers_per_block": (1, 2, 10), "use_linear_projection": True, "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
AUTOENCODER: Final[dict[str, Any]] = {
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4, "norm_num_groups": 32,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
}  # fmt: skip
TEXT: Final[dict[str, Any]] = {
    "vocab_size": 49408, "max_position_embeddings": 77, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
CLIP_L: Final[dict[str, Any]] = TEXT | {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "projection_dim": 768, "hidden_act": "quick_gelu",
}  # fmt: skip
CLIP_G: Final[dict[str, Any]] = TEXT | {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
    "projection_dim": 1280, "hidden_act": "gelu",
}  # fmt: skip
PARAMETERS: Final = {"Stable Diffusion 1.5": 859_520_964, "Stable Diffusion XL": 2_567_463_684}


def stable_diffusion_15() -> Any:
    """A StableDiffusionPipeline of the size of version 1.5, single precision."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    return StableDiffusionPipeline(
        unet=filled(lambda: UNet2DConditionModel(**UNET_15)),
        vae=filled(lambda: AutoencoderKL(**AUTOENCODER, sample_size=512, scaling_factor=0.18215)),
        text_encoder=filled(lambda: CLIPTextModel(CLIPTextConfig(**CLIP_L))),
        tokenizer=tokenizer(),
        scheduler=DDIMScheduler(**SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def unet_on_meta(settings: dict[str, Any]) -> Any:
    """A UNet without memory: tensors that have shapes and no values."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        return UNet2DConditionModel(**settings).eval().requires_grad_(False)


def autoencoder_on_meta(size: int) -> Any:
    """An autoencoder without memory."""
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        return AutoencoderKL(**AUTOENCODER, sample_size=size).eval().requires_grad_(False)


def text_encoder_on_meta(settings: dict[str, Any]) -> Any:
    """A CLIP text encoder without memory."""
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        return CLIPTextModel(CLIPTextConfig(**settings)).eval().requires_grad_(False)


def tokenizer() -> Any:
    """A small CLIP tokenizer that pads to 77 tokens."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(TOKENIZER, model_max_length=TEXT["max_position_embeddings"])


@torch.no_grad()
def filled(build: Callable[[], nn.Module]) -> nn.Module:
    """What `build` returns, with small random weights, and without the time that its own initialization takes."""
    with torch.device("meta"):
        network = build()
    network = network.to_empty(device="cpu").eval().requires_grad_(False)
    draw = torch.Generator().manual_seed(0)
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if name.endswith("position_ids"):
            tensor.copy_(torch.arange(tensor.shape[-1]))
        elif tensor.ndim > 1:
            tensor.normal_(0.0, SPREAD, generator=draw)
        else:
            tensor.fill_(0.0 if name.endswith("bias") else 1.0)  # norms, and no bias
    return network
