"""Definitions: the tests that the text of a file defines, whatever became of their names when it was imported.

A test may have been hidden by a later one of its name, deleted, replaced by a decorator, or defined under a condition
that did not hold. Standard library only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_diffprivacy.mentions import ASSERTIONS, EXCUSED

Branches = tuple[tuple[int, str], ...]
BRANCHES_OF = {ast.If: {"body": "then", "orelse": "else"}, ast.Try: {"body": "tried", "orelse": "tried"}}


@dataclass(frozen=True, slots=True)
class Definition:
    """A function that is a test by its name, as it stands in a file.

    Attributes:
        name: with the classes around it, parted by `::`.
        lines: the first, of its decorators, and the last.
        names: what it mentions: names, attributes, parameters and imported members.
        branches: the branches of conditions that it stands in.
    """

    name: str
    lines: tuple[int, int]
    names: frozenset[str]
    branches: Branches = ()

    @property
    def asserts(self) -> bool:
        """Whether it names an assertion, or our fixture."""
        return bool(self.names & ASSERTIONS) or "diffprivacy" in self.names

    def excludes(self, other: Definition) -> bool:
        """Whether at most one of the two is defined: they stand in different branches of one condition."""
        mine = dict(self.branches)
        return any(mine.get(where, branch) != branch for where, branch in other.branches)


def tests_by_name(path: Path) -> dict[str, list[Definition]]:
    """The definitions of each test of a file, in its order.

    None of a file that is no Python, or that declares `pytestmark = pytest.mark.diffprivacy(audit=False)`.
    """
    found: dict[str, list[Definition]] = {}
    with suppress(OSError, SyntaxError, ValueError):
        text = path.read_text(encoding="utf-8", errors="replace")
        for definition in () if EXCUSED.search(text) else _defined(ast.parse(text).body, "", ()):
            found.setdefault(definition.name, []).append(definition)
    return found


def hidden(found: list[Definition]) -> Iterator[Definition]:
    """Of the definitions of one name those that another one, further down, has replaced."""
    for number, definition in enumerate(found):
        if any(not definition.excludes(later) for later in found[number + 1 :]):
            yield definition


def _defined(body: list[ast.stmt], within: str, branches: Branches) -> Iterator[Definition]:
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if node.name.startswith("test") and not _excused(node):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                lines = first, node.end_lineno or node.lineno
                yield Definition(within + node.name, lines, frozenset(_mentioned(node)), branches)
        elif isinstance(node, ast.ClassDef):
            tests = node.name.startswith("Test") or any("TestCase" in ast.unparse(base) for base in node.bases)
            if tests and not _excused(node):
                yield from _defined(node.body, f"{within}{node.name}::", branches)
        else:
            yield from _in_blocks(node, within, branches)


def _in_blocks(node: ast.AST, within: str, branches: Branches) -> Iterator[Definition]:
    """The tests in the blocks of a condition, a loop, `try` or `with`."""
    apart = next((names for kind, names in BRANCHES_OF.items() if isinstance(node, kind)), {})
    for name, value in ast.iter_fields(node):
        blocks = value if isinstance(value, list) else []
        statements = [block for block in blocks if isinstance(block, ast.stmt)]
        here = (*branches, (id(node), apart[name])) if name in apart else branches
        yield from _defined(statements, within, here)
        for number, block in enumerate(blocks):
            if isinstance(block, (ast.ExceptHandler, ast.match_case)):
                yield from _defined(block.body, within, (*branches, (id(node), f"{name} {number}")))


def _excused(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Whether it is declared to be no audit."""
    return any("diffprivacy(audit=False)" in ast.unparse(decorator) for decorator in node.decorator_list)


def _mentioned(node: ast.AST) -> Iterator[str]:
    for found in ast.walk(node):
        if isinstance(found, ast.Name):
            yield found.id
        elif isinstance(found, ast.Attribute):
            yield found.attr
        elif isinstance(found, ast.arg):
            yield found.arg
        elif isinstance(found, ast.alias):
            yield found.name.rpartition(".")[2]
