"""Report formats, one a file: a module here with `EXTENSION`, `HELP` and `render(run)` is one, and listed nowhere.

The options ask for the formats in every pytest run, so that a format's file loads the standard library alone; what
rendering needs is imported where it renders.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast

from pytest_diffprivacy.errors import UsageError

if TYPE_CHECKING:
    from pytest_diffprivacy.evidence.records import Run

LAST: Final = 100
"""Place in lists of a format without an `ORDER` of its own."""


class Format(Protocol):
    """A module of this folder: what its files end in, what they are for and hold, and what makes their content."""

    EXTENSION: str
    HELP: str

    def render(self, run: Run, /) -> str | bytes:
        """The run as a document; the same run gives the same bytes."""
        ...


def formats() -> dict[str, Format]:
    """Extension -> format, of every module in this folder (and of every folder that was added to its `__path__`)."""
    found = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    found.sort(key=lambda module: getattr(module, "ORDER", LAST))
    return {module.EXTENSION: cast(Format, module) for module in found}


def format_of(path: Path) -> Format:
    """The format of the longest known extension that the name ends in, so that `.x.json` may differ from `.json`.

    Raises:
        UsageError: no format has this extension.
    """
    known = formats()
    fitting = [extension for extension in known if path.name.lower().endswith(extension)]
    if not fitting:
        raise UsageError(
            f"The report's path must end in one of {', '.join(known)}, got {path.name!r}. "
            "Choose the format by the extension."
        )
    return known[max(fitting, key=len)]
