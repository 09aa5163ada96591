"""How are the parts of a saved pipeline put together? Each from its own folder, none that needs code of its own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.components import (
    DIFFUSERS_WEIGHTS,
    TRANSFORMERS_WEIGHTS,
    load_network,
    load_scheduler,
    load_tokenizer,
)

LIBRARIES = ("diffusers", "transformers")


def assemble_pipeline(
    folder: Path, index: Mapping[str, Any], *, scheduler: Any = None, left_out: Mapping[str, Any]
) -> Any:
    """A pipeline object from a folder that `save_pretrained` wrote.

    Args:
        folder: holds a folder for each part.
        index: what its model_index.json says.
        scheduler: stands in place of the saved one.
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


def _part(folder: Path, library: str | None, name: str | None) -> Any:
    """One part by the class that the index names; None where the pipeline was saved without it."""
    if library is None or name is None:
        return None
    if library not in LIBRARIES:
        raise ModelError(
            f"{str(folder)!r} is a {name} of {library!r}, which is code that comes with the model. Only parts of "
            f"{' and '.join(LIBRARIES)} are loaded. Wrap the pipeline in an object with `identity` and `generate`."
        )
    kind = _class(library, name)
    if name.endswith("Scheduler"):
        return load_scheduler(folder)
    if "Tokenizer" in name:
        return load_tokenizer(kind, folder)
    if isinstance(kind, type) and issubclass(kind, torch.nn.Module):
        return load_network(kind, folder, DIFFUSERS_WEIGHTS if library == "diffusers" else TRANSFORMERS_WEIGHTS)
    return kind.from_pretrained(folder, local_files_only=True)


def _class(library: str, name: str) -> Any:
    import diffusers
    import transformers

    found = getattr({"diffusers": diffusers, "transformers": transformers}[library], name, None)
    if found is None:
        raise ModelError(f"{library} has no class {name!r}. Save the pipeline with the version that is installed.")
    return found
