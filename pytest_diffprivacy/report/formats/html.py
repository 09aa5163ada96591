"""HTML: one static page for a release board; no script, nothing loaded, nothing foreign trusted."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from pytest_diffprivacy.report import text
from pytest_diffprivacy.visible import visible

if TYPE_CHECKING:
    from jinja2 import Environment

    from pytest_diffprivacy.evidence.records import Run

ORDER: Final = 1
EXTENSION: Final = ".html"
HELP: Final = (
    "people: one static page without scripts: verdicts, threat model, controls, figures with their numbers, "
    "limitations, sign-off"
)
UNBROKEN: Final = 14
"""Letters of a word that no column of a table is too narrow for."""


def render(run: Run) -> str:
    """The run as one HTML document; the same run gives the same text under every locale and time zone."""
    from pytest_diffprivacy.evidence.access import Access
    from pytest_diffprivacy.evidence.seals import record_digest
    from pytest_diffprivacy.report.declared import declared_rows, unsettled
    from pytest_diffprivacy.report.limitations import limitations
    from pytest_diffprivacy.report.mapping import bearings, claim_rows
    from pytest_diffprivacy.report.plain import plain_summary
    from pytest_diffprivacy.report.readers import board, engineer, officer
    from pytest_diffprivacy.report.rows import (
        comparison_rows,
        control_rows,
        family_rows,
        file_rows,
        recognised_rows,
    )
    from pytest_diffprivacy.report.sections import sections, summary
    from pytest_diffprivacy.report.selection import select
    from pytest_diffprivacy.report.threats import threats

    chosen, known, mapping = select(run), threats(run), bearings(run)
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            sections=sections(run, chosen),
            summary=summary(run),
            chosen=chosen,
            threats=known,
            plain=plain_summary(run, known),
            unsettled=list(unsettled(run)),
            declared=declared_rows(run),
            mapping=mapping,
            claim_rows=claim_rows(run),
            readers={"engineer": engineer(run), "board": board(run, known), "officer": officer(run, mapping)},
            access=list(Access),
            limitations=limitations(run, known),
            controls=control_rows(run),
            family=family_rows(run),
            comparisons=comparison_rows(run),
            recognised=recognised_rows(run),
            files=file_rows(run),
            digest=record_digest(run),
        )
    )
    return page.rstrip() + "\n"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def printable(value: Any) -> Any:
        """What an expression may print: text with nothing hidden in it, or a whole number; the rest needs a filter."""
        if isinstance(value, Markup) or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        if isinstance(value, str):
            return visible(value)
        raise TypeError(f"The report's template prints a {type(value).__name__}; write it through a filter.")

    environment = Environment(
        loader=PackageLoader("pytest_diffprivacy.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    written = (text.number, text.percent, text.whole, text.utc, text.duration)
    environment.filters |= {function.__name__: function for function in written}
    environment.tests["unbroken"] = lambda cell: all(len(word) <= UNBROKEN for word in str(cell).split())
    environment.filters["plural"] = lambda count, *nouns: text.plural(count, *nouns)
    # SVG of our own figures, the only text that enters as markup; what is foreign in it is escaped where it is drawn.
    environment.filters["drawing"] = Markup
    return environment
