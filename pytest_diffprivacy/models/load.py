"""What does `load_model` accept, and what does it refuse? Safetensors and configurations; never a pickle or code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pytest_diffprivacy import options
from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.components import (
    PICKLE_SUFFIXES,
    TRANSFORMERS_WEIGHTS,
    load_network,
    load_scheduler,
    load_tokenizer,
    read_json,
)
from pytest_diffprivacy.models.pixel import PixelDiffusion
from pytest_diffprivacy.models.planned import planned_model
from pytest_diffprivacy.models.protocols import Denoiser, Generator
from pytest_diffprivacy.models.stable_diffusion import StableDiffusion

PIXEL_PIPELINES = ("DDPMPipeline", "DDIMPipeline")
TEXT_PIPELINES = ("StableDiffusionPipeline",)
PIPELINES = (*PIXEL_PIPELINES, *TEXT_PIPELINES)
HUB_PREFIX = "hub:"


def load_model(
    source: object,
    *,
    scheduler: object | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> Generator:
    """Bring a model behind the access protocols.

    Args:
        source: a folder written by `save_pretrained` of a DDPMPipeline, DDIMPipeline or StableDiffusionPipeline;
            `hub:owner/name[@revision]`; such a pipeline object; a diffusers UNet2DModel (then `scheduler` is required);
            or any object that already satisfies models.Generator or models.Denoiser, which is returned as it is.
        scheduler: the diffusers scheduler of a bare UNet; overrides a saved pipeline's own.
        device: where to run, e.g. "cpu" or "cuda:0".
        dtype: precision to run in, e.g. "float32" or torch.float64.

    Returns:
        A model; pipelines offer white-box access. While a pytest run is only planned (--diffprivacy-plan), the
        stand-in of a folder or hub model: nothing is loaded.

    Raises:
        ModelError: the path is missing, holds a pickle, an unsupported pipeline or remote code, or the object is none
            of the above; the message names it and the cure.
    """
    session = options.active()
    if session is not None and session.settings["plan"] and isinstance(source, (str, Path)):
        return planned_model(source)  # type: ignore[return-value]  # it stands for one, and nobody may ask it
    precision = _precision(dtype)
    if isinstance(source, str) and source.startswith(HUB_PREFIX):
        source = _download(source)
    if isinstance(source, (str, Path)):
        folder = Path(source)
        return _from_folder(folder, scheduler, device, precision)
    if isinstance(source, (Generator, Denoiser)):
        if scheduler is not None:
            raise ModelError("`scheduler` must be left out for an object that satisfies a protocol already.")
        return source  # type: ignore[return-value]  # a Denoiser without generate: attacks ask for what they need
    return _from_objects(source, scheduler, device, precision)


def _from_objects(source: Any, scheduler: Any, device: Any, dtype: torch.dtype | None) -> Generator:
    from diffusers import DDIMPipeline, DDPMPipeline, StableDiffusionPipeline, UNet2DModel

    name = type(source).__name__
    if isinstance(source, (DDPMPipeline, DDIMPipeline)):
        chosen = scheduler or source.scheduler
        return PixelDiffusion(source.unet, chosen, name=name, device=device, dtype=dtype)
    if isinstance(source, UNet2DModel):
        if scheduler is None:
            raise ModelError("A UNet2DModel needs its noise schedule. Pass scheduler=DDPMScheduler(...).")
        return PixelDiffusion(source, scheduler, name=name, device=device, dtype=dtype)
    if isinstance(source, StableDiffusionPipeline):
        if scheduler is not None:
            raise ModelError("`scheduler` must be left out for a pipeline object. Set pipeline.scheduler instead.")
        return StableDiffusion(source, name=name, device=device, dtype=dtype)
    raise ModelError(
        f"Cannot audit an object of type {name}. Pass a {' or '.join(PIPELINES)} (folder or "
        "object), a UNet2DModel with scheduler=..., or an object that satisfies models.Generator or models.Denoiser."
    )


def _from_folder(folder: Path, scheduler: Any, device: Any, dtype: torch.dtype | None) -> Generator:
    if folder.is_file():
        _refuse_file(folder)
    if not folder.is_dir():
        raise ModelError(
            f"Model path {str(folder)!r} does not exist. Give a folder written by pipeline.save_pretrained(...), or "
            f"{HUB_PREFIX}owner/name for the hub."
        )
    index = read_json(folder / "model_index.json") if (folder / "model_index.json").is_file() else None
    if index is None:
        raise ModelError(
            f"{str(folder)!r} holds no model_index.json, so it is no diffusers pipeline. "
            "Save the whole pipeline with pipeline.save_pretrained(...)."
        )
    kind = index.get("_class_name")
    name = folder.resolve().name
    if kind in PIXEL_PIPELINES:
        from diffusers import UNet2DModel

        unet = load_network(UNet2DModel, folder / "unet")
        chosen = scheduler or load_scheduler(folder / "scheduler")
        return PixelDiffusion(unet, chosen, name=name, device=device, dtype=dtype)
    if kind in TEXT_PIPELINES:
        return StableDiffusion(_stable_diffusion(folder, scheduler), name=name, device=device, dtype=dtype)
    raise ModelError(
        f"Pipeline class {kind!r} in {str(folder)!r} is not supported: {', '.join(PIPELINES)} are. "
        "Wrap it in an object with `identity` and `generate` (models.Generator) for the black-box claims."
    )


def _stable_diffusion(folder: Path, scheduler: Any) -> Any:
    """The pipeline without its safety checker, which is no part of the model under audit."""
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    return StableDiffusionPipeline(
        unet=load_network(UNet2DConditionModel, folder / "unet"),
        vae=load_network(AutoencoderKL, folder / "vae"),
        text_encoder=load_network(CLIPTextModel, folder / "text_encoder", TRANSFORMERS_WEIGHTS),
        tokenizer=load_tokenizer(CLIPTokenizer, folder / "tokenizer"),
        scheduler=scheduler or load_scheduler(folder / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _refuse_file(path: Path) -> None:
    if path.suffix in PICKLE_SUFFIXES:
        raise ModelError(
            f"{str(path)!r} is a pickle, which can run code when it is loaded. Convert it on a machine you trust: "
            f"python -m diffusers.scripts.convert_original_stable_diffusion_to_diffusers --checkpoint_path {path.name} "
            "--dump_path converted --to_safetensors, and audit the folder."
        )
    raise ModelError(f"{str(path)!r} is a file. Give the folder that pipeline.save_pretrained(...) wrote.")


def _download(source: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    repository, _, revision = source.removeprefix(HUB_PREFIX).partition("@")
    try:
        return Path(
            snapshot_download(
                repository, revision=revision or None, allow_patterns=["*.json", "*.safetensors", "*.txt"]
            )
        )
    except (LocalEntryNotFoundError, RepositoryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"Model {source!r} cannot be fetched from the hub: {type(error).__name__}. "
            "Check the name and the network, or download it and give the folder."
        ) from error


def _precision(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype):
        raise ModelError(f"`dtype` must be a torch precision such as float32, got {dtype!r}.")
    return found
