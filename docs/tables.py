"""Tables of the pages, made from what the package registers: options, methods, claims, families, formats, commands."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
for folder in (str(ROOT), str(ROOT / "docs")):
    if folder not in sys.path:
        sys.path.insert(0, folder)

from pytest_diffprivacy import claims as claims_room  # noqa: E402
from pytest_diffprivacy.audit.catalogue import MISSING  # noqa: E402
from pytest_diffprivacy.cli import COMMANDS  # noqa: E402
from pytest_diffprivacy.declaration import FIELDS  # noqa: E402
from pytest_diffprivacy.methods import Kind  # noqa: E402
from pytest_diffprivacy.methods import catalogue as registered  # noqa: E402
from pytest_diffprivacy.models.schedule import ReferenceTimestep  # noqa: E402
from pytest_diffprivacy.options import OPTIONS  # noqa: E402
from pytest_diffprivacy.report.formats import formats as found  # noqa: E402
from pytest_diffprivacy.report.mapping import PLACES  # noqa: E402
from tests.benchmarks.papers.figure import figures  # noqa: E402

MARK: Final = re.compile(r"^<!-- made: (\w+) -->$", re.MULTILINE)
"""Where a page wants a table: the name of one of `MADE`."""
LONGEST: Final = 3
"""Values of a parameter that are written out; of a longer row the first, the last and their number."""


def filled(page: str) -> str:
    """A page with its tables.

    Raises:
        KeyError: it asks for a table that nobody makes.
    """
    return MARK.sub(lambda mark: MADE[mark[1]](), page)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar or an angle bracket in a cell stays what it is."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def options() -> str:
    """Every option in all the places where it may be written."""
    columns = ("flag", "ini", "environment", "default", "what it does")
    return table(
        columns,
        (
            (_code(o.flag), _code(o.ini), _code(o.env), _code(o.default or ""), o.about.format(", ".join(o.listed())))
            for o in OPTIONS
        ),
    )


def formats() -> str:
    """Every format of a report."""
    return table(("extension", "for", "holds"), ((_code(e), *f.HELP.split(": ", 1)) for e, f in found().items()))


def commands() -> str:
    """Every command of `python -m pytest_diffprivacy`."""
    rows = ((_code(f"python -m pytest_diffprivacy {c.name}"), c.summary) for c in COMMANDS)
    return table(("command", "what it does"), rows)


def claims() -> str:
    """Every assertion with what it says."""
    names = [name for name in claims_room.__all__ if name.startswith("assert_")]
    rows = ((_code(name), _summary(getattr(claims_room, name)).removeprefix("Assert that ")) for name in names)
    return table(("assertion", "it asserts that"), rows)


def methods() -> str:
    """Every registered method, kind by kind, with access, cost, parameters and source."""
    parts = []
    for kind in Kind:
        own = [method for method in registered() if method.kind is kind]
        if own:
            parts.append(f"## {str(kind).capitalize()}: {kind.question}\n\n" + table(COLUMNS, map(_row, own)))
    return "\n\n".join(parts)


COLUMNS: Final = ("name", "method", "access", "evaluations an image", "parameters and defaults", "source")


def _row(method: Any) -> tuple[str, ...]:
    name = f"`{method.built_by}`" if method.built_by else f'`{method.kind.argument}="{method.name}"`'
    needs = ", ".join(sorted(set(method.needs)))
    access = f"{method.access or 'yours'}; needs {needs}" if needs else str(method.access or "yours")
    given = [f"`{p}` (required)" for p in getattr(method, "required", ())]
    given += [f"`{p}={_value(v)}`" for p, v in getattr(method, "defaults", {}).items()]
    parameters = ", ".join(given) or ("arguments of that call" if method.built_by else "none")
    return name, method.title, access, _evaluations(method), parameters, method.source + _beside_its_paper(method)


def _beside_its_paper(method: Any) -> str:
    """Links to the figures of papers that this method makes again."""
    own = [figure for figure in figures() if f"{method.kind}/{method.name}" in figure.methods]
    links = ", ".join(f"[{figure.paper}, {figure.place}](papers.md#{figure.anchor})" for figure in own)
    return f"; measured beside {links}" if links else ""


def _evaluations(method: Any) -> str:
    if getattr(method, "evaluations", None) is None:
        return "by its arguments"
    if method.required:
        return f"{method(**dict.fromkeys(method.required, 1)).evaluations:,}"
    return f"{method().evaluations:,}"


def _value(value: object) -> str:
    if isinstance(value, ReferenceTimestep):
        return str(int(value))
    if isinstance(value, Enum):
        return repr(value.value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        if len(value) > LONGEST:
            return f"({_value(value[0])}, ..., {_value(value[-1])}; {len(value)} values)"
        return f"({', '.join(map(_value, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def absent() -> str:
    """Published methods without an implementation here."""
    return table(("method", "question", "source"), ((m.title, m.question, m.source) for m in MISSING))


def families() -> str:
    """What the tests run for each family of models, on a tiny pipeline of its own classes with random weights."""
    from tests.models.families.table import CASES

    return table(("family", "extraction", "membership", "detectors", "mitigation"), (case.row for case in CASES))


def wiring() -> str:
    """What the wiring control says of each family and library, asked rightly and wrongly, as its benchmark measured."""
    path = ROOT / "tests" / "benchmarks" / "results" / "wiring_table.json"
    measured = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return table(list(measured[0]), ([row[column] for column in measured[0]] for row in measured))


def declared() -> str:
    """Every field of [tool.diffprivacy.report]."""
    rows = ((_code(name), label) for name, label in FIELDS.items())
    return table(("field", "what the report calls it"), rows)


def mapping() -> str:
    """The places in other texts, and which kinds of claims are evidence for them."""
    rows = ((p.text, p.where, p.about, ", ".join(p.kinds), p.read) for p in PLACES)
    return table(("text", "place", "it is about", "claims that are evidence for it", "what of it we have read"), rows)


def messages() -> str:
    """Every message of the package with its remedy, room by room."""
    from messages import messages as raised  # beside this file

    found, parts = raised(), []
    for room in dict.fromkeys(message.room for message in found):
        rows = [(_code(m.wrong.replace("`", "")), m.remedy, m.error) for m in found if m.room == room]
        parts.append(f"## {room}\n\n" + table(("message", "what to do", "error"), rows))
    return "\n\n".join(parts)


def protocols() -> str:
    """What a model of one's own may offer, and which access that is."""
    from pytest_diffprivacy.models import protocols as room

    own = [c for c in vars(room).values() if inspect.isclass(c) and c.__module__ == room.__name__ and c.__doc__]
    asked = [c for c in own if getattr(c, "_is_protocol", False)]
    return table(("protocol", "what it offers"), ((_code(c.__name__), _summary(c)) for c in asked))


def api() -> str:
    """Every public name with signature and docstring."""
    from api_page import api as page  # of the site only, as it needs a reader of docstrings

    return page()


def _summary(thing: object) -> str:
    """The first paragraph of a docstring; what is only a value has none of its own."""
    if not (inspect.isclass(thing) or callable(thing)):
        return f"A {type(thing).__name__}."
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


_PAGES = (
    options, formats, commands, claims, methods, absent, families, wiring, protocols, declared, mapping, messages, api
)  # fmt: skip
MADE: Final = {maker.__name__: maker for maker in _PAGES}
