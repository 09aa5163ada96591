"""Text of foreign origin with every character spelled out that a terminal or a browser would act on."""

from __future__ import annotations

import unicodedata
from typing import Final

_HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_NAMES: Final = {"\0": "NUL", "\x1b": "ESC", "\r": "CR", "\x07": "BEL", "\b": "BS", "\x7f": "DEL"}


def visible(text: str) -> str:
    """Foreign text with every control, direction or zero-width character spelled out, e.g. `⟨ESC⟩`, `⟨U+202E⟩`.

    Line feeds and tabs stay. Escaping for HTML is left to the template engine.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible_character(character) for character in text)


def _visible_character(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in _HIDDEN_CATEGORIES:
        return character
    return f"⟨{_NAMES.get(character) or f'U+{ord(character):04X}'}⟩"
