"""A run with very many claims: what matters most is shown in full, the rest is listed, and the page says so."""

import pytest

from pytest_diffprivacy.report import selection
from pytest_diffprivacy.report.formats.html import render as render_html
from pytest_diffprivacy.report.selection import select
from tests.report.reading import Page


@pytest.fixture(scope="module")
def many(run):
    """41 claims: the four of the run ten times over, and one more PASS that is nearer to its limit."""
    claims = [c.model_copy(update={"id": f"{c.id}-{i}", "node_id": c.node_id}) for i in range(10) for c in run.claims]
    close = run.claims[0].model_copy(update={"id": "close", "limit": 0.0012})
    return run.model_copy(update={"claims": (*claims, close)})


@pytest.fixture
def small_page(monkeypatch):
    monkeypatch.setattr(selection, "MOST_SECTIONS", 25)
    monkeypatch.setattr(selection, "MOST_FIGURES_OF_MANY", 4)
    monkeypatch.setattr(selection, "MOST_ROWS", 31)


def test_a_small_run_is_shown_whole(run):
    chosen = select(run)
    assert sorted(chosen.listed) == [0, 1, 2, 3]
    assert [run.claims[index].verdict.value for index in chosen.listed] == ["ERROR", "INCONCLUSIVE", "FAIL", "PASS"]
    assert chosen.detailed == chosen.pictured == {0, 1, 2, 3}
    assert chosen.notes == ()


def test_what_matters_most_is_shown_first(many, small_page):
    surprised = many.model_copy(update={"tests": ()})
    chosen = select(surprised)
    verdicts = [surprised.claims[index].verdict.value for index in sorted(chosen.detailed)]
    assert (verdicts.count("FAIL"), verdicts.count("ERROR"), verdicts.count("INCONCLUSIVE")) == (10, 10, 5)
    assert len(chosen.pictured) == 2  # two figures a refuted claim
    assert all(surprised.claims[index].verdict.value == "FAIL" for index in chosen.pictured)
    assert 40 in chosen.listed
    assert len(chosen.listed) == 31
    expected = select(many)
    assert sum(many.claims[index].verdict.value == "ERROR" for index in expected.detailed) == 10


def test_the_smallest_margin_comes_first_among_those_that_hold(many, monkeypatch):
    monkeypatch.setattr(selection, "MOST_SECTIONS", 31)
    detailed = select(many).detailed
    assert [many.claims[index].id for index in detailed if many.claims[index].verdict.value == "PASS"] == ["close"]


def test_the_page_says_what_it_left_out(many, small_page):
    document = render_html(many)
    page = Page(document)
    assert "This run has 41 claims. The 25 that matter most have a section here" in page.words
    assert "The table of verdicts lists the first 31 in the same order." in page.words
    assert "Not drawn: this run has more figures than one page can show." in page.words
    assert len(page.all("article")) == 25
    anchors = {element.attributes["id"] for element in page.all("article")}
    linked = {e.attributes["href"].lstrip("#") for e in page.all("a") if e.attributes["href"].startswith("#claim-")}
    assert linked == anchors
    table = next(element for element in page.all("table") if "claims" in element.attributes["class"])
    assert table.words.count("Estimate") == sum(many.claims[i].estimate is not None for i in select(many).listed)
