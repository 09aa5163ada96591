"""The API page: every public name, room by room, with its signature and its docstring as Markdown."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from griffe import Docstring, DocstringSection

import pytest_diffprivacy

PACKAGE = pytest_diffprivacy.__name__
TITLES = {"parameters": "Arguments", "other parameters": "Further arguments"}


def api() -> str:
    """Every public name; one that the package itself offers stands in its room and is marked there."""
    short = set(pytest_diffprivacy.__all__)
    parts = [
        line
        for room in rooms()
        for line in (
            f"## {room.removeprefix(PACKAGE + '.')}",
            f"`from {room} import ...`",
            *(line for name in import_module(room).__all__ for line in _entry(room, name, name in short)),
        )
    ]
    return "\n\n".join(parts)


def rooms() -> list[str]:
    """The rooms that offer names."""
    inside = [f"{PACKAGE}.{m.name}" for m in iter_modules(pytest_diffprivacy.__path__) if m.ispkg]
    return [room for room in inside if getattr(import_module(room), "__all__", None)]


def _entry(room: str, name: str, short: bool) -> Iterator[str]:
    thing = getattr(import_module(room), name)
    yield f"### {name}"
    if short:
        yield f"Also `from {PACKAGE} import {name}`."
    if inspect.isclass(thing) or inspect.isfunction(thing):
        yield f"```text\n{_signature(name, thing)}\n```"
        for section in Docstring(inspect.getdoc(thing) or "").parse("google", warnings=False):
            yield from _section(section)
    elif getattr(thing, "title", None):
        yield f"{thing.title}: see the [attack reference](attacks.md)."
    else:
        yield f"A value of type `{type(thing).__name__}`."


def _signature(name: str, thing: object) -> str:
    """The call, one argument a line where it is long; no annotations, which the docstring says in words."""
    try:
        signature = inspect.signature(thing)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return name
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    text = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    if len(name + text) <= 100:
        return name + text
    lines, keyword = [], False
    for parameter in bare:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not keyword:
            lines.append("    *,")
            keyword = True
        lines.append(f"    {parameter},")
    return "\n".join([f"{name}(", *lines, ")"])


def _section(section: DocstringSection) -> Iterator[str]:
    kind = str(section.kind.value)
    if kind == "text":
        yield str(section.value)
    elif kind in ("parameters", "other parameters", "attributes"):
        yield f"**{TITLES.get(kind, kind.capitalize())}**"
        yield "\n".join(f"- `{item.name}`: {_one(item.description)}" for item in section.value)
    elif kind == "raises":
        yield "**Raises**"
        yield "\n".join(f"- `{item.annotation}`: {_one(item.description)}" for item in section.value)
    elif kind in ("returns", "yields"):
        yield f"**{kind.capitalize()}**"
        yield "\n".join(f"- {_one(_returned(item))}" for item in section.value)
    elif kind == "examples":
        yield "\n\n".join(str(text) for _, text in section.value)
    else:
        value = section.value
        yield f"**{section.title or kind.capitalize()}**: {_one(getattr(value, 'description', str(value)))}"


def _returned(item: object) -> str:
    before = str(getattr(item, "annotation", "") or "") or str(getattr(item, "name", "") or "")
    description = str(getattr(item, "description", ""))
    return f"{before}: {description}" if before else description


def _one(text: str) -> str:
    return " ".join(str(text).split())
