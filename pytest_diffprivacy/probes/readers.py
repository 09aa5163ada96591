"""How are probe images read? From an array, an image folder, or an array file; each refuses bad images by name."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import IO, Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError, safe_open

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes.captions import folder_captions

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
MODES = {
    "L": ("L", 255.0),
    "1": ("L", 255.0),
    "P": ("RGB", 255.0),
    "RGB": ("RGB", 255.0),
    "I;16": ("I;16", 65535.0),
}
MAX_PIXELS = 64_000_000
FILE_FACTS = ("file, bytes", "file, JPEG quantization", "file, colour modes", "file, entries of metadata")


class ImageReader(Protocol):
    """A row of images that are read on demand."""

    @property
    def origin(self) -> str:
        """What a record calls the source; never a path of a single image."""
        ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What an error message calls one image."""
        ...

    def read(self, index: int) -> NDArray[np.float32]:
        """One image (channels, height, width) in [0, 1].

        Raises:
            ProbeError: the image cannot serve; the message names it.
        """
        ...


@runtime_checkable
class FileReader(ImageReader, Protocol):
    """A row of image files."""

    def file_facts(self, index: int) -> tuple[float, ...]:
        """What is known of a file besides its pixels, in the order of FILE_FACTS."""
        ...


@final
class ArrayReader:
    """Images in memory (or in a memory-mapped file).

    Args:
        array: uint8 in 0..255 or float in [0, 1]; (n, h, w), (n, c, h, w), or (n, h, w, c) with 1 or 3 channels.
        origin: what a record calls it.
    """

    def __init__(self, array: ArrayLike, origin: str = "array") -> None:
        values = np.asarray(array)
        if values.ndim == 3:
            values = values[:, None]
        if values.ndim != 4 or len(values) == 0:
            raise ProbeError(
                f"{origin} must hold images of shape (n, h, w), (n, c, h, w) or (n, h, w, c) with n >= 1, "
                f"got {np.asarray(array).shape}."
            )
        if values.shape[1] not in (1, 3) and values.shape[3] in (1, 3):
            values = np.moveaxis(values, 3, 1)
        if values.dtype != np.uint8 and not np.issubdtype(values.dtype, np.floating):
            raise ProbeError(f"{origin} must be uint8 or float, got {values.dtype}. Convert it with .astype(np.uint8).")
        self._values, self.origin = values, origin

    def __len__(self) -> int:
        return len(self._values)

    def name(self, index: int) -> str:
        """Image i of the array."""
        return f"image {index} of {self.origin}"

    def read(self, index: int) -> NDArray[np.float32]:
        """One image in [0, 1]; values that are not finite or outside are refused."""
        image = self._values[index]
        if image.dtype == np.uint8:
            pixels: NDArray[np.float32] = image.astype(np.float32) / np.float32(255.0)
            return pixels
        if not np.isfinite(image).all():
            raise ProbeError(f"{self.name(index)} holds NaN or infinity. Remove or repair it.")
        low, high = float(image.min()), float(image.max())
        if low < 0.0 or high > 1.0:
            raise ProbeError(f"{self.name(index)} must lie in [0, 1], got [{low:g}, {high:g}]. Rescale the array.")
        checked: NDArray[np.float32] = image.astype(np.float32)
        return checked


@final
class FolderReader:
    """Image files in a folder and its subfolders, in order of their path.

    Args:
        folder: holds at least one image file; files with other suffixes are left alone.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ProbeError(f"Image folder {str(folder)!r} does not exist.")
        files = (p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        self._files = sorted(files, key=lambda p: p.relative_to(folder).as_posix())
        if not self._files:
            raise ProbeError(f"Image folder {str(folder)!r} holds no images ({', '.join(IMAGE_SUFFIXES)}).")
        self._folder, self.origin = folder, f"folder {folder.name}"

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """The file's path."""
        return str(self._files[index])

    def read(self, index: int) -> NDArray[np.float32]:
        """Decode one file; grey stays one channel, palettes become RGB, transparency is refused."""
        return decode_image(self._files[index], self.name(index))

    def file_facts(self, index: int) -> tuple[float, ...]:
        """Size, mean of the JPEG quantization tables (0: no JPEG), colour channels, and number of metadata entries.

        Raises:
            ProbeError: the file cannot be read.
        """
        path = self._files[index]
        try:
            with Image.open(path) as image:
                tables = getattr(image, "quantization", None) or {}
                values = [float(value) for table in tables.values() for value in table]
                quantization = sum(values) / len(values) if values else 0.0
                return float(path.stat().st_size), quantization, float(len(image.getbands())), float(len(image.info))
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            raise ProbeError(f"{path} cannot be read as an image ({error}). Replace or remove it.") from error

    @cached_property
    def captions(self) -> list[Prompt] | None:
        """The captions of metadata.csv or metadata.jsonl in the folder; None where there is neither."""
        return folder_captions(self._folder, [file.relative_to(self._folder).as_posix() for file in self._files])


def decode_image(source: Path | IO[bytes], name: str) -> NDArray[np.float32]:
    """One image file as (channels, height, width) in [0, 1].

    Raises:
        ProbeError: it is damaged, too large, transparent or of an unusual layout; the message starts with `name`.
    """
    try:
        with Image.open(source) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ProbeError(
                    f"{name} has {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}. Resize it."
                )
            if image.mode not in MODES or "transparency" in image.info:
                raise ProbeError(
                    f"{name} has mode {image.mode!r}: transparency or an unusual layout. Save it as RGB or grey."
                )
            mode, scale = MODES[image.mode]
            pixels = np.asarray(image.convert(mode), dtype=np.float32) / np.float32(scale)
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        OSError,
        SyntaxError,
        ValueError,
    ) as error:
        if isinstance(error, ProbeError):
            raise
        raise ProbeError(f"{name} cannot be read as an image ({error}). Replace or remove it.") from error
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_array_file(path: Path, key: str | None = None) -> ArrayReader:
    """The images in an .npz or .safetensors file.

    Args:
        path: the file.
        key: the array's name in it; may be left out where there is one array, or one called "images".

    Raises:
        ProbeError: the file cannot be read, needs a pickle, or the array is not found.
    """
    if not path.is_file():
        raise ProbeError(f"Array file {str(path)!r} does not exist.")
    try:
        if path.suffix == ".npz":
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return ArrayReader(archive[_choose(archive.files, key, path)], path.name)
        with safe_open(path, framework="numpy") as tensors:
            return ArrayReader(tensors.get_tensor(_choose(tensors.keys(), key, path)), path.name)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, SafetensorError, ValueError, TypeError) as error:
        if isinstance(error, ProbeError):
            raise
        raise ProbeError(f"{str(path)!r} cannot be read as an array file ({error}). Write it again.") from error


def _choose(names: Iterable[str], key: str | None, path: Path) -> str:
    found = sorted(names)
    wanted = key or ("images" if "images" in found else found[0] if len(found) == 1 else None)
    if wanted is None or wanted not in found:
        raise ProbeError(
            f"{str(path)!r} holds arrays {found}; cannot tell which are the images. Name one 'images'"
            + (f" (asked for {key!r})." if key else ".")
        )
    return wanted
