"""Registry of methods: ours, found by being in their room, and a user's own."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.methods.method import Kind, Method, Published

_methods: Final[dict[Kind, dict[str, Method]]] = {kind: {} for kind in Kind}
_built: Final[dict[Kind, dict[str, Published]]] = {kind: {} for kind in Kind}


def register(published: Published) -> None:
    """Let a method be found by its name, or be listed where a call must build it.

    Raises:
        UsageError: another method has this name.
    """
    if not isinstance(published, Method):
        _built[published.kind][published.name] = published
        return
    known = _methods[published.kind].get(published.name)
    if known and known.scores.__module__ != published.scores.__module__:
        raise UsageError(
            f"A {published.kind} method must have a name of its own, got {published.name!r}, which "
            f"{known.scores.__module__} has. Choose another one."
        )
    _methods[published.kind][published.name] = published


def methods_in(room: str, kind: Kind, first: Sequence[str] = ()) -> Mapping[str, Method]:
    """Import every file of a room, and return the methods of a kind: those in `first` come first, the others by name.

    A method that a user registers later is there too, after them.
    """
    for file in pkgutil.walk_packages(importlib.import_module(room).__path__, f"{room}."):
        importlib.import_module(file.name)
    for found in (_methods[kind], _built[kind]):
        for name in [*(name for name in first if name in found), *sorted(set(found) - set(first))]:
            found[name] = found.pop(name)  # type: ignore[assignment]
    return MappingProxyType(_methods[kind])


def methods_of(kind: Kind | str) -> Mapping[str, Method]:
    """The methods of a kind by name: ours and those that a user registered."""
    importlib.import_module(f"pytest_diffprivacy.{Kind(kind)}")
    return MappingProxyType(_methods[Kind(kind)])


def built_methods(kind: Kind | str) -> Mapping[str, Published]:
    """The methods of a kind that a call builds, such as those with shadow models."""
    importlib.import_module(f"pytest_diffprivacy.{Kind(kind)}")
    return MappingProxyType(_built[Kind(kind)])


def catalogue() -> tuple[Published, ...]:
    """Every method of this package and of the user, kind by kind."""
    return tuple(m for kind in Kind for found in (methods_of(kind), built_methods(kind)) for m in found.values())


def find_method(kind: Kind | str, name: str) -> Method:
    """The method of that name.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    found = methods_of(kind)
    if name not in found:
        raise UsageError(f"`{Kind(kind).argument}` must be one of {', '.join(found)}, got {name!r}.")
    return found[name]
