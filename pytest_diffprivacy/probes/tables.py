"""How are images read from a table? A CSV of image files, or a parquet file of encoded images, with their captions."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes.captions import FILE_COLUMN, caption_of
from pytest_diffprivacy.probes.prompt_files import COLUMNS
from pytest_diffprivacy.probes.readers import decode_image

IMAGE_COLUMNS = (FILE_COLUMN, "image", "path", "file")


@final
class CsvReader:
    """Image files named by a CSV, in its order.

    Args:
        path: has a column file_name, image, path or file with paths relative to the CSV, and may have one called
            caption, text or prompt.

    Raises:
        ProbeError: the file is missing, damaged, empty, or has no such column.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ProbeError(f"Table {str(path)!r} cannot be read ({error}). Save it as UTF-8 text again.") from error
        if not rows:
            raise ProbeError(f"Table {str(path)!r} holds no rows.")
        image, caption = _columns(list(rows[0]), path)
        self._files = [path.parent / str(row[image]) for row in rows]
        self.origin = f"table {path.name}"
        self.captions = _captions(rows, caption, path)

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """The file's path."""
        return str(self._files[index])

    def read(self, index: int) -> NDArray[np.float32]:
        """Decode one file."""
        return decode_image(self._files[index], self.name(index))


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
        try:
            from pyarrow import ArrowInvalid, parquet
        except ImportError:
            raise ProbeError(
                f"Reading {str(path)!r} needs the package pyarrow. Install pytest-diffprivacy[datasets]."
            ) from None
        try:
            self._file = parquet.ParquetFile(path)
        except (OSError, ArrowInvalid) as error:
            raise ProbeError(f"Table {str(path)!r} is no parquet file ({error}). Write it again.") from error
        self._path, self.origin = path, f"table {path.name}"
        self._image, caption = _columns(self._file.schema_arrow.names, path)
        sizes = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        if self._starts[-1] == 0:
            raise ProbeError(f"Table {str(path)!r} holds no rows.")
        rows = [] if caption is None else self._file.read(columns=[caption]).to_pylist()
        self.captions = _captions(rows, caption, path)
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


def _columns(names: list[str], path: Path) -> tuple[str, str | None]:
    """The column of the images, and that of the captions if there is one."""
    image = next((name for name in IMAGE_COLUMNS if name in names), None)
    if image is None:
        raise ProbeError(f"Table {str(path)!r} must have a column {' or '.join(IMAGE_COLUMNS)}, got {names}.")
    return image, next((name for name in COLUMNS if name in names), None)


def _captions(rows: Sequence[Mapping[str, Any]], column: str | None, path: Path) -> list[Prompt] | None:
    if column is None:
        return None
    return [caption_of(row, column, f"Row {number} of {str(path)!r}") for number, row in enumerate(rows, start=1)]
