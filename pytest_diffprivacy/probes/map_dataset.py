"""How are the items of a torch Dataset read? Images alone, or beside a caption or a class index."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes.prompt_files import COLUMNS
from pytest_diffprivacy.probes.readers import MODES, ArrayReader

IMAGE_KEYS = ("image", "pixel_values")
CAPTION_KEYS = (*COLUMNS, "label")


@runtime_checkable
class MapDataset(Protocol):
    """A map-style Dataset of torch, or anything with a length and items by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@final
class DatasetReader:
    """Images of a map-style dataset.

    Args:
        dataset: items are an image; a pair (image, caption or class index); or a mapping with a key image or
            pixel_values, and perhaps caption, text, prompt or label. An image is a PIL image, or a tensor or array
            (channels, height, width), (height, width, channels) or (height, width), uint8 or float in [0, 1].

    Items must be the same at every reading: an augmenting dataset has no digest.

    Raises:
        ProbeError: the dataset is empty.
    """

    def __init__(self, dataset: MapDataset) -> None:
        if len(dataset) == 0:
            raise ProbeError("The dataset must hold at least one image, got none.")
        self._dataset, self.origin = dataset, f"dataset {type(dataset).__name__}"

    def __len__(self) -> int:
        return len(self._dataset)

    def name(self, index: int) -> str:
        """Number of the item."""
        return f"item {index} of {self.origin}"

    def read(self, index: int) -> NDArray[np.float32]:
        """One image, checked like an array's."""
        image, _ = self._item(index)
        if isinstance(image, Image.Image):
            if image.mode not in MODES or "transparency" in image.info:
                raise ProbeError(f"{self.name(index)} has mode {image.mode!r}. Convert it to RGB or grey.")
            mode, scale = MODES[image.mode]
            image = np.asarray(image.convert(mode), dtype=np.float32) / np.float32(scale)
        return ArrayReader(np.asarray(image)[None], self.name(index)).read(0)

    @cached_property
    def captions(self) -> list[Prompt] | None:
        """The caption or class index of every item; None where the first has none. Reads every item once."""
        if self._item(0)[1] is None:
            return None
        found = []
        for index in range(len(self)):
            caption = self._item(index)[1]
            if isinstance(caption, bool) or not isinstance(caption, (str, int)) or caption == "":
                raise ProbeError(f"{self.name(index)} must have a caption or class index, got {caption!r}.")
            found.append(caption)
        return found

    def _item(self, index: int) -> tuple[Any, Any]:
        """The image and what stands beside it."""
        item = self._dataset[index]
        if isinstance(item, Mapping):
            key = next((name for name in IMAGE_KEYS if name in item), None)
            if key is None:
                raise ProbeError(f"{self.name(index)} must have a key {' or '.join(IMAGE_KEYS)}, got {sorted(item)}.")
            return item[key], next((item[name] for name in CAPTION_KEYS if name in item), None)
        if isinstance(item, (tuple, list)):
            return (item[0], item[1]) if len(item) > 1 else (item[0], None)
        return item, None
