"""Arrays: safetensors with a digest of their own content, written atomically, so that damage is noticed."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from pytest_diffprivacy.errors import EvidenceError

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

TEMPORARY = ".tmp-"
"""How the name of a file begins while it is being written."""


def content_digest(arrays: Arrays, description: str) -> str:
    """sha256 over the description and over names, types, shapes and bytes, in name order."""
    digest = hashlib.sha256(f"{description}|".encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all.

    Raises:
        EvidenceError: the folder cannot be written, e.g. it is read-only or the disk is full.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())  # mkstemp makes files that other users cannot read
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise EvidenceError(
            f"Cannot write {str(path)!r}: {error.strerror or error}. "
            "Free space, or write to another folder; what is finished is kept."
        ) from error


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def write_arrays(path: Path, arrays: Arrays, description: Mapping[str, Any]) -> str:
    """Write arrays with a description and their content digest.

    Returns:
        sha256 of the file.
    """
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps(description, sort_keys=True, default=str)
    # One metadata entry: safetensors writes several in no fixed order, and the file's bytes are evidence.
    about = {"content_sha256": content_digest(contiguous, text), "description": text}
    content = save(contiguous, metadata={"evidence": json.dumps(about, sort_keys=True)})
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def read_arrays(path: Path, *, key: str | None = None) -> dict[str, NDArray[Any]]:
    """Read arrays and check them against their content digest.

    Args:
        path: the file.
        key: what it must have been stored under; None: under nothing, or it does not matter.

    Raises:
        EvidenceError: the file is damaged, or holds what was stored under another key; the message names it.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
            kept = json.loads((file.metadata() or {}).get("evidence", "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise EvidenceError(_damaged(path, str(error))) from error
    about = kept if isinstance(kept, dict) else {}
    if content_digest(arrays, about.get("description", "")) != about.get("content_sha256"):
        raise EvidenceError(_damaged(path, "its content does not match its digest"))
    if key is not None:
        found = _key(about.get("description", ""))
        if found != key:
            raise EvidenceError(_damaged(path, f"it is the result of another computation, with key {found[:12]}"))
    return arrays


def _key(description: str) -> str:
    """The key in a file's description; "none" where it has none."""
    try:
        return str(json.loads(description)["key"])
    except (ValueError, TypeError, KeyError):
        return "none"


def _damaged(path: Path, why: str) -> str:
    return f"Stored result {str(path)!r} is damaged: {why}. Delete the file, or run with --diffprivacy-fresh."
