"""Records in, documents out: HTML, JSON, SARIF, Markdown, in-toto. Computes and judges nothing, imports no attack."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_diffprivacy.report.card import update_card
    from pytest_diffprivacy.report.compare import compare_runs
    from pytest_diffprivacy.report.html import render_html
    from pytest_diffprivacy.report.intoto import render_intoto
    from pytest_diffprivacy.report.json import render_json
    from pytest_diffprivacy.report.lines import run_lines
    from pytest_diffprivacy.report.markdown import render_markdown
    from pytest_diffprivacy.report.sarif import render_sarif
    from pytest_diffprivacy.report.write import write_report

__all__ = [
    "compare_runs",
    "render_html",
    "render_intoto",
    "render_json",
    "render_markdown",
    "render_sarif",
    "run_lines",
    "update_card",
    "write_report",
]

_ROOMS = {
    "compare_runs": "compare",
    "render_html": "html",
    "render_intoto": "intoto",
    "render_json": "json",
    "render_markdown": "markdown",
    "render_sarif": "sarif",
    "run_lines": "lines",
    "update_card": "card",
    "write_report": "write",
}


def __getattr__(name: str) -> Any:
    """Load a function when it is first asked for: JSON needs no plotting library."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
