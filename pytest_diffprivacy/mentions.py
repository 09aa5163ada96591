"""Mentions: files whose text names an assertion, or imports a file of the project that does. Standard library only."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest_diffprivacy

OURS: Final = "pytest_diffprivacy"
ASSERTIONS: Final = frozenset(name for name in dir(pytest_diffprivacy) if name.startswith("assert_"))
MENTIONED: Final = re.compile(rf"\b({'|'.join(sorted(ASSERTIONS))}|diffprivacy|from {OURS} import \*)(?!\w)")
EXCUSED: Final = re.compile(r"^pytestmark\b.*\bdiffprivacy\(audit=False\)", re.MULTILINE)


def may_hold_audits(path: Path, root: Path, seen: set[Path]) -> bool:
    """Whether the text of a file, or of a file that it imports from the project, names an assertion or our fixture.

    A file that declares `pytestmark = pytest.mark.diffprivacy(audit=False)` holds none.
    """
    seen.add(path)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    if EXCUSED.search(text):
        return False
    if MENTIONED.search(text):
        return True
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    imported = {file for name in _imports(tree) for file in _own_files(name, path, root)}
    return any(may_hold_audits(file, root, seen) for file in sorted(imported) if file not in seen)


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (".".join(filter(None, [node.module, alias.name])) for alias in node.names)


def _own_files(module: str, path: Path, root: Path) -> Iterator[Path]:
    """The file of a module beside this one, below the project's root, or already imported from elsewhere in it."""
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded and not foreign(module):
        yield Path(loaded)
    place = Path(*module.split("."))
    for folder in (path.parent, path.parent.parent, root):
        yield from (
            file for file in (folder / f"{place}.py", folder / place / "__init__.py") if module and file.is_file()
        )


def foreign(module: str | None) -> bool:
    """Whether a module is not the project's own: of the standard library, an installed package, or of ours.

    An installed package that holds an assertion is a project's own, wherever it lies.
    """
    top = (module or "").partition(".")[0]
    if top in sys.stdlib_module_names or top in (OURS, "_pytest"):
        return True
    file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    if "site-packages" not in file and "dist-packages" not in file:
        return False
    return f"{OURS}.claims" not in sys.modules or not _asserts(top)  # else nobody has imported an assertion yet


@functools.cache
def _asserts(top: str) -> bool:
    """Whether a loaded module of an installed package holds one of our assertions, or the package that has them."""
    ours = sys.modules[OURS]
    own = [module for name, module in list(sys.modules.items()) if name == top or name.startswith(f"{top}.")]
    held = (pair for module in own for pair in list(getattr(module, "__dict__", {}).items()))
    return any(
        value is ours or (name in ASSERTIONS and str(getattr(value, "__module__", "")).startswith(f"{OURS}."))
        for name, value in held
    )
