"""What does a release board read? One static HTML page: no script, nothing loaded, nothing foreign trusted."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.evidence.seals import record_digest
from pytest_diffprivacy.report import text
from pytest_diffprivacy.report.appendix import GLOSSARY, MAPPING, file_rows
from pytest_diffprivacy.report.limitations import limitations
from pytest_diffprivacy.report.rows import comparison_rows, control_rows, family_rows
from pytest_diffprivacy.report.sections import sections, summary
from pytest_diffprivacy.report.selection import select
from pytest_diffprivacy.report.threats import SEES, threats


def render_html(run: Run) -> str:
    """The run as one HTML document; the same run gives the same text under every locale and time zone."""
    chosen, known = select(run), threats(run)
    parts = sections(run, chosen)
    template = _environment().get_template("report.html.j2")
    page = template.render(
        run=run,
        sections=parts,
        summary=summary(run),
        chosen=chosen,
        threats=known,
        sees=SEES,
        limitations=limitations(run, known),
        controls=control_rows(run),
        family=family_rows(run),
        comparisons=comparison_rows(run),
        files=file_rows(run),
        glossary=GLOSSARY,
        mapping=MAPPING,
        digest=record_digest(run),
    )
    return page.rstrip() + "\n"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pytest_diffprivacy.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.filters |= {
        "number": text.number,
        "percent": text.percent,
        "whole": text.whole,
        "plural": lambda count, *nouns: text.plural(count, *nouns),
        "utc": text.utc,
        "duration": text.duration,
        "drawing": _drawing,
    }
    return environment


def _drawing(svg: str) -> Markup:
    """SVG that our own figures made; the only text that enters the page as markup."""
    return Markup(svg)  # foreign text in it is escaped where it is drawn


def _printable(value: Any) -> Any:
    """What an expression may print: text with nothing hidden in it, or a whole number; the rest needs a filter."""
    if isinstance(value, Markup) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, str):
        return text.visible(value)
    raise TypeError(f"The report's template prints a {type(value).__name__}; write it through a filter.")
