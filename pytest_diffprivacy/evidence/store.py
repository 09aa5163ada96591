"""Where do results live between runs? In files named by the fingerprint of everything they depend on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from filelock import FileLock
from numpy.typing import NDArray

from pytest_diffprivacy.errors import EvidenceError
from pytest_diffprivacy.evidence.arrays import Arrays, read_arrays, write_arrays, write_bytes


@final
class Store:
    """A content-addressed cache of arrays, shared by parallel workers.

    Args:
        root: the evidence folder, usually `.diffprivacy`; made on the first write, with its own .gitignore.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """The file of a key."""
        return self.root / "cache" / f"{key}.safetensors"

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The stored arrays, or None where there are none.

        Raises:
            EvidenceError: the file is damaged; never a silent miss.
        """
        path = self.path(key)
        return read_arrays(path) if path.exists() else None

    def put(self, key: str, arrays: Arrays, description: Mapping[str, Any]) -> None:
        """Store arrays under a key; whole or not at all."""
        prepare(self.root)
        write_arrays(self.path(key), arrays, description)

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold a key while computing it, so that two workers do not compute the same unit."""
        prepare(self.root)
        with FileLock(self.root / "locks" / f"{key[:2]}.lock"):
            yield


def prepare(root: Path) -> None:
    """Make the evidence folder with a .gitignore that keeps it out of version control."""
    try:
        (root / "locks").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvidenceError(
            f"Cannot make the evidence folder {str(root)!r}: {error.strerror or error}. "
            "Set diffprivacy_cache_dir to a writable folder."
        ) from error
    ignore = root / ".gitignore"
    if not ignore.exists():
        write_bytes(ignore, b"*\n")
