"""How is a latent consistency model asked? As Stable Diffusion, with the guidance scale told to its UNet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.families.family import EMBEDDING, Size, Tensors
from pytest_diffprivacy.models.families.stable_diffusion import STABLE_DIFFUSION

GUIDANCE = "timestep_cond"


def _check(pipeline: Any) -> None:
    if pipeline.unet.config.get("time_cond_proj_dim") is None:
        raise ModelError(
            "The UNet of a latent consistency pipeline must take the guidance scale (`time_cond_proj_dim`), got None. "
            "With an LCM adapter, audit it as a StableDiffusionPipeline with an LCMScheduler."
        )


def _guidance(pipeline: Any, size: Size) -> Tensors:
    """The embedding of guidance scale 1; the pipeline embeds the scale minus one."""
    width = int(pipeline.unet.config.time_cond_proj_dim)
    embedding: Tensor = pipeline.get_guidance_scale_embedding(torch.zeros(1), embedding_dim=width)
    return {GUIDANCE: embedding}


def _predict(unet: Any, x_t: Tensor, time: float, told: Conditioning) -> Tensor:
    output: Tensor = unet(
        x_t,
        time,
        timestep_cond=told[GUIDANCE].to(x_t.dtype),
        encoder_hidden_states=told[EMBEDDING],
        return_dict=False,
    )[0]
    return output


def _arguments(told: Conditioning, away: Conditioning | None, scale: float) -> dict[str, Any]:
    return {"prompt_embeds": told[EMBEDDING], "guidance_scale": scale}


LATENT_CONSISTENCY = replace(
    STABLE_DIFFUSION,
    name="latent consistency",
    check=_check,
    fixed=_guidance,
    predict=_predict,
    arguments=_arguments,
    substitute="Guidance was distilled into the network, which has no trained unconditional branch",
)
