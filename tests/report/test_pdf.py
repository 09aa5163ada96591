"""The PDF is the page on paper: A4, the same bytes for the same run, and tagged as PDF/UA-1 asks for.

What a machine can check of ISO 14289-1 without fonts and colours is checked here, clause by clause; the programs that
do it (veraPDF and others) are no part of the extras.
"""

from __future__ import annotations

import io
import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pikepdf
import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.report.formats import format_of, pdf
from pytest_diffprivacy.report.write import write_report

pytestmark = pytest.mark.slow

STANDARD = frozenset(
    re.findall(
        r"\w+",
        "Document Part Art Sect Div BlockQuote Caption TOC TOCI Index NonStruct Private P H H1 H2 H3 H4 H5 H6 L LI Lbl "
        "LBody Table TR TH TD THead TBody TFoot Span Quote Note Reference BibEntry Code Link Annot Figure Formula Form",
    )
)
SHOWS = {"f", "F", "f*", "B", "B*", "b", "b*", "S", "s", "Do", "sh", "Tj", "TJ", "'", '"'}


@pytest.fixture(scope="module")
def document(run) -> bytes:
    return pdf.render(run)


@pytest.fixture(scope="module")
def opened(document) -> Iterator[pikepdf.Pdf]:
    with pikepdf.open(io.BytesIO(document)) as pdf:
        yield pdf


def kids(element: Any) -> list[Any]:
    inner = element.get("/K", [])
    return list(inner) if isinstance(inner, pikepdf.Array) else [inner]


def elements(element: Any) -> Iterator[Any]:
    """Structure elements in the order in which they are read."""
    for kid in kids(element):
        if isinstance(kid, pikepdf.Dictionary) and "/S" in kid:
            yield kid
            yield from elements(kid)


def kind(element: Any) -> str:
    return str(element.S).removeprefix("/")


def inside(element: Any, wanted: str) -> list[Any]:
    return [one for one in elements(element) if kind(one) == wanted]


def test_it_says_its_language_and_title_and_has_bookmarks(opened, run):
    root = opened.Root
    assert root.MarkInfo.Marked
    assert root.Lang == "en"
    assert root.ViewerPreferences.DisplayDocTitle
    with opened.open_metadata(update_docinfo=False) as metadata:
        assert metadata["dc:title"] == f"{run.verdict}: training data audit {run.run_id}" == opened.docinfo.Title
    with opened.open_outline() as outline:
        (whole,) = outline.root
        titles = [entry.title for entry in whole.children]
    assert titles[:3] == ["Verdicts", "What follows", "What was tested"]


def test_every_type_is_standard_or_mapped_to_one(opened):
    tree = opened.Root.StructTreeRoot
    roles = {str(key).removeprefix("/") for key in tree.RoleMap.keys()}  # noqa: SIM118
    assert set(map(kind, elements(tree))) <= STANDARD | roles
    assert {str(value).removeprefix("/") for value in tree.RoleMap.values()} <= STANDARD


def test_headings_leave_no_level_out(opened):
    levels = [int(kind(e)[1]) for e in elements(opened.Root.StructTreeRoot) if kind(e) in {"H1", "H2", "H3", "H4"}]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_every_figure_has_words(opened, run):
    figures = inside(opened.Root.StructTreeRoot, "Figure")
    assert len(figures) > 10
    assert [one for one in figures if not str(one.get("/Alt", "")).strip()] == []
    assert any("ROC curve" in str(one.Alt) for one in figures)


def test_tables_are_whole_grids_with_headers(opened):
    tables = inside(opened.Root.StructTreeRoot, "Table")
    assert len(tables) > 20
    for table in tables:
        rows = inside(table, "TR")
        widths = Counter(sum(kind(cell) in {"TH", "TD"} for cell in elements(row)) for row in rows)
        assert len(widths) == 1, (widths, str(rows[0]))
        assert inside(table, "TH")


def test_lists_hold_items_with_bodies(opened):
    items = inside(opened.Root.StructTreeRoot, "LI")
    assert len(items) > 10
    assert all({kind(kid) for kid in kids(item)} <= {"Lbl", "LBody"} for item in items)
    assert all(inside(item, "LBody") for item in items)


def test_every_link_says_where_it_leads_and_is_tagged(opened):
    tree = opened.Root.StructTreeRoot
    links = [note for sheet in opened.pages for note in sheet.get("/Annots", []) if note.Subtype == "/Link"]
    assert len(links) > 5
    assert all(str(link.get("/Contents", "")).strip() for link in links)
    held = [kid for link in inside(tree, "Link") for kid in kids(link) if isinstance(kid, pikepdf.Dictionary)]
    assert len(links) == sum(kid.get("/Type") == "/OBJR" for kid in held)


def test_whatever_a_page_shows_is_tagged_or_an_artifact(opened):
    for number, sheet in enumerate(opened.pages, start=1):
        depth = 0
        for instruction in pikepdf.parse_content_stream(sheet):
            name = str(instruction.operator)
            depth += (name in {"BMC", "BDC"}) - (name == "EMC")
            assert depth >= 0
            assert depth or name not in SHOWS, (number, name)
        assert depth == 0


def test_what_is_read_comes_in_the_order_of_the_page(opened):
    """Marked content of the tree, element by element, on pages that never go back."""
    numbers = {sheet.obj.objgen: number for number, sheet in enumerate(opened.pages)}
    seen = [numbers[e.Pg.objgen] for e in elements(opened.Root.StructTreeRoot) if "/Pg" in e]
    assert len(seen) > 300
    assert seen == sorted(seen)


def test_every_font_is_within_the_file_and_says_its_characters(opened):
    fonts = {f.objgen: f for sheet in opened.pages for f in sheet.Resources.get("/Font", {}).values()}
    assert fonts
    for font in fonts.values():
        inner = font.DescendantFonts[0] if font.Subtype == "/Type0" else font
        described = inner.get("/FontDescriptor")
        assert font.Subtype == "/Type3" or {"/FontFile", "/FontFile2", "/FontFile3"} & set(described.keys())
        assert "/ToUnicode" in font


def test_every_sheet_is_a4_and_nothing_can_run(document, opened):
    sizes = {tuple(round(float(edge)) for edge in sheet.MediaBox) for sheet in opened.pages}
    assert sizes == {(0, 0, 595, 842)}
    assert len(opened.pages) > 3
    assert not {"/JavaScript", "/EmbeddedFiles", "/AA", "/OpenAction"} & set(opened.Root.keys())
    assert all(str(note.get("/A", "")) == "" for sheet in opened.pages for note in sheet.get("/Annots", []))


def test_the_same_run_gives_the_same_bytes_dated_when_it_ended(run, document, opened):
    assert pdf.render(run) == document
    assert run.finished.strftime("D:%Y%m%d%H%M%S") in str(opened.docinfo.CreationDate)


def test_without_the_library_or_the_browser_the_cure_is_said(run, tmp_path, monkeypatch):
    assert format_of(tmp_path / "audit.pdf") is pdf
    monkeypatch.setattr(pdf.shutil, "which", lambda name: str(tmp_path / "no browser"))
    with pytest.raises(UsageError, match=r"needs Chromium, got .*Install the extra `pdf` and Chromium"):
        write_report(run, tmp_path / "audit.pdf")
    for library in ("playwright.sync_api", "pikepdf"):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, library, None)
            with pytest.raises(UsageError, match=r"needs Playwright and pikepdf, got .*Install the extra `pdf`"):
                write_report(run, tmp_path / "audit.pdf")
    assert list(tmp_path.iterdir()) == []
