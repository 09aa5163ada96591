"""Sources of probe images: arrays, array files and torch Datasets, and the reader of whatever else names images."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol, final, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from pytest_diffprivacy.distances.bounds import Pixels
from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes.array_files import SUFFIXES, arrays_of, captions_among
from pytest_diffprivacy.probes.image_files import (
    FileReader,
    ParquetReader,
    allowed_pixels,
    csv_images,
    decode_image,
    pixels_of,
)
from pytest_diffprivacy.probes.image_folder import folder_images
from pytest_diffprivacy.probes.tables import CLASSES, caption_column, prompt_of

IMAGE_KEYS = ("image", "img", "pixel_values")
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
        beside: arrays of captions or class indices by name.
    """

    def __init__(
        self, array: ArrayLike, origin: str = "array", beside: Mapping[str, NDArray[Any]] = MappingProxyType({})
    ) -> None:
        values = numbers_of(array)
        if values.ndim == 3:
            values = _grey(values, origin)
        if values.ndim != 4 or len(values) == 0:
            raise ProbeError(
                f"{origin} must hold images of shape (n, h, w), (n, c, h, w) or (n, h, w, c) with n >= 1, "
                f"got {numbers_of(array).shape}."
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
        self._values, self.origin, self._beside = values, origin, dict(beside)  # which can be sent to workers

    def captions(self, column: str | None) -> list[Prompt] | None:
        """What stands in arrays beside the images."""
        if column is not None and column != CLASSES and not self._beside:
            raise ProbeError(f"{self.origin} holds images alone, so no captions are called {column!r}. Name none.")
        return captions_among(self._beside, len(self), self.origin, column)

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


def numbers_of(values: Any) -> NDArray[Any]:
    """An array; of a tensor its values, wherever it lies and whatever is recorded of it."""
    if isinstance(values, (list, tuple)) and values and all(isinstance(part, Tensor) for part in values):
        values = torch.stack(list(values))
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
    return np.asarray(values)


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
    """The images in an .npz, .npy or .safetensors file, with what stands beside them; see `arrays_of`."""
    images, beside = arrays_of(path)
    return ArrayReader(images, path.name, beside)


@final
class DatasetReader:
    """Images of a map-style dataset.

    Args:
        dataset: items are an image; a pair (image, caption or class index); or a mapping with a key image, img or
            pixel_values, and perhaps caption, text, prompt, label or class. An image is a PIL image, the bytes of a
            file, or a tensor or array (channels, height, width), (height, width, channels) or (height, width), uint8 or
            float in [0, 1].
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
        if isinstance(image, Mapping) and isinstance(image.get("bytes"), bytes):  # of datasets, not decoded
            image = image["bytes"]
        if isinstance(image, bytes):
            return decode_image(io.BytesIO(image), self.name(index), self._allowed)
        pixels = numbers_of(image)
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
                raise ProbeError(f"{self.name(index)} must have a key {', '.join(IMAGE_KEYS)}, got {sorted(item)}.")
            return item[key]
        return item[0] if isinstance(item, (tuple, list)) else item


_FILES: Final[Mapping[str, Callable[[Path], ImageReader]]] = {
    **dict.fromkeys(SUFFIXES, read_array_file),
    ".csv": csv_images,
    ".parquet": ParquetReader,
}


def open_images(source: object) -> ImageReader:
    """A reader for whatever names images.

    Args:
        source: an array; an image folder; a list of image files; an .npz, .npy, .safetensors, .csv or .parquet file; or
            a map-style torch Dataset.

    Raises:
        ProbeError: the source is none of these, or cannot be used.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.suffix.lower() in _FILES:
            return _FILES[path.suffix.lower()](path)
        if path.is_file():
            raise ProbeError(
                f"{str(path)!r} must be an image folder, or an .npz, .npy, .safetensors, .csv or .parquet file."
            )
        return folder_images(path)
    if isinstance(source, (list, tuple)) and _of_many_kinds(source):
        return DatasetReader(source, "list")
    if isinstance(source, Image.Image):
        raise ProbeError("Images must be several, got one image. Put it into a list.")
    if isinstance(source, (list, tuple)) and source and all(isinstance(item, (str, Path)) for item in source):
        return FileReader([Path(item) for item in source], "list of files", lambda _: None)
    if hasattr(source, "__array__") or isinstance(source, (list, tuple)):
        return ArrayReader(numbers_of(source))
    if isinstance(source, MapDataset) and not isinstance(source, dict):
        return DatasetReader(source)
    raise ProbeError(
        "Images must be an array, a folder, an .npz, .npy, .safetensors, .csv or .parquet file or a map-style Dataset, "
        f"got {type(source).__name__}."
        + (" Give its dataset, or a list of what it gives." if isinstance(source, Iterable) else "")
    )


def _of_many_kinds(items: Sequence[Any]) -> bool:
    """Whether a list is none of equal arrays: images of Pillow, images with captions, or several sizes."""
    if any(isinstance(item, (Image.Image, Mapping, bytes)) for item in items):
        return True
    if any(isinstance(item, (tuple, list)) and any(hasattr(part, "shape") for part in item[:1]) for item in items):
        return True
    return len({getattr(item, "shape", None) for item in items}) > 1
