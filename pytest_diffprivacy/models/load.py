"""load_model: a folder, hub id or object behind the access protocols; safetensors only, never a pickle or code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pytest_diffprivacy import options
from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.class_conditional import ClassToImage, PixelDiffusion
from pytest_diffprivacy.models.families import FAMILIES, REFUSED, family_of
from pytest_diffprivacy.models.generators import PipelineGenerator
from pytest_diffprivacy.models.parts import assemble_pipeline, load_network, load_scheduler, read_json
from pytest_diffprivacy.models.planned import planned_model
from pytest_diffprivacy.models.protocols import Denoiser, Generator
from pytest_diffprivacy.models.refusals import (
    refuse_editing,
    refuse_file,
    refuse_part,
    refuse_remote_code,
    unknown_object,
)
from pytest_diffprivacy.models.running import check_device, in_arithmetic
from pytest_diffprivacy.models.text_to_image import TextToImage

PIXEL_PIPELINES = ("DDPMPipeline", "DDIMPipeline")
CONSISTENCY_PIPELINES = ("ConsistencyModelPipeline",)
CLASS_PIPELINES = ("DiTPipeline",)
BLACK_BOXES = ("KandinskyV22CombinedPipeline",)
PIPELINES = (*PIXEL_PIPELINES, *FAMILIES, *CLASS_PIPELINES, *CONSISTENCY_PIPELINES, *BLACK_BOXES)
HUB_PREFIX = "hub:"
WANTED_FILES = ["*.json", "*/*.safetensors", "*.txt", "*.model"]
"""A pipeline's weights lie in a folder for each part; beside the folders lie whole checkpoints in one file."""
UNWANTED_FILES = ["*.fp16[.-]*", "*.bf16[.-]*", "*.non_ema[.-]*"]
"""Variants of the weights, which `from_pretrained` does not read."""


def load_model(
    source: object,
    *,
    scheduler: object | None = None,
    resolution: int | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    channels_last: bool = False,
    compile: bool = False,
) -> Generator:
    """Bring a model behind the access protocols.

    Args:
        source: a folder written by `save_pretrained` of one of the PIPELINES; `hub:owner/name[@revision]`; such a
            pipeline object; a diffusers UNet2DModel (then `scheduler` is required); or any object that already
            satisfies models.Generator or models.Denoiser, which is returned as it is.
        scheduler: the diffusers scheduler of a bare UNet; overrides a saved pipeline's own.
        resolution: pixels a side of a text-to-image model's images; the pipeline's own by default.
        device: where to run, e.g. "cpu" or "cuda:0".
        dtype: precision to run in, e.g. "float32" or torch.float64. Half precision of a folder or hub model is compared
            with float32 on a sample; its identity, and every record, says how far it is off.
        channels_last: whether the network of a folder or hub model is laid out channels last; compared likewise.
        compile: whether torch.compile makes the code of a folder or hub model's network, once a process, which takes
            a minute or more; compared likewise. Derivatives and attention go on using the network itself.

    Returns:
        A model; pipelines offer white-box access. While a pytest run is only planned (--diffprivacy-plan), the
        stand-in of a folder or hub model: nothing is loaded.

    Raises:
        ModelError: the path is missing, holds a pickle, an unsupported pipeline or remote code, the object is none of
            the above, or the network cannot be compiled; the message names it and the remedy.
    """
    if options.planning() and isinstance(source, (str, Path)):
        return planned_model(source)  # type: ignore[return-value]  # it stands for one, and predicts nothing
    precision = _precision(dtype)
    check_device(device)
    if isinstance(source, str) and source.startswith(HUB_PREFIX):
        source = _download(source)
    if isinstance(source, (str, Path)):
        load = partial(_from_folder, Path(source), _Wanted(scheduler, resolution, device))
        return in_arithmetic(load, precision, channels_last=channels_last, compiled=compile)
    if channels_last:
        raise ModelError("`channels_last` must be left out for an object: lay out its network before it is given.")
    if compile:
        raise ModelError(
            "`compile` must be left out for an object, which has no second copy to be compared with. Save a pipeline "
            "with save_pretrained(...) and give its folder; compile another network before it is wrapped."
        )
    if isinstance(source, (Generator, Denoiser)):
        for name, given in (("scheduler", scheduler), ("resolution", resolution)):
            if given is not None:
                raise ModelError(f"`{name}` must be left out for an object that satisfies a protocol already.")
        return source  # type: ignore[return-value]  # a Denoiser without generate: attacks ask for what they need
    return _from_objects(source, _Wanted(scheduler, resolution, device, precision))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What was given to `load_model` beside the source."""

    scheduler: Any
    resolution: int | None
    device: str | torch.device | None
    dtype: torch.dtype | None = None

    def adapted(self, pipeline: Any, kinds: set[str], name: str) -> Generator | None:
        """A pipeline object behind the protocols, by the names of its class and those it was derived from."""
        device, dtype, resolution = self.device, self.dtype, self.resolution
        if family_of(pipeline) is not None:
            return TextToImage(pipeline, name=name, resolution=resolution, device=device, dtype=dtype)
        if not kinds.isdisjoint(BLACK_BOXES):
            return PipelineGenerator(pipeline, name=name, resolution=resolution, device=device, dtype=dtype)
        if not kinds.isdisjoint(CLASS_PIPELINES):
            self.refuse_resolution()
            return ClassToImage(pipeline, name=name, device=device, dtype=dtype)
        if not kinds.isdisjoint(CONSISTENCY_PIPELINES):
            return self.pixel(pipeline.unet, pipeline.scheduler, name, pipeline)
        return None

    def pixel(self, unet: Any, scheduler: Any, name: str, pipeline: Any = None) -> PixelDiffusion:
        """A UNet2DModel behind the protocols."""
        self.refuse_resolution()
        return PixelDiffusion(unet, scheduler, name=name, pipeline=pipeline, device=self.device, dtype=self.dtype)

    def refuse_resolution(self) -> None:
        """Refuse a resolution of a model that has its own."""
        if self.resolution is not None:
            raise ModelError(f"`resolution` must be None for a model that takes no texts, got {self.resolution!r}.")


def _from_objects(source: Any, wanted: _Wanted) -> Generator:
    from diffusers import UNet2DModel

    name = type(source).__name__
    kinds = {kind.__name__ for kind in type(source).__mro__}
    if isinstance(source, UNet2DModel):
        if wanted.scheduler is None:
            raise ModelError("A UNet2DModel needs its noise schedule. Pass scheduler=DDPMScheduler(...).")
        return wanted.pixel(source, wanted.scheduler, name)
    if not kinds.isdisjoint(PIXEL_PIPELINES):
        return wanted.pixel(source.unet, wanted.scheduler or source.scheduler, name)
    adapted = wanted.adapted(source, kinds, name)
    if adapted is None:
        refuse_editing(name)
        raise unknown_object(source, f"a {' or '.join(PIPELINES)} (folder or object), a UNet2DModel with scheduler=...")
    if wanted.scheduler is not None:
        raise ModelError("`scheduler` must be left out for a pipeline object. Set pipeline.scheduler instead.")
    return adapted


def _from_folder(folder: Path, wanted: _Wanted, dtype: torch.dtype | None) -> Generator:
    if folder.is_file():
        refuse_file(folder)
    if not folder.is_dir():
        raise ModelError(
            f"Model path {str(folder)!r} does not exist. Give a folder written by pipeline.save_pretrained(...), or "
            f"{HUB_PREFIX}owner/name for the hub."
        )
    index = read_json(folder / "model_index.json") if (folder / "model_index.json").is_file() else None
    if index is None:
        refuse_part(folder)
    refuse_remote_code(folder, index)
    kind, name = str(index.get("_class_name")), folder.resolve().name
    wanted = replace(wanted, dtype=dtype)
    if kind in PIXEL_PIPELINES:
        from diffusers import UNet2DModel

        wanted.refuse_resolution()
        unet = load_network(UNet2DModel, folder / "unet")
        return wanted.pixel(unet, wanted.scheduler or load_scheduler(folder / "scheduler"), name)
    if kind in PIPELINES:
        left_out = FAMILIES[kind].left_out if kind in FAMILIES else {}
        pipeline = assemble_pipeline(folder, index, scheduler=wanted.scheduler, left_out=left_out)
        adapted = wanted.adapted(pipeline, {kind}, name)
        assert adapted is not None, "every supported class has its adapter"
        return adapted
    if kind in REFUSED:
        raise ModelError(f"The {kind} in {str(folder)!r} cannot be audited. {REFUSED[kind]}")
    refuse_editing(kind)
    raise ModelError(
        f"Pipeline class {kind!r} in {str(folder)!r} is not supported: {', '.join(PIPELINES)} are. "
        "For the black-box claims, load it yourself and pass models.PipelineGenerator(pipeline), or an object with "
        "`identity` and `generate`."
    )


def _download(source: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    repository, _, revision = source.removeprefix(HUB_PREFIX).partition("@")
    try:
        return Path(
            snapshot_download(
                repository, revision=revision or None, allow_patterns=WANTED_FILES, ignore_patterns=UNWANTED_FILES
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
