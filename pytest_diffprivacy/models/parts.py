"""Parts of a pipeline: read from safetensors and JSON, never a pickle, put together, frozen, and hashed as one."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, final

import torch
from safetensors import SafetensorError

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.adapters import AdapterGuard, adapter_facts, base_tensors
from pytest_diffprivacy.models.identity import public, weights_digest
from pytest_diffprivacy.models.running import refuse_offloaded, refuse_unreadable, tiled

PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
WEIGHTS: Final = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
"""File names of the weights, without suffixes, by the library that reads them."""
AGAIN = "Save the whole pipeline again."
NOTHING_LEFT_OUT: Final[Mapping[str, Any]] = MappingProxyType({})
"""Every part of the pipeline is part of the model under audit."""
DEPENDENT = ("dtype", "torch_dtype", "transformers_version", "architectures")
"""Entries of a transformers configuration that depend on how it was loaded."""
CAPTURING: Final = "transformers.utils.output_capturing"
CAPTURES: Final = "_output_capturing_hooks_installed"


def assemble_pipeline(
    folder: Path, index: Mapping[str, Any], *, scheduler: Any = None, left_out: Mapping[str, Any]
) -> Any:
    """A pipeline object from a folder that `save_pretrained` wrote.

    Args:
        folder: holds a folder for each part.
        index: what its model_index.json says.
        scheduler: in place of the saved one.
        left_out: parts that are not loaded, and what stands in their place.

    Raises:
        ModelError: a part is missing, damaged or pickled, or needs code that is neither diffusers' nor transformers'.
    """
    import diffusers

    kind = getattr(diffusers, str(index["_class_name"]))
    arguments: dict[str, Any] = {}
    parameters = inspect.signature(kind.__init__).parameters
    needed = [name for name, one in parameters.items() if name != "self" and one.default is one.empty]
    for name in parameters:
        if name in left_out:
            arguments[name] = left_out[name]
        elif name == "scheduler" and scheduler is not None:
            arguments[name] = scheduler
        elif isinstance(index.get(name), list):
            arguments[name] = _part(folder / name, *index[name])
        elif name in index:
            arguments[name] = index[name]
    missing = [name for name in needed if name not in arguments]
    if missing:
        raise ModelError(
            f"{str(folder / 'model_index.json')!r} does not name the {', '.join(missing)} of a {index['_class_name']}. "
            "Save the whole pipeline with pipeline.save_pretrained(...)."
        )
    return kind(**arguments)


@contextmanager
def without_progress() -> Iterator[None]:
    """A block in which transformers and diffusers draw no progress bars, which would go into a test's output."""
    import diffusers.utils.logging
    import transformers.utils.logging

    loggers = [diffusers.utils.logging, transformers.utils.logging]
    shown = [logger for logger in loggers if logger.is_progress_bar_enabled()]
    for logger in shown:
        logger.disable_progress_bar()
    try:
        yield
    finally:
        for logger in shown:
            logger.enable_progress_bar()


def _part(folder: Path, library: str | None, name: str | None) -> Any:
    """One part by the class that the index names; None where the pipeline was saved without it."""
    if library is None or name is None:
        return None
    if library not in WEIGHTS:
        raise ModelError(
            f"{str(folder)!r} is a {name} of {library!r}, which is code that comes with the model. Only parts of "
            f"{' and '.join(WEIGHTS)} are loaded. Wrap the pipeline in an object with `identity` and `generate`."
        )
    import diffusers
    import transformers

    kind = getattr({"diffusers": diffusers, "transformers": transformers}[library], name, None)
    if kind is None:
        raise ModelError(f"{library} has no class {name!r}. Save the pipeline with the version that is installed.")
    if name.endswith("Scheduler"):
        return load_scheduler(folder)
    if "Tokenizer" in name:
        return _tokenizer(kind, folder)
    if isinstance(kind, type) and issubclass(kind, torch.nn.Module):
        return load_network(kind, folder, library)
    return kind.from_pretrained(folder, local_files_only=True)


def load_network(kind: Any, folder: Path, library: str = "diffusers") -> Any:
    """A network with every weight it needs, in float32, of config.json and weights: whole, sharded, or in one variant.

    Raises:
        ModelError: files are missing, damaged or pickled, or a tensor is missing or has another shape.
    """
    read_json(folder / "config.json")
    precision = {"dtype" if library == "transformers" else "torch_dtype": torch.float32}
    variant = _variant(folder, WEIGHTS[library], kind.__name__)
    try:
        settings = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True, "variant": variant}
        with without_progress():
            network, found = kind.from_pretrained(folder, **settings, **precision)
    except (OSError, ValueError, RuntimeError, TypeError, SafetensorError) as error:
        raise ModelError(f"The network in {str(folder)!r} cannot be loaded: {error} {AGAIN}") from error
    if found["missing_keys"]:  # the libraries would fill them with random numbers and go on
        raise ModelError(
            f"The weights in {str(folder)!r} lack {len(found['missing_keys'])} of the network's tensors, such as "
            f"{min(found['missing_keys'])!r}. {AGAIN}"
        )
    return network


def load_scheduler(folder: Path) -> Any:
    """The scheduler that a saved pipeline names, one of diffusers' own."""
    import diffusers

    config = read_json(folder / "scheduler_config.json")
    name = str(config.get("_class_name", ""))
    kind = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
    if kind is None:
        raise ModelError(f"Scheduler class {name!r} in {str(folder)!r} is not one of diffusers'. Pass scheduler=...")
    return kind.from_config(config)


def _tokenizer(kind: Any, folder: Path) -> Any:
    """A tokenizer from its own files, which hold no code."""
    refuse_pickles(folder, kind.__name__)
    if not folder.is_dir():
        raise ModelError(f"{str(folder)!r} is missing. {AGAIN}")
    try:
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        raise ModelError(f"The tokenizer in {str(folder)!r} cannot be loaded: {error} {AGAIN}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or a ModelError that says what is there."""
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


def refuse_pickles(folder: Path, kind: str) -> None:
    """Refuse a folder that holds pickled weights, with the command that converts them."""
    pickles = sorted(p.name for p in folder.glob("*") if p.suffix in PICKLE_SUFFIXES)
    if pickles:
        library = "transformers" if kind.startswith(("CLIP", "T5")) else "diffusers"
        raise ModelError(
            f"{str(folder / pickles[0])!r} is a pickle, which can run code when it is loaded. Convert it on a machine "
            f'you trust: python -c "from {library} import {kind} as U; '
            f"U.from_pretrained('{folder}', use_safetensors=False).save_pretrained('{folder}')\", then delete it."
        )


def _variant(folder: Path, stem: str, kind: str) -> str | None:
    """The variant to read: None for the plain weights, else the only one there is."""
    found = sorted(p.name for p in folder.glob(f"{stem}*.safetensors*"))
    plain = (f"{stem}.safetensors", f"{stem}.safetensors.index.json")
    if any(name in plain for name in found):
        return None
    variants = sorted({_infix(name, stem) for name in found} - {""})
    if len(variants) == 1:
        return variants[0]
    if variants:
        raise ModelError(
            f"{str(folder)!r} holds the variants {', '.join(variants)} and no plain weights. Keep the one to audit."
        )
    refuse_pickles(folder, kind)
    raise ModelError(f"{str(folder / stem)!r}.safetensors is missing. Save the pipeline with safe_serialization=True.")


def _infix(name: str, stem: str) -> str:
    """The fp16 of model.fp16.safetensors, model.safetensors.index.fp16.json, model.fp16-00001-of-00002.safetensors."""
    rest = name.removeprefix(stem).removesuffix(".json").replace(".safetensors", "").replace(".index", "")
    return rest.partition("-")[0].strip(".")


@final
class FrozenPipeline:
    """A pipeline that was identified, then frozen in eval mode and brought to a device and precision.

    Its digest holds all parts but those left out, and the facts besides that its images depend on (None: as ever).
    Nothing in it is changed but its networks.

    Attributes:
        networks: the parts with weights, by name.
        digest: of all parts.
        guard: refuses to answer for another pipeline.
        call: the pipeline, without its progress bar.
    """

    def __init__(
        self,
        pipeline: Any,
        name: str,
        *,
        left_out: Mapping[str, Any] = NOTHING_LEFT_OUT,
        facts: Mapping[str, Any] = NOTHING_LEFT_OUT,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        parts = {name: part for name, part in pipeline.components.items() if name not in left_out}
        self.networks = {name: part for name, part in parts.items() if isinstance(part, torch.nn.Module)}
        self.digest = _digest(pipeline, self.networks, {name: fact for name, fact in facts.items() if fact is not None})
        self.guard = AdapterGuard(pipeline.components, name)
        settle_networks(self.networks, device, dtype)
        self.call = copy.copy(pipeline)  # it shares every part; only its progress bar is not the user's
        self.call.set_progress_bar_config(disable=True)

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs, without what cannot be pickled.

        transformers hangs that on a text encoder that has returned hidden states; it comes back by itself.
        """
        for module in (module for network in self.networks.values() for module in network.modules()):
            for key, hook in list(module._forward_hooks.items()):
                if getattr(hook, "__module__", "") == CAPTURING:
                    del module._forward_hooks[key]
            if CAPTURES in module.__dict__:
                setattr(module, CAPTURES, False)
        return self.__dict__


def refuse_incomplete(pipeline: Any, left_out: Mapping[str, Any]) -> None:
    """Refuse a text-to-image pipeline that lacks a part which it needs; the third text encoder may be None."""
    optional = {*left_out, "image_encoder", "feature_extractor", "text_encoder_3", "tokenizer_3"}
    lacking = [name for name, part in pipeline.components.items() if part is None and name not in optional]
    if lacking:
        raise ModelError(
            f"`pipeline` must hold all of its parts, got a {type(pipeline).__name__} with None as "
            f"{', '.join(sorted(lacking))}. Load the whole pipeline."
        )


def settle_networks(networks: Mapping[str, Any], device: Any, dtype: torch.dtype | None) -> None:
    """Freeze networks in eval mode, and bring them to a device and to one precision where they are given."""
    refuse_unreadable(networks, dtype)
    for network in networks.values():
        torch.nn.Module.to(network.eval().requires_grad_(False), device=device, dtype=dtype)
    plain = {name: network.dtype for name, network in networks.items() if not getattr(network, "is_quantized", False)}
    if len(set(plain.values())) > 1:
        found = ", ".join(f"{name} in {str(one).removeprefix('torch.')}" for name, one in plain.items())
        raise ModelError(
            f"The pipeline's networks must run in one precision, got {found} (transformers loads that of the file, "
            "diffusers float32). Give load_model(..., dtype='float32'), or load the pipeline with torch_dtype=..."
        )


def _digest(pipeline: Any, networks: Mapping[str, Any], further: Mapping[str, Any]) -> str:
    """sha256 over the weights and configurations of all parts, tokenizers and schedulers included."""
    refuse_offloaded(networks)
    refuse_unreadable(networks, None)
    tensors = ((f"{name}.{key}", t) for name, part in networks.items() for key, t in base_tensors(part))
    configuration: dict[str, Any] = {name: _architecture(network.config) for name, network in networks.items()}
    for name, part in pipeline.components.items():
        if part is not None and name.endswith("scheduler"):
            configuration[name] = dict(part.config)
        if part is not None and "tokenizer" in name:
            configuration[name] = {
                "vocabulary": part.get_vocab(),
                "special": {k: str(v) for k, v in part.special_tokens_map.items()},
                "length": part.model_max_length,
            }
    found = {"tiles": tiled(networks), "adapters": adapter_facts(pipeline.components)}
    present = {name: facts for name, facts in found.items() if facts}
    return weights_digest(tensors, public(configuration | dict(further) | present))


def _architecture(config: Any) -> dict[str, Any]:
    """A configuration of diffusers, which is a mapping, or one of transformers without what depends on loading."""
    if isinstance(config, Mapping):
        return dict(config)
    return {key: value for key, value in config.to_dict().items() if key not in DEPENDENT}


def unet_shape(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """(channels, height, width) of what a UNet of this configuration takes."""
    size, channels = config.get("sample_size"), int(config["in_channels"])
    if size is None:
        raise ModelError("The UNet's configuration has no `sample_size`. Set it to the training resolution.")
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    return channels, height, width
