"""The table of verdicts as a Markdown reader makes it."""

import re

import pytest
from markdown_it import MarkdownIt

from pytest_diffprivacy.evidence.seals import record_digest
from pytest_diffprivacy.report.formats.markdown import plain
from pytest_diffprivacy.report.formats.markdown import render as render_markdown
from tests.report.reading import Page

READER = MarkdownIt("gfm-like", {"linkify": False})


def rows(text: str) -> list[list[str]]:
    html = READER.render(text)
    return [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)][1:]


def test_a_row_a_claim_the_worst_first(run):
    found = rows(render_markdown(run))
    assert [row[0] for row in found] == ["FAIL, a demonstration", "ERROR", "INCONCLUSIVE", "PASS"]
    assert all(len(row) == 7 for row in found)
    refuted = found[0]
    assert refuted[1] == "audits/test_release.py::test_members_hidden"
    assert refuted[2] == "The TPR of SecMI at FPR &lt;= 1% is at most 0.02"
    assert (refuted[5], refuted[6]) == ("0.02", "checkpoints/release-3")
    assert found[1][3].startswith("The positive control failed")


def test_it_says_what_a_pass_means_and_which_record_it_shows(run):
    text = render_markdown(run)
    assert text.startswith("## Training data audit: ERROR\n")
    assert f"`{record_digest(run)}`" in text
    assert "does not say that no other attack works" in text


def test_a_long_run_is_cut_and_says_so(run):
    text = render_markdown(run, most=1)
    assert len(rows(text)) == 1
    assert "3 more claims, none of them worse, in the full report." in text


def test_missing_tests_are_listed(run):
    text = render_markdown(run.model_copy(update={"missing": ("audits/test_a.py::test_b: deselected",)}))
    assert "<li>audits/test_a.py::test_b: deselected</li>" in READER.render(text)


MARKUP = ["a | b", "**bold**", "[text](https://a.b)", "<b>x</b>", "`code`", "# head", "- item", "&lt;", "a\\|b", "1\n2"]


@pytest.mark.parametrize("text", MARKUP)
def test_foreign_text_is_text(text):
    page = Page(READER.render(f"| {plain(text)} |\n|---|\n| x |"))
    assert page.tags() == {"table": 1, "thead": 1, "tr": 2, "th": 1, "tbody": 1, "td": 1}
    assert page.all("th")[0].words == " ".join(text.split())


def test_nobody_is_mentioned():
    assert "@" not in plain("thanks to @somebody")
