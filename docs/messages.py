"""Every message that the package raises, read from its source: what is wrong, and what to do about it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_diffprivacy import errors

PACKAGE: Final = Path(errors.__file__).parent
RAISED: Final = frozenset(
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.DiffPrivacyError) and kind.__module__ == errors.__name__
)
BLANK: Final = "…"
"""Stands for what a message fills in."""
SENTENCE: Final = re.compile(r"(?<=[.?])\s+(?=[A-Z`…]|pip )|(?<=…)\s+(?=Pass |Give )")


@dataclass(frozen=True, slots=True)
class Message:
    """One message: the room whose code raises it, its error, what is wrong, and what to do."""

    room: str
    error: str
    wrong: str
    remedy: str


def messages() -> list[Message]:
    """Every message whose text stands in the source, by room."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for error, text in _raised(ast.parse(path.read_text(encoding="utf-8"))):
            wrong, *rest = SENTENCE.split(text, maxsplit=1)
            found.append(Message(room, error, wrong, rest[0] if rest else _implied(wrong) or wrong.partition(": ")[2]))
    return list(dict.fromkeys(found))


def _implied(wrong: str) -> str:
    """Of "`name` must be ..., got ...": give what must be."""
    condition = re.search(r"\bmust (.*?)(?:, got\b.*)?\.?$", wrong, re.DOTALL)
    return f"It must {condition[1]}." if condition else ""


def _raised(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name) and node.func.id in RAISED:
            text = " ".join(_text(node.args[0]).split())
            if re.search(r"[a-z]{3}", text):
                yield node.func.id, text


def _text(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(part.value if isinstance(part, ast.Constant) else BLANK for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
        case ast.IfExp(body=body):
            return _text(body)
    return BLANK
