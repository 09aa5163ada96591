"""Image files: listed from a folder, a CSV or a parquet file, each decoded to an array, with their captions."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Final, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes.tables import (
    CAPTION_COLUMNS,
    FILE_COLUMN,
    captioned_rows,
    captions_of,
    folder_captions,
    pyarrow_parquet,
)

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
IMAGE_COLUMNS = (FILE_COLUMN, "image", "path", "file")
MODES = {
    "L": ("L", 255.0),
    "1": ("L", 255.0),
    "P": ("RGB", 255.0),
    "RGB": ("RGB", 255.0),
    "I;16": ("I;16", 65535.0),
}
MAX_PIXELS = 64_000_000
FILE_FACTS = ("file, bytes", "file, JPEG quantization", "file, colour modes", "file, entries of metadata")
DECODING_ERRORS: Final = (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError)


def pixels_of(image: Image.Image, name: str) -> NDArray[np.float32]:
    """The pixels of an opened image, (channels, height, width) in [0, 1]; grey stays one channel, palettes become RGB.

    Raises:
        ProbeError: it is too large, transparent or of an unusual layout; the message starts with `name`.
    """
    if image.width * image.height > MAX_PIXELS:
        raise ProbeError(f"{name} has {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}. Resize it.")
    if image.mode not in MODES or "transparency" in image.info:
        raise ProbeError(f"{name} has mode {image.mode!r}: transparency or an unusual layout. Save it as RGB or grey.")
    mode, scale = MODES[image.mode]
    pixels = np.asarray(image.convert(mode), dtype=np.float32) / np.float32(scale)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def decode_image(source: Path | IO[bytes], name: str) -> NDArray[np.float32]:
    """One image file as (channels, height, width) in [0, 1].

    Raises:
        ProbeError: it is damaged, or no image that can serve; the message starts with `name`.
    """
    with _opened(source, name) as image:
        return pixels_of(image, name)


@contextmanager
def _opened(source: Path | IO[bytes], name: str) -> Iterator[Image.Image]:
    """An image file while it is read; whatever is wrong with it names it."""
    try:
        with Image.open(source) as image:
            yield image
    except ProbeError:
        raise
    except DECODING_ERRORS as error:
        raise ProbeError(f"{name} cannot be read as an image ({error}). Replace or remove it.") from error


@final
class FileReader:
    """A list of image files.

    Args:
        files: their paths.
        origin: what a record calls the list.
        folder: where metadata.csv or metadata.jsonl may hold captions; None: `captions` are what there is.
        captions: one a file, where they are known already.
    """

    def __init__(
        self, files: Sequence[Path], origin: str, *, folder: Path | None = None, captions: list[Prompt] | None = None
    ) -> None:
        self._files, self.origin, self._folder, self._captions = files, origin, folder, captions

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """The file's path."""
        return str(self._files[index])

    def read(self, index: int) -> NDArray[np.float32]:
        """Decode one file."""
        return decode_image(self._files[index], self.name(index))

    def file_facts(self, index: int) -> tuple[float, ...]:
        """Size, mean of the JPEG quantization tables (0: no JPEG), colour channels, and number of metadata entries.

        Raises:
            ProbeError: the file cannot be read.
        """
        path = self._files[index]
        with _opened(path, self.name(index)) as image:
            tables = getattr(image, "quantization", None) or {}
            values = [float(value) for table in tables.values() for value in table]
            quantization = sum(values) / len(values) if values else 0.0
            return float(path.stat().st_size), quantization, float(len(image.getbands())), float(len(image.info))

    @cached_property
    def captions(self) -> list[Prompt] | None:
        """The caption of every file; None where there are none."""
        if self._folder is None:
            return self._captions
        return folder_captions(self._folder, [file.relative_to(self._folder).as_posix() for file in self._files])


def folder_images(folder: Path) -> FileReader:
    """Image files in a folder and its subfolders, in order of their path; files with other suffixes are left alone.

    Raises:
        ProbeError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise ProbeError(f"Image folder {str(folder)!r} does not exist.")
    files = (p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    found = sorted(files, key=lambda p: p.relative_to(folder).as_posix())
    if not found:
        raise ProbeError(f"Image folder {str(folder)!r} holds no images ({', '.join(IMAGE_SUFFIXES)}).")
    return FileReader(found, f"folder {folder.name}", folder=folder)


def csv_images(path: Path) -> FileReader:
    """Image files named by a CSV, in its order.

    Args:
        path: has a column file_name, image, path or file with paths relative to the CSV, and may have one called
            caption, text or prompt.

    Raises:
        ProbeError: the file is missing, damaged, empty, or has no such column.
    """
    rows = captioned_rows(path, f"Table {str(path)!r}")
    if not rows:
        raise ProbeError(f"Table {str(path)!r} holds no rows.")
    column = _image_column(list(rows[0]), path)
    files = [path.parent / str(row[column]) for row in rows]
    return FileReader(files, f"table {path.name}", captions=captions_of(rows, path))


@final
class ParquetReader:
    """Images in a parquet file, as Hugging Face datasets store them; read one row group at a time.

    Args:
        path: has a column image (or file_name, path, file) with encoded images as bytes, or as structures with a field
            `bytes`, and may have one called caption, text or prompt.

    Raises:
        ProbeError: the file is no parquet file, has no such column, or pyarrow is not installed.
    """

    def __init__(self, path: Path) -> None:
        parquet = pyarrow_parquet(path)
        try:
            self._file = parquet.ParquetFile(path)
        except (OSError, ValueError) as error:
            raise ProbeError(f"Table {str(path)!r} is no parquet file ({error}). Write it again.") from error
        self._path, self.origin, names = path, f"table {path.name}", self._file.schema_arrow.names
        self._image = _image_column(names, path)
        sizes = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        if self._starts[-1] == 0:
            raise ProbeError(f"Table {str(path)!r} holds no rows.")
        columns = [name for name in CAPTION_COLUMNS if name in names]
        self.captions = captions_of(self._file.read(columns=columns).to_pylist() if columns else [], path)
        self._held: tuple[int, Any] = (-1, None)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def name(self, index: int) -> str:
        """Row of the table."""
        return f"row {index + 1} of {str(self._path)!r}"

    def read(self, index: int) -> NDArray[np.float32]:
        """Decode one image."""
        group = int(np.searchsorted(self._starts, index, side="right")) - 1
        if self._held[0] != group:
            self._held = (group, self._file.read_row_group(group, columns=[self._image]).column(0))
        value = self._held[1][index - int(self._starts[group])].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise ProbeError(f"{self.name(index)} must hold an encoded image as bytes, got {type(content).__name__}.")
        return decode_image(io.BytesIO(content), self.name(index))


def _image_column(names: Sequence[str], path: Path) -> str:
    image = next((name for name in IMAGE_COLUMNS if name in names), None)
    if image is None:
        raise ProbeError(f"Table {str(path)!r} must have a column {' or '.join(IMAGE_COLUMNS)}, got {names}.")
    return image
