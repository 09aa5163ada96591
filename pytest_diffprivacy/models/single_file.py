"""A checkpoint in one file as a pipeline: read by diffusers' own loader, from safetensors only, offline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.parts import WEIGHTS, refuse_pickles, without_progress


def single_file_pipeline(
    path: Path, config: Path, index: Mapping[str, Any], *, scheduler: Any = None, left_out: Mapping[str, Any]
) -> Any:
    """A pipeline object of a checkpoint in one file, by diffusers' own loader, which fetches nothing.

    Args:
        path: the .safetensors file.
        config: a folder with configurations and tokenizers, and the weights of parts that the file lacks.
        index: what its model_index.json says.
        scheduler: in place of the saved one.
        left_out: parts that are not loaded, and what stands in their place.

    Raises:
        ModelError: diffusers cannot load it, accelerate is missing, or it lacks a tensor.
    """
    import diffusers
    from diffusers.utils import is_accelerate_available

    if not is_accelerate_available():  # diffusers would fill what the file lacks with random numbers and go on
        raise ModelError(
            f"The checkpoint {str(path)!r} cannot be loaded without accelerate: a tensor that it lacks would go "
            "unnoticed. pip install accelerate, or give the folder of a pipeline."
        )
    for name, entry in index.items():
        if isinstance(entry, list) and entry[0] is not None and name not in left_out:
            if entry[0] not in WEIGHTS:
                raise ModelError(
                    f"{str(config / name)!r} is a {entry[1]} of {entry[0]!r}, which is not loaded. Load the pipeline "
                    "yourself and pass it to load_model(...)."
                )
            refuse_pickles(config / name, str(entry[1]))
    given = dict(left_out) | ({} if scheduler is None else {"scheduler": scheduler})
    kind = getattr(diffusers, str(index["_class_name"]))
    try:
        with without_progress():
            pipeline = kind.from_single_file(
                str(path), config=str(config), local_files_only=True, torch_dtype=torch.float32, **given
            )
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError) as error:
        raise ModelError(f"The checkpoint {str(path)!r} cannot be loaded as a {kind.__name__}: {error}") from error
    for name, part in pipeline.components.items():
        tensors = part.state_dict() if isinstance(part, torch.nn.Module) else {}
        lacking = [key for key, tensor in tensors.items() if tensor.is_meta]
        if lacking:
            raise ModelError(
                f"The checkpoint {str(path)!r} lacks {len(lacking)} tensors of the {name}, such as {min(lacking)!r}. "
                f"Is {str(config)!r} a pipeline of its kind?"
            )
    return pipeline
