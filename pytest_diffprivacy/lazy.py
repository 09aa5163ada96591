"""Public names of a package that are imported when they are first used; one list for Python and for type checkers.

    if TYPE_CHECKING:
        from package.room import name as name
    else:
        __getattr__, __dir__ = names_of(__name__)

A type checker reads the imports, and so does `names_of`; `__all__` is made from them. Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any


def names_of(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose public names are the imports below its `if TYPE_CHECKING:`."""

    def load(name: str) -> Any:
        if name == "__all__":
            return listed()
        if name.startswith("__") or name not in _places(package):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, attribute = _places(package)[name]
        return getattr(import_module(module), attribute)

    def listed() -> list[str]:
        return sorted(_places(package))

    return load, listed


@cache
def _places(package: str) -> dict[str, tuple[str, str]]:
    """Public name -> module, and its name there."""
    import ast
    import inspect

    tree = ast.parse(inspect.getsource(import_module(package)))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {a.asname or a.name: (str(entry.module), a.name) for entry in imports for a in entry.names}
