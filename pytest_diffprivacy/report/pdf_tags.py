"""Tags of a PDF that Chromium printed, completed for those who do not see it: what PDF/UA-1 asks for and it leaves out.

Names of links, bodies of list items, meaningless paint as artifacts, and the title where readers look for it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from datetime import datetime
from html.parser import HTMLParser
from typing import Any, Final

PATHS: Final = frozenset({"m", "l", "c", "v", "y", "h", "re", "W", "W*"})
PAINTS: Final = frozenset({"S", "s", "f", "F", "f*", "B", "B*", "b", "b*", "n"})
MARKS: Final = frozenset({"BMC", "BDC"})
ROLES: Final = {"/Strong": "/Span", "/Em": "/Span"}
"""Types of PDF 2.0 that Chromium writes -> types that PDF 1.7 knows."""


def completed(document: bytes, page: str, title: str, made: datetime) -> bytes:
    """The PDF with completed tags; the same bytes for the same page in the same browser.

    Args:
        document: a tagged PDF as Chromium prints it.
        page: the HTML that it was printed from, whose links name theirs.
        title: of the document.
        made: when, instead of now.
    """
    import pikepdf

    named = _Links(page).named
    with pikepdf.open(io.BytesIO(document)) as pdf:
        root = pdf.Root.StructTreeRoot
        root.RoleMap = pikepdf.Dictionary({key: pikepdf.Name(value) for key, value in ROLES.items()})
        for element in list(_elements(root.get("/K"))):
            _complete(pdf, element)
        for sheet in pdf.pages:
            for note in sheet.get("/Annots", []):
                name = named.get(str(note.get("/Dest", "")).removeprefix("/"))
                if note.get("/Subtype") == "/Link" and name:
                    note.Contents = pikepdf.String(name)
            sheet.Contents = pdf.make_stream(pikepdf.unparse_content_stream(list(_artifacts(sheet))))
        with pdf.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False) as metadata:
            metadata["dc:title"] = title
            metadata["dc:language"] = {"en"}
        pdf.docinfo = pdf.make_indirect(pikepdf.Dictionary(Title=title, CreationDate=made.strftime("D:%Y%m%d%H%M%SZ")))
        written = io.BytesIO()
        pdf.save(written, deterministic_id=True)
    return written.getvalue()


class _Links(HTMLParser):
    """What the links of a page to its own places are called."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.named: dict[str, str] = {}
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        target = dict(attrs).get("href") or ""
        if tag == "a" and target.startswith("#"):
            self._open = target[1:]

    def handle_data(self, data: str) -> None:
        if self._open and data.strip():
            self.named.setdefault(self._open, " ".join(data.split()))

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._open = ""


def _elements(kids: Any) -> Iterator[Any]:
    """Every structure element, parents first; neither references to marked content nor to annotations."""
    import pikepdf

    if isinstance(kids, pikepdf.Array):
        for kid in kids:
            yield from _elements(kid)
    elif isinstance(kids, pikepdf.Dictionary) and "/S" in kids:
        yield kids
        yield from _elements(kids.get("/K"))


def _kids(element: Any) -> list[Any]:
    import pikepdf

    kids = element.get("/K")
    return list(kids) if isinstance(kids, pikepdf.Array) else [] if kids is None else [kids]


def _complete(pdf: Any, element: Any) -> None:
    """A figure that only holds one becomes a division, and what a list item holds its body."""
    import pikepdf

    if element.S == "/Figure" and "/Alt" not in element and any(_is(kid, "/Figure") for kid in _all(element)):
        element.S = pikepdf.Name("/Div")
    if element.S == "/LI":
        labels = [kid for kid in _kids(element) if _is(kid, "/Lbl")]
        others = [kid for kid in _kids(element) if not _is(kid, "/Lbl")]
        if others and all(isinstance(kid, pikepdf.Dictionary) and "/S" in kid for kid in others):
            held = {"Type": pikepdf.Name("/StructElem"), "S": pikepdf.Name("/LBody"), "P": element}
            body = pdf.make_indirect(pikepdf.Dictionary(**held, K=pikepdf.Array(others)))
            for kid in others:
                kid.P = body
            element.K = pikepdf.Array([*labels, body])


def _all(element: Any) -> Iterable[Any]:
    return _elements(element.get("/K"))


def _is(kid: Any, kind: str) -> bool:
    import pikepdf

    return isinstance(kid, pikepdf.Dictionary) and kid.get("/S") == kind


def _artifacts(sheet: Any) -> Iterator[Any]:
    """The instructions of a page, with paint outside every mark (grounds, rules, boxes) marked as an artifact."""
    import pikepdf

    begin = pikepdf.ContentStreamInstruction([pikepdf.Name("/Artifact")], pikepdf.Operator("BMC"))
    end = pikepdf.ContentStreamInstruction([], pikepdf.Operator("EMC"))
    depth, path = 0, list[Any]()
    for instruction in pikepdf.parse_content_stream(sheet):
        name = str(instruction.operator)
        depth += (name in MARKS) - (name == "EMC")
        if depth or name == "EMC":
            yield instruction
        elif name in PATHS:
            path.append(instruction)
        elif name in PAINTS and name != "n":
            yield from (begin, *path, instruction, end)
            path = []
        elif name in ("Do", "sh"):
            yield from (begin, instruction, end)
        else:
            yield from (*path, instruction)
            path = []
