"""How is one part of a saved pipeline read? From safetensors and JSON, complete or not at all; never from a pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from pytest_diffprivacy.errors import ModelError

PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model"
TRANSFORMERS_WEIGHTS = "model"
AGAIN = "Save the whole pipeline again."


def load_network(kind: Any, folder: Path, stem: str = DIFFUSERS_WEIGHTS) -> Any:
    """A diffusers or transformers network with every weight it needs, in float32.

    Args:
        kind: the class, with `from_pretrained`.
        folder: holds config.json and the weights, whole, sharded, or in one variant such as fp16.
        stem: file name of the weights without suffixes.

    Raises:
        ModelError: files are missing, damaged or pickled, or a tensor is missing or has another shape.
    """
    read_json(folder / "config.json")
    precision = {"dtype": torch.float32} if stem == TRANSFORMERS_WEIGHTS else {"torch_dtype": torch.float32}
    variant = _variant(folder, stem, kind.__name__)
    try:
        with _silently():
            network, found = kind.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                variant=variant,
                **precision,
            )
    except (OSError, ValueError, RuntimeError, TypeError, SafetensorError) as error:
        raise ModelError(f"The network in {str(folder)!r} cannot be loaded: {error} {AGAIN}") from error
    if found["missing_keys"]:  # the libraries would fill them with random numbers and go on
        raise ModelError(
            f"The weights in {str(folder)!r} lack {len(found['missing_keys'])} of the network's tensors, such as "
            f"{min(found['missing_keys'])!r}. {AGAIN}"
        )
    return network


def load_scheduler(folder: Path) -> Any:
    """The scheduler that a saved pipeline names, one of diffusers' own.

    Raises:
        ModelError: the configuration is missing or damaged, or names another class.
    """
    import diffusers

    config = read_json(folder / "scheduler_config.json")
    name = str(config.get("_class_name", ""))
    kind = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
    if kind is None:
        raise ModelError(f"Scheduler class {name!r} in {str(folder)!r} is not one of diffusers'. Pass scheduler=...")
    return kind.from_config(config)


def load_tokenizer(kind: Any, folder: Path) -> Any:
    """A tokenizer from its own files, which hold no code.

    Raises:
        ModelError: files are missing or damaged, or hold a pickle.
    """
    refuse_pickles(folder, kind.__name__)
    if not folder.is_dir():
        raise ModelError(f"{str(folder)!r} is missing. {AGAIN}")
    try:
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        raise ModelError(f"The tokenizer in {str(folder)!r} cannot be loaded: {error} {AGAIN}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ModelError: the file is missing, or holds anything else.
    """
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
    """Refuse a folder that holds pickled weights.

    Raises:
        ModelError: it does; the message says how to convert them.
    """
    pickles = sorted(p.name for p in folder.glob("*") if p.suffix in PICKLE_SUFFIXES)
    if pickles:
        library = "transformers" if kind.startswith(("CLIP", "T5")) else "diffusers"
        raise ModelError(
            f"{str(folder / pickles[0])!r} is a pickle, which can run code when it is loaded. Convert it on a machine "
            f'you trust: python -c "from {library} import {kind} as U; '
            f"U.from_pretrained('{folder}', use_safetensors=False).save_pretrained('{folder}')\", then delete it."
        )


@contextmanager
def _silently() -> Iterator[None]:
    """Without transformers' progress bar, which would write into a test's output."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


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
