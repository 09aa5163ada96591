"""Cache: what lies in it, what of it may go, and whether it is whole: listing, pruning and checking stored results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from pytest_diffprivacy.errors import EvidenceError, UsageError
from pytest_diffprivacy.evidence.arrays import TEMPORARY, read_arrays

FOLDER = "cache"
SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored result.

    Attributes:
        path: its file, named by its key.
        size: bytes.
        used: when it was last written or read, seconds since the epoch.
    """

    path: Path
    size: int
    used: float

    @property
    def key(self) -> str:
        """The fingerprint of what the result depends on."""
        return self.path.name.removesuffix(SUFFIX)

    @property
    def title(self) -> str:
        """Model and unit as the store wrote them beside the arrays; "damaged" where they cannot be read."""
        try:
            with safe_open(self.path, framework="numpy") as file:
                kept = json.loads((file.metadata() or {})["evidence"])
            about = json.loads(kept["description"])
            return f"{about['model']}: {about['unit']}"
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return "damaged"


@dataclass(frozen=True, slots=True)
class Pruned:
    """What pruning did.

    Attributes:
        removed: number of results removed.
        freed: their bytes.
        left: bytes that remain.
    """

    removed: int
    freed: int
    left: int


def entries(root: Path) -> list[Entry]:
    """All stored results, the least recently used first.

    Args:
        root: the evidence folder.

    Raises:
        UsageError: there is no such folder.
    """
    if not root.is_dir():
        raise UsageError(f"`--cache-dir` must be an evidence folder, got {str(root)!r}. No such folder.")
    found = []
    for path in (root / FOLDER).glob(f"*{SUFFIX}"):
        with suppress(FileNotFoundError):  # another process prunes
            status = path.stat()
            found.append(Entry(path, status.st_size, status.st_mtime))
    return sorted(found, key=lambda entry: (entry.used, entry.key))


def prune(found: Sequence[Entry], limit: int, *, since: float = float("inf")) -> Pruned:
    """Remove the least recently used results until the rest is no larger than the limit.

    Args:
        found: the results, the least recently used first.
        limit: bytes that may remain.
        since: results used at that time or later stay, whatever the limit; seconds since the epoch.

    Raises:
        EvidenceError: a file cannot be removed.
    """
    left = sum(entry.size for entry in found)
    removed = freed = 0
    for entry in found:
        if left <= limit or entry.used >= since:
            break
        try:
            entry.path.unlink(missing_ok=True)
        except OSError as error:
            raise EvidenceError(f"Cannot remove {str(entry.path)!r}: {error.strerror or error}.") from error
        removed, freed, left = removed + 1, freed + entry.size, left - entry.size
    return Pruned(removed, freed, left)


def leftovers(root: Path, before: float) -> list[Path]:
    """Files of writers that were killed before they were done, untouched since then; nobody reads them.

    Args:
        root: the evidence folder.
        before: seconds since the epoch; a younger file may still be written.
    """
    found = []
    for path in (root / FOLDER).glob(f"{TEMPORARY}*"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                found.append(path)
    return sorted(found)


def damaged(found: Sequence[Entry]) -> Iterator[tuple[Entry, str]]:
    """Every result, and why it does not match its own digest and key; empty where it does."""
    for entry in found:
        try:
            read_arrays(entry.path, key=entry.key)
        except EvidenceError as error:
            yield entry, str(error)
        else:
            yield entry, ""
