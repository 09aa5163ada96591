"""Store: results between runs, in files named by the fingerprint of everything they depend on."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, final

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from pytest_diffprivacy.errors import EvidenceError
from pytest_diffprivacy.evidence.arrays import Arrays, read_arrays, write_arrays, write_bytes
from pytest_diffprivacy.evidence.cache import FOLDER, SUFFIX, entries, prune
from pytest_diffprivacy.options import Session

LIBRARIES = (
    "pytest-diffprivacy", "torch", "diffusers", "transformers", "tokenizers", "peft", "numpy", "scipy", "scikit-learn",
    "pillow",
)  # fmt: skip


@lru_cache(maxsize=1)
def library_versions() -> Mapping[str, str]:
    """Installed versions of the libraries that results depend on, and Python's."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def fingerprint(description: Mapping[str, Any]) -> str:
    """sha256 of a canonical form: numbers, texts, booleans, None, bytes, and lists or mappings of them.

    Raises:
        EvidenceError: the description holds something whose text does not define it, such as a function.
    """
    text = json.dumps(_canonical(description), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, np.integer)):
        return [type(value).__name__ if type(value) not in (int, np.int64) else "int", int(value)]
    if isinstance(value, (float, np.floating)):
        return ["float", float(value).hex()]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if is_dataclass(value) and not isinstance(value, type):
        return ["dataclass", type(value).__name__, _canonical(asdict(value))]
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise EvidenceError(
                f"Cannot fingerprint a mapping whose keys are no texts, got {list(value)!r}. Use texts."
            )
        return {key: _canonical(v) for key, v in value.items()}
    if isinstance(value, (list, tuple, range)):
        return ["list", *(_canonical(v) for v in value)]
    raise EvidenceError(
        f"Cannot fingerprint a {type(value).__name__}: results that depend on it cannot be stored or reused."
    )


@final
class Store:
    """A content-addressed cache of arrays, shared by parallel workers.

    Args:
        root: the evidence folder, usually `.diffprivacy`; made on the first write, with its own .gitignore.
        limit: bytes of stored results above which the least recently used ones are removed; None: they all stay.
        since: what was read or written after this time is never removed, so that a run does not eat its own results;
            seconds since the epoch; None: now.
        fresh: whether everything is to be computed again: no result is found, and new ones take the places of old ones.
    """

    def __init__(
        self, root: Path, limit: int | None = None, *, since: float | None = None, fresh: bool = False
    ) -> None:
        self.root, self._limit, self._fresh = root, limit, fresh
        self._since = time.time() if since is None else since
        self._size: int | None = None

    def path(self, key: str) -> Path:
        """The file of a key."""
        return self.root / FOLDER / f"{key}{SUFFIX}"

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The stored arrays, or None where there are none, or everything is to be computed again.

        Raises:
            EvidenceError: the file is damaged or answers another key; never a silent miss.
        """
        path = self.path(key)
        if self._fresh or not path.exists():
            return None
        for last in (False, True):  # another process may prune it and write it again; a damaged file is damaged twice
            try:
                arrays = read_arrays(path, key=key)
                break
            except EvidenceError:
                if not path.exists():
                    return None
                if last:
                    raise
        with suppress(OSError):  # its time of use only orders what goes first
            os.utime(path)
        return arrays

    def put(self, key: str, arrays: Arrays, description: Mapping[str, Any]) -> None:
        """Store arrays under a key, which the file names as well; whole or not at all.

        Raises:
            EvidenceError: the folder cannot be written, e.g. it is read-only or the disk is full.
        """
        prepare(self.root)
        path = self.path(key)
        write_arrays(path, arrays, {**description, "key": key})
        if self._limit is not None:
            size = 0
            with suppress(FileNotFoundError):  # another process may have pruned it at once
                size = path.stat().st_size
            self._bound(size, self._limit)

    def _bound(self, written: int, limit: int) -> None:
        """Remove what is too much; the folder is listed once, and again only when the limit is passed."""
        self._size = sum(entry.size for entry in entries(self.root)) if self._size is None else self._size + written
        if self._size > limit:
            self._size = prune(entries(self.root), limit, since=self._since).left

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold a key while computing it, so that two workers do not compute the same unit.

        Raises:
            EvidenceError: the folder cannot be written, or its file system has no locks.
        """
        prepare(self.root)
        lock = FileLock(self.root / "locks" / f"{key[:4]}.lock")
        try:
            lock.acquire()
        except (OSError, NotImplementedError) as error:
            raise EvidenceError(_unwritable(self.root, error)) from error
        try:
            yield
        finally:
            lock.release()


def session_store(session: Session) -> Store:
    """The store of a session's folder; what the run reads or writes is not removed while it lasts."""
    settings = session.settings
    # A worker of xdist that is late to its first unit must not remove what another one has made in this run.
    since = time.time() - (time.monotonic() - session.started)
    return Store(
        Path(str(settings["cache-dir"])), settings.size("cache-limit"), since=since, fresh=bool(settings["fresh"])
    )


def prepare(root: Path) -> None:
    """Make the evidence folder with a .gitignore that keeps it out of version control.

    Raises:
        EvidenceError: it cannot be made.
    """
    try:
        (root / "locks").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvidenceError(_unwritable(root, error)) from error
    ignore = root / ".gitignore"
    if not ignore.exists():
        write_bytes(ignore, b"*\n")


def _unwritable(root: Path, error: Exception) -> str:
    why = (error.strerror if isinstance(error, OSError) else "") or str(error)
    return (
        f"Cannot write to the evidence folder {str(root)!r}: {why}. "
        "Set diffprivacy_cache_dir to a writable folder; what is finished is kept."
    )
