"""Records in, documents out: HTML and JSON views of one run. Computes nothing, judges nothing, imports no attack."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_diffprivacy.report.html import render_html
    from pytest_diffprivacy.report.json import render_json
    from pytest_diffprivacy.report.write import write_report

__all__ = ["render_html", "render_json", "write_report"]

_ROOMS = {"render_html": "html", "render_json": "json", "write_report": "write"}


def __getattr__(name: str) -> Any:
    """Load a function when it is first asked for: JSON needs no plotting library."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
