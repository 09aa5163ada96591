"""What does `load_model` accept, and what does it refuse? Safetensors and configurations; never a pickle or code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.pixel import PixelDiffusion
from pytest_diffprivacy.models.protocols import Denoiser, Generator

PIXEL_PIPELINES = ("DDPMPipeline", "DDIMPipeline")
PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
WEIGHTS = "diffusion_pytorch_model"
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
        source: a folder written by `save_pretrained` of a DDPMPipeline or DDIMPipeline; `hub:owner/name[@revision]`;
            such a pipeline object; a diffusers UNet2DModel (then `scheduler` is required); or any object that already
            satisfies models.Generator or models.Denoiser, which is returned as it is.
        scheduler: the diffusers scheduler of a bare UNet; overrides a pipeline's own.
        device: where to run, e.g. "cpu" or "cuda:0".
        dtype: precision to run in, e.g. "float32" or torch.float64.

    Returns:
        A model; pixel pipelines offer white-box access.

    Raises:
        ModelError: the path is missing, holds a pickle, an unsupported pipeline or remote code, or the object is none
            of the above; the message names it and the cure.
    """
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


def _from_objects(source: Any, scheduler: Any, device: Any, dtype: torch.dtype | None) -> PixelDiffusion:
    from diffusers import DDIMPipeline, DDPMPipeline, UNet2DModel

    if isinstance(source, (DDPMPipeline, DDIMPipeline)):
        chosen = scheduler or source.scheduler
        return PixelDiffusion(source.unet, chosen, name=type(source).__name__, device=device, dtype=dtype)
    if isinstance(source, UNet2DModel):
        if scheduler is None:
            raise ModelError("A UNet2DModel needs its noise schedule. Pass scheduler=DDPMScheduler(...).")
        return PixelDiffusion(source, scheduler, name=type(source).__name__, device=device, dtype=dtype)
    raise ModelError(
        f"Cannot audit an object of type {type(source).__name__}. Pass a {' or '.join(PIXEL_PIPELINES)} (folder or "
        "object), a UNet2DModel with scheduler=..., or an object that satisfies models.Generator or models.Denoiser."
    )


def _from_folder(folder: Path, scheduler: Any, device: Any, dtype: torch.dtype | None) -> PixelDiffusion:
    if folder.is_file():
        _refuse_file(folder)
    if not folder.is_dir():
        raise ModelError(
            f"Model path {str(folder)!r} does not exist. Give a folder written by pipeline.save_pretrained(...), or "
            f"{HUB_PREFIX}owner/name for the hub."
        )
    index = _read_json(folder / "model_index.json") if (folder / "model_index.json").is_file() else None
    if index is None:
        raise ModelError(
            f"{str(folder)!r} holds no model_index.json, so it is no diffusers pipeline. "
            "Save the whole pipeline with pipeline.save_pretrained(...)."
        )
    kind = index.get("_class_name")
    if kind not in PIXEL_PIPELINES:
        raise ModelError(
            f"Pipeline class {kind!r} in {str(folder)!r} is not supported: {' and '.join(PIXEL_PIPELINES)} are. "
            "Wrap it in an object with `identity` and `generate` (models.Generator) for the black-box claims."
        )
    _refuse_pickles(folder / "unet")
    chosen = scheduler or _scheduler(folder / "scheduler")
    return PixelDiffusion(_unet(folder / "unet"), chosen, name=folder.resolve().name, device=device, dtype=dtype)


def _unet(folder: Path) -> Any:
    from diffusers import UNet2DModel

    _read_json(folder / "config.json")
    try:
        unet, found = UNet2DModel.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise ModelError(
            f"The network in {str(folder)!r} cannot be loaded: {error} Save the whole pipeline again."
        ) from error
    if found["missing_keys"]:  # diffusers would fill them with random numbers and go on
        raise ModelError(
            f"The weights in {str(folder)!r} lack {len(found['missing_keys'])} of the network's tensors, such as "
            f"{min(found['missing_keys'])!r}. Save the whole pipeline again."
        )
    return unet


def _scheduler(folder: Path) -> Any:
    import diffusers

    config = _read_json(folder / "scheduler_config.json")
    name = str(config.get("_class_name", ""))
    kind = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
    if kind is None:
        raise ModelError(f"Scheduler class {name!r} in {str(folder)!r} is not one of diffusers'. Pass scheduler=...")
    return kind.from_config(config)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{str(path)!r} is missing. Save the whole pipeline with pipeline.save_pretrained(...)."
        ) from None
    except ValueError as error:
        raise ModelError(f"{str(path)!r} is not valid JSON: {error}. Save the pipeline again.") from None
    if not isinstance(content, dict):
        raise ModelError(f"{str(path)!r} must hold a JSON object. Save the pipeline again.")
    return content


def _refuse_file(path: Path) -> None:
    if path.suffix in PICKLE_SUFFIXES:
        raise ModelError(
            f"{str(path)!r} is a pickle, which can run code when it is loaded. Convert it on a machine you trust: "
            f"python -m diffusers.scripts.convert_original_stable_diffusion_to_diffusers --checkpoint_path {path.name} "
            "--dump_path converted --to_safetensors, and audit the folder."
        )
    raise ModelError(f"{str(path)!r} is a file. Give the folder that pipeline.save_pretrained(...) wrote.")


def _refuse_pickles(folder: Path) -> None:
    if (folder / f"{WEIGHTS}.safetensors").is_file():
        return
    pickles = sorted(p.name for p in folder.glob("*") if p.suffix in PICKLE_SUFFIXES)
    if pickles:
        raise ModelError(
            f"{str(folder / pickles[0])!r} is a pickle, which can run code when it is loaded. Convert it on a machine "
            f'you trust: python -c "from diffusers import UNet2DModel as U; '
            f"U.from_pretrained('{folder}', use_safetensors=False).save_pretrained('{folder}')\", then delete it."
        )
    raise ModelError(
        f"{str(folder / WEIGHTS)!r}.safetensors is missing. Save the pipeline with safe_serialization=True."
    )


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
