"""Identity of code: which function computed a stored result, and of a user's own function which source."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from pytest_diffprivacy.distances.embeddings import Embedding
from pytest_diffprivacy.errors import EvidenceError
from pytest_diffprivacy.evidence import fingerprint

OURS = "pytest_diffprivacy."

_sources: WeakKeyDictionary[Callable[..., Any], str] = WeakKeyDictionary()
"""Digests of the files that functions came from, read when each is first seen: the file may change later."""


def code_identity(function: Callable[..., Any]) -> dict[str, str] | None:
    """What a function is, as far as stored results are concerned.

    One of ours is its qualified name: its version says the rest, and what it was built with stands in its parameters.
    A user's own named function is its qualified name and the sha256 of the file that defines it, so that an edit is
    another function. A lambda, a closure, a bound method or another callable object of a user cannot be told apart
    from its next edition.

    Returns:
        {"function": name} or {"function": name, "source": digest}; None where nothing can be told.
    """
    bound: list[Any] = []
    while isinstance(function, partial):
        bound += [list(function.args), function.keywords]
        function = function.func
    owner, function = getattr(function, "__self__", None), getattr(function, "__func__", function)
    if _is_ours(function):
        wrapped = getattr(function, "__wrapped__", None)
        return {"function": _qualified(function)} if wrapped is None else code_identity(wrapped)
    if owner is not None or not isinstance(function, FunctionType) or not _is_defined_by_source(function):
        return None
    try:
        identity = {"function": _qualified(function), "source": _source_digest(function)}
        return identity | ({"bound": fingerprint({"bound": bound})} if bound else {})
    except (OSError, EvidenceError):
        return None


def with_code(value: Any) -> Any:
    """A parameter as a fingerprint takes it: functions, and dataclasses of a user's own, with the code that they are.

    Raises:
        EvidenceError: a function of a user that cannot be told from its next edition.
    """
    if isinstance(value, Mapping):
        return {key: with_code(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_code(item) for item in value]
    if isinstance(value, Embedding):
        return {"embedding": value.digest}
    if is_dataclass(value) and not isinstance(value, type) and not type(value).__module__.startswith(OURS):
        path = getattr(sys.modules.get(type(value).__module__), "__file__", None) or ""
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else None
        if digest is None:
            raise EvidenceError(f"Cannot fingerprint a {type(value).__name__}: there is no file that defines it.")
        return {"value": value, "source": digest}
    if isinstance(value, FunctionType | partial):
        identity = code_identity(value)
        if identity is None:
            raise EvidenceError(
                f"Cannot fingerprint a {type(value).__name__}: results that depend on it cannot be stored or reused."
            )
        return identity
    return value


def takes_prompts(function: Callable[..., Any]) -> bool:
    """Whether a function has a parameter `prompts`, by name or among its keywords."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return "prompts" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _is_ours(function: Callable[..., Any]) -> bool:
    """Where the code stands, whatever `__module__` says: a decorator of ours names the function it wraps."""
    return str(getattr(function, "__globals__", {}).get("__name__", "")).startswith(OURS)


def _is_defined_by_source(function: FunctionType) -> bool:
    local = "<locals>" in function.__qualname__
    values = function.__closure__ or (local and (function.__defaults__ or function.__kwdefaults__))
    return not values and function.__name__ != "<lambda>"


def _qualified(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _source_digest(function: FunctionType) -> str:
    if function not in _sources:
        _sources[function] = hashlib.sha256(Path(function.__code__.co_filename).read_bytes()).hexdigest()
    return _sources[function]
