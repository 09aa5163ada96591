"""Documentation of a method's public function: its formula's docstring, and what holds for every method of a kind."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping


def documented(
    text: str, *, before: Mapping[str, str], after: Mapping[str, str], returns: str, raises: Mapping[str, str]
) -> str:
    """A docstring with the arguments, results and errors that all share; what it says of one of them itself stands.

    Args:
        text: docstring of the formula, with sections of its own where it has something to add.
        before: shared arguments in front of its own, by name.
        after: those behind them.
        returns: what is returned, unless it says so.
        raises: what is raised and when, by class.
    """
    parts = re.split(r"^(Args|Returns|Raises|Warns|Source):", inspect.cleandoc(text), flags=re.MULTILINE)
    own = dict(zip(parts[1::2], (part.rstrip() for part in parts[2::2]), strict=True))

    def beside(section: str, shared: Mapping[str, str]) -> str:
        said = re.findall(r"^    (\w+):", own.get(section, ""), flags=re.MULTILINE)
        return "".join(f"\n    {name}: {words}" for name, words in shared.items() if name not in said)

    sections = {
        "Args": beside("Args", before) + own.get("Args", "") + beside("Args", after),
        "Returns": own.get("Returns", f"\n    {returns}"),
        "Raises": own.get("Raises", "") + beside("Raises", raises),
        "Warns": own.get("Warns", ""),
        "Source": own.get("Source", ""),
    }
    return parts[0] + "\n\n".join(f"{section}:{body}" for section, body in sections.items() if body)
