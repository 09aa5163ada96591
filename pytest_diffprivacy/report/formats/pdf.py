"""PDF: the HTML page on A4 as its print style has it, tagged for those who do not see it; Chromium prints it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from pytest_diffprivacy.errors import UsageError

if TYPE_CHECKING:
    from pytest_diffprivacy.evidence.records import Run

ORDER: Final = 6
EXTENSION: Final = ".pdf"
HELP: Final = "boards: the same page on A4 as a tagged PDF with bookmarks; needs the extra `pdf` and Chromium"
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
REMEDY: Final = "Install the extra `pdf` and Chromium, or write .html and print that."


def render(run: Run) -> bytes:
    """The run as PDF, dated when the run ended; the same run gives the same bytes in the same browser.

    Raises:
        UsageError: Playwright, pikepdf or the browser is not installed, or it does not start.
    """
    try:
        import pikepdf  # noqa: F401  # what completes the tags
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise UsageError(
            f"A report that ends in {EXTENSION} needs Playwright and pikepdf, got {error}. {REMEDY}"
        ) from error
    from pytest_diffprivacy.report.formats.html import render as render_page
    from pytest_diffprivacy.report.pdf_tags import completed

    page = render_page(run)
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    try:
        with sync_playwright() as playwright:
            # The page is our own, holds no script and asks for nothing; as root, Chromium has no sandbox.
            opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            sheet = opened.new_context(java_script_enabled=False, offline=True, color_scheme="light").new_page()
            sheet.set_content(page)
            document = sheet.pdf(prefer_css_page_size=True, print_background=True, tagged=True, outline=True)
            opened.close()
    except Error as error:
        raise UsageError(f"A report that ends in {EXTENSION} needs Chromium, got {error.message}. {REMEDY}") from error
    return completed(document, page, f"{run.verdict}: training data audit {run.run_id}", run.finished)
