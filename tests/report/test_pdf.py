"""The PDF is the page on paper: A4, tagged, with a title, a language and bookmarks, the same bytes for the same run."""

from __future__ import annotations

import re
import sys

import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.report.formats import format_of, pdf
from pytest_diffprivacy.report.write import write_report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def document(run):
    return pdf.render(run)


def test_it_is_tagged_and_says_its_language_and_title_and_has_bookmarks(document):
    assert document.startswith(b"%PDF-")
    for mark in (rb"/MarkInfo\s*<<[^>]*/Marked true", rb"/StructTreeRoot \d", rb"/Outlines \d", rb"/Lang \(en\)"):
        assert re.search(mark, document), mark
    assert re.search(rb"/DisplayDocTitle true", document)
    assert re.search(rb"/S /H2|/S /Table", document)


def test_every_sheet_is_a4_and_nothing_can_run(document):
    sheets = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", document)
    assert len(sheets) > 3
    assert {(round(float(width)), round(float(height))) for width, height in sheets} == {(595, 842)}
    assert not re.search(rb"/JavaScript|/JS |/Launch|/EmbeddedFile", document)


def test_the_same_run_gives_the_same_bytes_dated_when_it_ended(run, document):
    assert pdf.render(run) == document
    assert run.finished.strftime("(D:%Y%m%d%H%M%S").encode() in document


def test_without_the_library_or_the_browser_the_cure_is_said(run, tmp_path, monkeypatch):
    assert format_of(tmp_path / "audit.pdf") is pdf
    monkeypatch.setattr(pdf.shutil, "which", lambda name: str(tmp_path / "no browser"))
    with pytest.raises(UsageError, match=r"needs Chromium, got .*Install the extra `pdf` and Chromium"):
        write_report(run, tmp_path / "audit.pdf")
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    with pytest.raises(UsageError, match=r"needs Playwright, got .*Install the extra `pdf`"):
        write_report(run, tmp_path / "audit.pdf")
    assert list(tmp_path.iterdir()) == []
