"""Sources of probe images: arrays, array files and torch Datasets, and the reader of whatever else names images."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open

from pytest_diffprivacy.distances.bounds import Pixels
from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes.image_files import ParquetReader, allowed_pixels, csv_images, pixels_of
from pytest_diffprivacy.probes.image_folder import folder_images
from pytest_diffprivacy.probes.tables import caption_column, prompt_of

IMAGE_KEYS = ("image", "pixel_values")
LEAST_COLOUR_SIDE = 8


class ImageReader(Protocol):
    """A row of images that are read on demand."""

    @property
    def origin(self) -> str:
        """What a record calls the source; never a path of a single image."""
        ...

    def captions(self, column: str | None) -> list[Prompt] | None:
        """A text or class index for each image, in their order; None: there are none.

        Args:
            column: the one that holds them; None: the only one that may.

        Raises:
            ProbeError: an image has none, or there is no such column, or several that may hold them.
        """
        ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What an error message calls one image."""
        ...

    def read(self, index: int) -> Pixels:
        """One image (channels, height, width), uint8 or float32 in [0, 1].

        Raises:
            ProbeError: the image cannot serve; the message names it.
        """
        ...


@runtime_checkable
class MapDataset(Protocol):
    """A map-style Dataset of torch, or anything with a length and items by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


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
            values = _grey(values, origin)
        if values.ndim != 4 or len(values) == 0:
            raise ProbeError(
                f"{origin} must hold images of shape (n, h, w), (n, c, h, w) or (n, h, w, c) with n >= 1, "
                f"got {np.asarray(array).shape}."
            )
        if values.shape[1] not in (1, 3) and values.shape[3] in (1, 3):
            values = np.moveaxis(values, 3, 1)
        if values.shape[1] > 4 and values.shape[3] in (2, 4):
            raise ProbeError(
                f"{origin} has {values.shape[3]} channels, the last of them transparency, got shape {values.shape}. "
                f"Leave it out if training did: array[..., :{values.shape[3] - 1}]."
            )
        if values.dtype != np.uint8 and not np.issubdtype(values.dtype, np.floating):
            raise ProbeError(f"{origin} must be uint8 or float, got {values.dtype}. Convert it{_converted(values)}.")
        self._values, self.origin = values, origin

    def captions(self, column: str | None) -> list[Prompt] | None:
        """An array holds none."""
        return None

    def __len__(self) -> int:
        return len(self._values)

    def name(self, index: int) -> str:
        """Image i of the array."""
        return f"image {index} of {self.origin}"

    def read(self, index: int) -> Pixels:
        """One image, uint8 or in [0, 1]; values that are not finite or outside are refused."""
        image = self._values[index]
        if image.dtype == np.uint8:
            return np.array(image)
        if not np.isfinite(image).all():
            raise ProbeError(f"{self.name(index)} holds NaN or infinity. Remove or repair it.")
        low, high = float(image.min()), float(image.max())
        if low < 0.0 or high > 1.0:
            raise ProbeError(f"{self.name(index)} must lie in [0, 1], got [{low:g}, {high:g}]. Rescale the array.")
        return np.array(image, dtype=np.float32)


def _grey(values: NDArray[Any], origin: str) -> NDArray[Any]:
    """Grey images (n, h, w) with their channel.

    Raises:
        ProbeError: the array looks like one colour image.
    """
    n, height, width = values.shape
    last = width <= 4 and height >= LEAST_COLOUR_SIDE
    if last or (n in (3, 4) and min(height, width) >= LEAST_COLOUR_SIDE):
        raise ProbeError(
            f"{origin} of shape {values.shape} may be one {'(h, w, c)' if last else '(c, h, w)'} image or {n} grey. "
            "Give array[None] for one image, array[:, None] for grey ones."
        )
    return values[:, None]


def _converted(values: NDArray[Any]) -> str:
    """How values of another type become pixels, as words of a message."""
    if values.dtype == bool:
        return " with .astype(np.float32)"
    if not np.issubdtype(values.dtype, np.integer):
        return " to one of them"
    highest = int(values.max())
    if highest <= 255:
        return " with .astype(np.uint8)"
    white = 65535 if highest <= 65535 else highest
    return f", divided by its white value: (array / {white}).astype(np.float32) if that is {white}"


def read_array_file(path: Path) -> ArrayReader:
    """The images in an .npz or .safetensors file: its only array, or the one called "images".

    Raises:
        ProbeError: the file cannot be read, needs a pickle, or the array is not found.
    """
    if not path.is_file():
        raise ProbeError(f"Array file {str(path)!r} does not exist.")
    try:
        if path.suffix.lower() == ".npz":
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return ArrayReader(archive[_images_among(archive.files, path)], path.name)
        with safe_open(path, framework="numpy") as tensors:
            return ArrayReader(tensors.get_tensor(_images_among(tensors.keys(), path)), path.name)
    except ProbeError:
        raise
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, SafetensorError, ValueError, TypeError) as error:
        raise ProbeError(f"{str(path)!r} cannot be read as an array file ({error}). Write it again.") from error


def _images_among(names: Iterable[str], path: Path) -> str:
    found = sorted(names)
    if "images" in found or len(found) == 1:
        return "images" if "images" in found else found[0]
    raise ProbeError(f"{str(path)!r} holds arrays {found}; cannot tell which are the images. Name one 'images'.")


@final
class DatasetReader:
    """Images of a map-style dataset.

    Args:
        dataset: items are an image; a pair (image, caption or class index); or a mapping with a key image or
            pixel_values, and perhaps caption, text, prompt, label or class. An image is a PIL image, or a tensor or
            array (channels, height, width), (height, width, channels) or (height, width), uint8 or float in [0, 1].

        origin: what a record calls it; None: a dataset of its type.

    Items must be the same at every reading: an augmenting dataset has no digest.

    Raises:
        ProbeError: the dataset is empty.
    """

    def __init__(self, dataset: MapDataset, origin: str | None = None) -> None:
        if len(dataset) == 0:
            raise ProbeError("The dataset must hold at least one image, got none.")
        self._dataset, self.origin = dataset, origin or f"dataset {type(dataset).__name__}"
        self._allowed = allowed_pixels()

    def __len__(self) -> int:
        return len(self._dataset)

    def name(self, index: int) -> str:
        """Number of the item."""
        return f"item {index} of {self.origin}"

    def read(self, index: int) -> Pixels:
        """One image, checked like a file's or an array's."""
        image = self._image(index)
        if isinstance(image, Image.Image):
            return pixels_of(image, self.name(index), self._allowed)
        pixels = np.asarray(image)
        return ArrayReader(pixels[None, None] if pixels.ndim == 2 else pixels[None], self.name(index)).read(0)

    def captions(self, column: str | None = None) -> list[Prompt] | None:
        """The caption or class index of every item; None where the first has none. Reads every item once."""
        if self._beside(0, column) is None:
            return None
        found = [self._beside(index, column) or ("caption", None) for index in range(len(self))]
        return [prompt_of(value, key, self.name(index)) for index, (key, value) in enumerate(found)]

    def _beside(self, index: int, column: str | None) -> tuple[str, Any] | None:
        """What stands beside an image, and under which name."""
        item = self._dataset[index]
        if isinstance(item, Mapping):
            key = caption_column([str(name) for name in item], self.name(index), column)
            return None if key is None else (key, item[key])
        return ("caption", item[1]) if isinstance(item, (tuple, list)) and len(item) > 1 else None

    def _image(self, index: int) -> Any:
        item = self._dataset[index]
        if isinstance(item, Mapping):
            key = next((name for name in IMAGE_KEYS if name in item), None)
            if key is None:
                raise ProbeError(f"{self.name(index)} must have a key {' or '.join(IMAGE_KEYS)}, got {sorted(item)}.")
            return item[key]
        return item[0] if isinstance(item, (tuple, list)) else item


_FILES: Final[Mapping[str, Callable[[Path], ImageReader]]] = {
    ".npz": read_array_file,
    ".safetensors": read_array_file,
    ".csv": csv_images,
    ".parquet": ParquetReader,
}


def open_images(source: object) -> ImageReader:
    """A reader for whatever names images.

    Args:
        source: an array; an image folder; an .npz, .safetensors, .csv or .parquet file; or a map-style torch Dataset.

    Raises:
        ProbeError: the source is none of these, or cannot be used.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.suffix.lower() in _FILES:
            return _FILES[path.suffix.lower()](path)
        if path.is_file():
            raise ProbeError(f"{str(path)!r} must be an image folder, or an .npz, .safetensors, .csv or .parquet file.")
        return folder_images(path)
    if isinstance(source, (list, tuple)) and _of_many_kinds(source):
        return DatasetReader(source, "list")
    if isinstance(source, Image.Image):
        raise ProbeError("Images must be several, got one image. Put it into a list.")
    if hasattr(source, "__array__") or isinstance(source, (list, tuple)):
        return ArrayReader(np.asarray(source))
    if isinstance(source, MapDataset) and not isinstance(source, dict):
        return DatasetReader(source)
    raise ProbeError(
        "Images must be an array, a folder, an .npz, .safetensors, .csv or .parquet file or a map-style Dataset, got "
        f"{type(source).__name__}."
    )


def _of_many_kinds(items: Sequence[Any]) -> bool:
    """Whether a list is none of equal arrays: images of Pillow, images with captions, or several sizes."""
    if any(isinstance(item, (Image.Image, Mapping)) for item in items):
        return True
    if any(isinstance(item, (tuple, list)) and any(hasattr(part, "shape") for part in item[:1]) for item in items):
        return True
    return len({getattr(item, "shape", None) for item in items}) > 1
