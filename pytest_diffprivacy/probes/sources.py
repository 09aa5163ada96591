"""Where do probe images come from? Whatever names images, brought to a reader; with captions where it has them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes.map_dataset import DatasetReader, MapDataset
from pytest_diffprivacy.probes.readers import ArrayReader, FolderReader, ImageReader, read_array_file
from pytest_diffprivacy.probes.tables import CsvReader, ParquetReader


@runtime_checkable
class Captioned(Protocol):
    """A reader whose images may have captions."""

    @property
    def captions(self) -> list[Prompt] | None:
        """A text or class index for each image, in their order; None: there are none."""
        ...


def open_images(source: object) -> ImageReader:
    """A reader for whatever names images.

    Args:
        source: an array; an image folder; an .npz, .safetensors, .csv or .parquet file; or a map-style torch Dataset.

    Raises:
        ProbeError: the source is none of these, or cannot be used.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.suffix in (".npz", ".safetensors"):
            return read_array_file(path)
        if path.suffix == ".csv":
            return CsvReader(path)
        if path.suffix == ".parquet":
            return ParquetReader(path)
        if path.is_file():
            raise ProbeError(f"{str(path)!r} must be an image folder, or an .npz, .safetensors, .csv or .parquet file.")
        return FolderReader(path)
    if hasattr(source, "__array__") or isinstance(source, (list, tuple)):
        return ArrayReader(np.asarray(source))
    if isinstance(source, MapDataset) and not isinstance(source, dict):
        return DatasetReader(source)
    raise ProbeError(
        "Images must be an array, a folder, an .npz, .safetensors, .csv or .parquet file or a map-style Dataset, got "
        f"{type(source).__name__}."
    )


def captions_of(reader: ImageReader) -> list[Prompt] | None:
    """The captions of a reader's images; None where it has none."""
    return reader.captions if isinstance(reader, Captioned) else None
