"""Image files: from a list, a CSV or a parquet file, each decoded to an upright array, with their captions."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, final

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from pytest_diffprivacy import options
from pytest_diffprivacy.distances.bounds import Pixels
from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes.class_folders import FOLDER_INDEX, FOLDER_NAME, ClassFolders
from pytest_diffprivacy.probes.tables import (
    CLASSES,
    FILE_COLUMN,
    caption_column,
    captioned_rows,
    captions_of,
    pyarrow_parquet,
)

IMAGE_COLUMNS = (FILE_COLUMN, "image", "path", "file")
GREY_MODES: Final = ("L", "LA", "1")
ORIENTED: Final = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}
MAX_PIXELS = 16_000_000
FILE_FACTS = ("file, bytes", "file, JPEG quantization", "file, colour modes", "file, entries of metadata")
DECODING_ERRORS: Final = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # where warnings are errors
    OSError,
    SyntaxError,
    ValueError,
)


def allowed_pixels() -> int | None:
    """The pixels that this pytest run allows an image; None: the default. Asked by readers, since workers cannot."""
    session = options.active()
    return None if session is None else session.settings.size("max-pixels")


def pixels_of(image: Image.Image, name: str, allowed: int | None = None) -> Pixels:
    """The pixels of an opened image as training code reads them: (channels, height, width), uint8 or in [0, 1].

    Upright, as its EXIF orientation says; grey stays one channel, 16 bits are divided by 65535, and every other mode
    becomes bytes of RGB as Pillow converts it. It may have `allowed` pixels; None: 16 million.

    Raises:
        ProbeError: it is too large, transparent, damaged or without a white value; the message starts with `name`.
    """
    most = allowed or MAX_PIXELS
    if image.width * image.height > most:
        raise ProbeError(
            f"{name} has {image.width} x {image.height} pixels, more than {most:,}. Resize it, or allow it with "
            "--diffprivacy-max-pixels."
        )
    try:
        image.load()  # orientation and transparency may stand behind the pixels
        image = _upright(image)
        if image.mode in ("I", "F"):
            raise ProbeError(
                f"{name} has mode {image.mode!r}, whose values have no known white. Save it as RGB or grey of 8 or 16 "
                "bits, divided by the white that training used."
            )
        if _see_through(image):
            raise ProbeError(
                f"{name} has mode {image.mode!r} and transparent pixels. Save it as RGB or grey: on the background "
                "that training used, or by image.convert('RGB'), which drops transparency as most training code does."
            )
        if image.mode == "P" and "transparency" in image.info:  # else Pillow warns of what is there
            image = image.convert("RGBA")
        deep = image.mode.startswith("I;16")
        mode = image.mode if deep else "L" if image.mode in GREY_MODES else "RGB"
        pixels: Pixels = np.asarray(image if image.mode == mode else image.convert(mode))
        if deep or pixels.dtype != np.uint8:
            pixels = pixels.astype(np.float32) / np.float32(65535.0 if deep else 255.0)
    except ProbeError:
        raise
    except DECODING_ERRORS as error:
        raise _unreadable(name, error) from error
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF or XMP orientation says; one that cannot be understood says nothing."""
    if not hasattr(image, "tag_v2") and ORIENTED.isdisjoint(image.info):
        return image
    try:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    except (SyntaxError, ValueError, OSError, struct.error):
        return image
    return ImageOps.exif_transpose(image) if turned else image


def _see_through(image: Image.Image) -> bool:
    """Whether pixels are transparent; a key colour in a grey or RGB image leaves its pixels as they are."""
    if image.mode[-1] not in "Aa" and not (image.mode == "P" and "transparency" in image.info):
        return False
    lowest, _ = image.convert("RGBA").getchannel("A").getextrema()
    return lowest != 255


def decode_image(source: Path | IO[bytes], name: str, allowed: int | None = None) -> Pixels:
    """One image file as (channels, height, width), uint8 or in [0, 1]; it may have `allowed` pixels.

    Raises:
        ProbeError: it is damaged, or no image that can serve; the message starts with `name`.
    """
    with _opened(source, name) as image:
        return pixels_of(image, name, allowed)


@contextmanager
def _opened(source: Path | IO[bytes], name: str) -> Iterator[Image.Image]:
    """An image file while it is read; whatever is wrong with it names it."""
    try:
        with Image.open(source) as image:
            yield image
    except ProbeError:
        raise
    except DECODING_ERRORS as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> ProbeError:
    return ProbeError(f"{name} cannot be read as an image ({error}). Replace or remove it.")


@final
class FileReader:
    """A list of image files.

    Args:
        files: their paths.
        origin: what a record calls the list.
        captions: what gives them, from the name of their column (None: the only one that may hold them).
        folders: the subfolders that may be classes; None: a table's files.
    """

    def __init__(
        self,
        files: Sequence[Path],
        origin: str,
        captions: Callable[[str | None], list[Prompt] | None],
        folders: ClassFolders | None = None,
    ) -> None:
        self._files, self.origin, self._captions, self.folders = files, origin, captions, folders
        self.classes: tuple[str, ...] = ()
        self._allowed = allowed_pixels()

    def __len__(self) -> int:
        return len(self._files)

    def captions(self, column: str | None) -> list[Prompt] | None:
        """A text or class index for each image; None: there are none.

        Args:
            column: the one that holds them; None: the only one that may; FOLDER_INDEX or FOLDER_NAME: the folders.
                Those are asked for class indices as well where no table has them; `classes` then names them.

        Raises:
            ProbeError: an image has none, or it is not clear what training took.
        """
        named = column in (FOLDER_INDEX, FOLDER_NAME)
        found = None if named and self.folders is not None else self._captions(column)
        if self.folders is None or column is None or found is not None:
            return found
        if not named and (column != CLASSES or not self.folders.names):
            return None
        found = self.folders.labels(column)
        self.origin += f", {self.folders.said(column)}"
        self.classes = () if column == FOLDER_NAME else self.folders.names
        return found

    def name(self, index: int) -> str:
        """The file's path."""
        return str(self._files[index])

    def read(self, index: int) -> Pixels:
        """Decode one file."""
        return decode_image(self._files[index], self.name(index), self._allowed)

    def path(self, index: int) -> Path:
        """Where one file lies."""
        return self._files[index]

    def stamp(self, index: int) -> tuple[int, ...]:
        """What changes with a file: its size, times and place; empty where it is not there."""
        try:
            found = self._files[index].stat()
        except OSError:
            return ()
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino

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


def csv_images(path: Path) -> FileReader:
    """Image files named by a CSV, in its order.

    Args:
        path: has a column file_name, image, path or file with paths relative to the CSV, and may have one of
            captions or class indices.

    Raises:
        ProbeError: the file is missing, damaged, empty, or has no such column.
    """
    rows = captioned_rows(path, f"Table {str(path)!r}")
    if not rows:
        raise ProbeError(f"Table {str(path)!r} holds no rows. Name a table of image files.")
    column = _image_column(list(rows[0]), path)
    files = [path.parent / str(row[column]) for row in rows]
    return FileReader(files, f"table {path.name}", lambda name: captions_of(rows, path, name))


@final
class ParquetReader:
    """Images in a parquet file, as Hugging Face datasets store them; read one row group at a time.

    Args:
        path: has a column image (or file_name, path, file) with encoded images as bytes, or as structures with a field
            `bytes`, and may have one of captions or class indices.

    Raises:
        ProbeError: the file is no parquet file, has no such column, or pyarrow is not installed.
    """

    def __init__(self, path: Path) -> None:
        parquet = pyarrow_parquet(path)
        try:
            self._file = parquet.ParquetFile(path)
        except (OSError, ValueError) as error:
            raise ProbeError(f"Table {str(path)!r} is no parquet file ({error}). Write it again.") from error
        self._path, self.origin, schema = path, f"table {path.name}", self._file.schema_arrow
        encoded = [name for name in schema.names if "string" not in str(schema.field(name).type)]
        has_image = any(name in encoded for name in IMAGE_COLUMNS)
        self._image = _image_column(encoded if has_image else schema.names, path)
        sizes = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        if self._starts[-1] == 0:
            raise ProbeError(f"Table {str(path)!r} holds no rows. Name a table of image files.")
        self._held: tuple[int, Any] = (-1, None)
        self._allowed = allowed_pixels()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def captions(self, column: str | None = None) -> list[Prompt] | None:
        """The caption or class index of every row; None where there are none."""
        found = caption_column(self._file.schema_arrow.names, repr(str(self._path)), column)
        return None if found is None else captions_of(self._file.read(columns=[found]).to_pylist(), self._path, found)

    def name(self, index: int) -> str:
        """Row of the table."""
        return f"row {index + 1} of {str(self._path)!r}"

    def read(self, index: int) -> Pixels:
        """Decode one image."""
        group = int(np.searchsorted(self._starts, index, side="right")) - 1
        if self._held[0] != group:
            self._held = (group, self._file.read_row_group(group, columns=[self._image]).column(0))
        value = self._held[1][index - int(self._starts[group])].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise ProbeError(f"{self.name(index)} must hold an encoded image as bytes, got {type(content).__name__}.")
        return decode_image(io.BytesIO(content), self.name(index), self._allowed)


def _image_column(names: Sequence[str], path: Path) -> str:
    image = next((name for name in IMAGE_COLUMNS if name in names), None)
    if image is None:
        raise ProbeError(f"Table {str(path)!r} must have a column {' or '.join(IMAGE_COLUMNS)}, got {names}.")
    return image
