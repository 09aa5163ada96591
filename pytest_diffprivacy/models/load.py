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
from pytest_diffprivacy.models.parts import assemble_pipeline, read_json
from pytest_diffprivacy.models.planned import planned_model
from pytest_diffprivacy.models.protocols import Denoiser, Generator
from pytest_diffprivacy.models.refusals import (
    refuse_adapter,
    refuse_editing,
    refuse_file,
    refuse_part,
    refuse_remote_code,
    unknown_object,
)
from pytest_diffprivacy.models.running import check_device, in_arithmetic
from pytest_diffprivacy.models.single_file import single_file_pipeline
from pytest_diffprivacy.models.text_to_image import TextToImage

PIXEL_PIPELINES = ("DDPMPipeline", "DDIMPipeline")
CONSISTENCY_PIPELINES = ("ConsistencyModelPipeline",)
CLASS_PIPELINES = ("DiTPipeline",)
BLACK_BOXES = ("KandinskyV22CombinedPipeline",)
PIPELINES = (*PIXEL_PIPELINES, *FAMILIES, *CLASS_PIPELINES, *CONSISTENCY_PIPELINES, *BLACK_BOXES)
HUB_PREFIX = "hub:"
WANTED_FILES = ["*.json", "*/*.safetensors", "*.txt", "*.model"]
"""A pipeline's weights lie in a folder for each part; beside the folders lie whole checkpoints in one file."""
UNWANTED_FILES = ["*.non_ema[.-]*"]
VARIANTS = ("fp16", "bf16")
"""Precisions of the weights that are only fetched for the parts that have no others."""


def load_model(
    source: object,
    *,
    scheduler: object | None = None,
    resolution: int | None = None,
    null_label: int | None = None,
    clip_skip: int | None = None,
    config: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    channels_last: bool = False,
    compile: bool = False,
) -> Generator:
    """Bring a model behind the access protocols.

    Args:
        source: a folder written by `save_pretrained` of one of the PIPELINES; `hub:owner/name[@revision]`; such a
            pipeline object; a checkpoint in one .safetensors file (then `config` is required); a diffusers UNet2DModel
            (then `scheduler` is required); or any object that already satisfies models.Generator or models.Denoiser,
            which is returned as it is.
        scheduler: the diffusers scheduler of a bare UNet; overrides a saved pipeline's own.
        resolution: pixels a side of a text-to-image model's images; the pipeline's own by default.
        null_label: the class of a class-conditional UNet that was trained as "no class". Without one, every image is
            asked for with its class, and guidance is refused.
        clip_skip: layers of CLIP that a text-to-image model leaves out at its end, as in diffusers' call.
        config: folder of a pipeline of the same kind, with or without weights: the model_index.json, configurations and
            tokenizers of a checkpoint in one file, which diffusers' own loader reads. Nothing is fetched.
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
        return planned_model(config or source, null_label)  # type: ignore[return-value]  # it stands for one, and predicts nothing
    precision = _precision(dtype)
    check_device(device)
    if isinstance(source, str) and source.startswith(HUB_PREFIX):
        source = _download(source)
    wanted = _Wanted(scheduler, resolution, device, null_label, clip_skip, None if config is None else Path(config))
    if isinstance(source, (str, Path)):
        load = partial(_from_folder, Path(source), wanted)
        return in_arithmetic(load, precision, channels_last=channels_last, compiled=compile)
    if channels_last:
        raise ModelError("`channels_last` must be left out for an object: lay out its network before it is given.")
    if compile:
        raise ModelError(
            "`compile` must be left out for an object, which has no second copy to be compared with. Save a pipeline "
            "with save_pretrained(...) and give its folder; compile another network before it is wrapped."
        )
    if isinstance(source, (Generator, Denoiser)):
        for name in ("scheduler", "resolution", "null_label", "clip_skip", "config"):
            if getattr(wanted, name) is not None:
                raise ModelError(f"`{name}` must be left out for an object that satisfies a protocol already.")
        return source  # type: ignore[return-value]  # a Denoiser without generate: attacks ask for what they need
    return _from_objects(source, replace(wanted, dtype=precision))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What was given to `load_model` beside the source."""

    scheduler: Any
    resolution: int | None
    device: str | torch.device | None
    null_label: int | None = None
    clip_skip: int | None = None
    config: Path | None = None
    dtype: torch.dtype | None = None

    def adapted(self, pipeline: Any, kinds: set[str], name: str) -> Generator | None:
        """A pipeline object behind the protocols, by the names of its class and those it was derived from."""
        where: dict[str, Any] = {"name": name, "device": self.device, "dtype": self.dtype}
        if not kinds.isdisjoint(PIXEL_PIPELINES):
            return self.pixel(pipeline.unet, self.scheduler or pipeline.scheduler, name)
        if not kinds.isdisjoint(CONSISTENCY_PIPELINES):
            return self.pixel(pipeline.unet, pipeline.scheduler, name, pipeline)
        if not kinds.isdisjoint(CLASS_PIPELINES):
            self.refuse("a model that takes no texts", "resolution", "clip_skip")
            self.refuse("a DiTPipeline, which has its own", "null_label")
            return ClassToImage(pipeline, **where)
        if family_of(pipeline) is not None:
            self.refuse("a model that takes texts", "null_label")
            return TextToImage(pipeline, resolution=self.resolution, clip_skip=self.clip_skip, **where)
        if not kinds.isdisjoint(BLACK_BOXES):
            self.refuse("a black box", "null_label", "clip_skip")
            return PipelineGenerator(pipeline, resolution=self.resolution, **where)
        return None

    def pixel(self, unet: Any, scheduler: Any, name: str, pipeline: Any = None) -> PixelDiffusion:
        """A UNet2DModel behind the protocols."""
        self.refuse("a model that takes no texts", "resolution", "clip_skip")
        return PixelDiffusion(
            unet,
            scheduler,
            name=name,
            null_label=self.null_label,
            pipeline=pipeline,
            device=self.device,
            dtype=self.dtype,
        )

    def refuse(self, what: str, *names: str) -> None:
        """Refuse what was given for a model that does not take it."""
        for name in names:
            if getattr(self, name) is not None:
                raise ModelError(f"`{name}` must be None for {what}, got {getattr(self, name)!r}.")


def _from_objects(source: Any, wanted: _Wanted) -> Generator:
    from diffusers import UNet2DModel

    wanted.refuse("an object, which has its own", "config")
    name = type(source).__name__
    kinds = {kind.__name__ for kind in type(source).__mro__}
    if isinstance(source, UNet2DModel):
        if wanted.scheduler is None:
            raise ModelError("A UNet2DModel needs its noise schedule. Pass scheduler=DDPMScheduler(...).")
        return wanted.pixel(source, wanted.scheduler, name)
    adapted = wanted.adapted(source, kinds, name)
    if adapted is None:
        refuse_editing(name)
        raise unknown_object(source, f"a {' or '.join(PIPELINES)} (folder or object), a UNet2DModel with scheduler=...")
    if wanted.scheduler is not None and kinds.isdisjoint(PIXEL_PIPELINES):
        raise ModelError("`scheduler` must be left out for a pipeline object. Set pipeline.scheduler instead.")
    return adapted


def _from_folder(folder: Path, wanted: _Wanted, dtype: torch.dtype | None) -> Generator:
    if folder.is_file():
        if wanted.config is not None and folder.suffix == ".safetensors":
            return _from_file(folder, wanted.config, replace(wanted, dtype=dtype))
        refuse_file(folder)
    wanted.refuse("a folder or hub model, which has its own", "config")
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
    if kind in PIPELINES:
        left_out = FAMILIES[kind].left_out if kind in FAMILIES else {}
        pipeline = assemble_pipeline(folder, index, scheduler=wanted.scheduler, left_out=left_out)
        adapted = replace(wanted, dtype=dtype).adapted(pipeline, {kind}, name)
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


def _from_file(path: Path, config: Path, wanted: _Wanted) -> Generator:
    """A checkpoint in one file, with the configurations and tokenizers of a folder."""
    refuse_adapter(path, [path])
    index = read_json(config / "model_index.json")
    refuse_remote_code(config, index)
    kind = str(index.get("_class_name"))
    if kind not in FAMILIES:
        raise ModelError(
            f"`config` must be the folder of a text-to-image pipeline ({', '.join(FAMILIES)}), got a {kind} in "
            f"{str(config)!r}."
        )
    pipeline = single_file_pipeline(path, config, index, scheduler=wanted.scheduler, left_out=FAMILIES[kind].left_out)
    adapted = wanted.adapted(pipeline, {kind}, path.stem)
    assert adapted is not None, "every family has its adapter"
    return adapted


def _download(source: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    repository, _, revision = source.removeprefix(HUB_PREFIX).partition("@")

    def fetched(unwanted: list[str]) -> Path:
        ignored = [*UNWANTED_FILES, *unwanted]
        return Path(
            snapshot_download(
                repository, revision=revision or None, allow_patterns=WANTED_FILES, ignore_patterns=ignored
            )
        )

    try:
        folder = fetched([f"*.{variant}[.-]*" for variant in VARIANTS])
        for variant in VARIANTS:
            parts = {path.parent for path in folder.glob("[!.]*/config.json")}
            complete = [part.name for part in parts if any(part.glob("*.safetensors"))]
            if len(complete) == len(parts):
                break
            others = [f"*.{other}[.-]*" for other in VARIANTS if other != variant]
            folder = fetched([*others, *(f"{part}/*.{variant}[.-]*" for part in complete)])
        return folder
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
