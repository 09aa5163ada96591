"""Array files: images in an .npz, .npy or .safetensors file, with captions or class indices in arrays beside them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes.tables import CAPTION_COLUMNS, CLASSES, LABEL_COLUMNS, prompt_of

SUFFIXES: Final = (".npz", ".npy", ".safetensors")
CAPTION_ARRAYS: Final = (*CAPTION_COLUMNS, "captions", "texts", "prompts")
LABEL_ARRAYS: Final = (*LABEL_COLUMNS, "labels", "classes", "targets", "y", "arr_1")
"""arr_1 is what numpy.savez calls a second array, as guided-diffusion's samples have it."""

Values = NDArray[Any]


def arrays_of(path: Path) -> tuple[Values, dict[str, Values]]:
    """The images of a file and what may be captions or class indices of them, by name.

    The images are its only array, the one called "images", or the only one with three dimensions or more.

    Raises:
        ProbeError: the file cannot be read, needs a pickle, or the images are not found.
    """
    if not path.is_file():
        raise ProbeError(f"Array file {str(path)!r} does not exist. Correct the path.")
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False), {}
        if path.suffix.lower() == ".npz":
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return _split({name: archive[name] for name in archive.files}, path)
        with safe_open(path, framework="numpy") as tensors:
            return _split({name: tensors.get_tensor(name) for name in tensors.keys()}, path)  # noqa: SIM118
    except ProbeError:
        raise
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, SafetensorError, ValueError, TypeError) as error:
        raise ProbeError(f"{str(path)!r} cannot be read as an array file ({error}). Write it again.") from error


def _split(arrays: Mapping[str, Values], path: Path) -> tuple[Values, dict[str, Values]]:
    many = [name for name, values in arrays.items() if values.ndim >= 3]
    known = ["images"] if "images" in arrays else list(arrays) if len(arrays) == 1 else many
    if len(known) != 1:
        raise ProbeError(
            f"{str(path)!r} holds arrays {sorted(arrays)}; cannot tell which are the images. Name one 'images'."
        )
    return arrays[known[0]], {name: values for name, values in arrays.items() if name != known[0] and values.ndim}


def captions_among(beside: Mapping[str, Values], count: int, origin: str, column: str | None) -> list[Prompt] | None:
    """A text or class index for each image from the arrays beside them; None: there are none.

    Args:
        beside: arrays by name.
        count: of the images.
        origin: what a message calls the file.
        column: the array to take; None: the only one that may be captions or, without one, class indices; CLASSES: the
            only one of class indices.

    Raises:
        ProbeError: there is no such array, or several, or it does not hold one value an image.
    """
    if column in (None, CLASSES):
        kinds = (LABEL_ARRAYS,) if column == CLASSES else (CAPTION_ARRAYS, LABEL_ARRAYS)
        found = next((names for names in ([n for n in kind if n in beside] for kind in kinds) if names), [])
        if not found:
            return None
        if len(found) > 1:
            raise ProbeError(
                f"{origin} has the arrays {' and '.join(found)}, and training may have used either. Name that one: "
                f"ProbeSet(..., captions={found[0]!r}) or diffprivacy_captions."
            )
        column = found[0]
    elif column not in beside:
        raise ProbeError(f"{origin} must have the array {column!r}, got {', '.join(sorted(beside)) or 'none of it'}.")
    values = beside[str(column)]
    if values.shape not in ((count,), (count, 1)):
        raise ProbeError(
            f"{column!r} in {origin} must hold one value for each of {count} images, got shape {values.shape}. Of one "
            "value a class, save .argmax(axis=1)."
        )
    kind = "label" if np.issubdtype(values.dtype, np.number) or column in LABEL_ARRAYS else "caption"
    return [prompt_of(value, kind, f"image {n} of {origin}") for n, value in enumerate(values.reshape(-1).tolist())]
