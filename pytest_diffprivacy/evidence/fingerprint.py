"""When are two computations the same one? A sha256 over everything their result depends on."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from functools import lru_cache
from importlib import metadata
from typing import Any

import numpy as np

from pytest_diffprivacy.errors import EvidenceError

LIBRARIES = ("pytest-diffprivacy", "torch", "diffusers", "numpy", "scipy", "scikit-learn", "pillow")


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
            raise EvidenceError(f"Cannot fingerprint a mapping whose keys are no texts, got {list(value)!r}.")
        return {key: _canonical(v) for key, v in value.items()}
    if isinstance(value, (list, tuple, range)):
        return ["list", *(_canonical(v) for v in value)]
    raise EvidenceError(
        f"Cannot fingerprint a {type(value).__name__}: results that depend on it cannot be stored or reused."
    )
