"""Nothing foreign is trusted: hostile text in every field is shown as text."""

import pytest

from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.report import render_html, render_json
from tests.report.reading import Page

HOSTILE = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x00\x1b[31m\u202e\u200b\x9b\u2028"
    "{{ 7 * 7 }}{% raw %}</style></title></svg>--><!--]]>&lt;$\\frac{$ =cmd() \r\n\t 漢字 😀"
)
OURS = {"png_base64", "started", "finished", "images"}


def with_text(run: Run, text: str) -> Run:
    """The same run with a text at the end of every field that can carry one."""
    before = run.model_dump(mode="json")
    after = _appended(before, text)
    for claim, original, test in zip(after["claims"], before["claims"], after["tests"], strict=True):
        claim["verdict"] = original["verdict"]
        test["node_id"] = claim["node_id"]
    after["missing"] = [text]
    return Run.model_validate(after)


def _appended(value, text, key=""):
    if isinstance(value, dict):
        foreign = key in {"parameters", "groups", "arrays", "versions"}
        return {(name + text if foreign else name): _appended(item, text, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_appended(item, text, key) for item in value]
    return value + text if isinstance(value, str) and key not in OURS else value


@pytest.fixture(scope="module")
def hostile_run(run) -> Run:
    return with_text(run, HOSTILE)


def test_hostile_text_adds_no_element_and_hides_nothing(run, hostile_run):
    document = render_html(hostile_run)
    assert "<script" not in document.lower()
    assert not any(character in document for character in "\x00\x1b\x9b\u202e\u200b\u2028\r")
    assert "⟨NUL⟩⟨ESC⟩[31m⟨U+202E⟩⟨U+200B⟩⟨U+009B⟩⟨U+2028⟩" in document
    assert "{{ 7 * 7 }}" in document
    page = Page(document)
    assert page.tags() == Page(render_html(with_text(run, " harmless"))).tags()
    assert not page.comments
    assert not any(name.startswith("on") for element in page.elements for name in element.attributes)


def test_hostile_text_leaves_the_drawings_whole(hostile_run):
    page = Page(render_html(hostile_run))
    inside = {element.tag for element in page.elements if "svg" in element.inside}
    drawn = {"title", "desc", "g", "path", "defs", "use", "text", "clippath", "rect", "pattern", "line", "circle"}
    assert inside <= drawn | {"symbol", "tspan"}


@pytest.mark.parametrize("picture", ["x", '"><script>alert(1)</script>', "PHN2Zz4=", "iVBORw0KGgo=", ""])
def test_what_is_not_a_png_is_not_shown(run, picture):
    dump = run.model_dump(mode="json")
    dump["claims"][0]["strips"][0]["pictures"][0]["png_base64"] = picture
    document = render_html(Run.model_validate(dump))
    assert "not a PNG image" in document
    assert "<script" not in document


def test_json_holds_no_raw_control_character(hostile_run):
    text = render_json(hostile_run)
    assert text.isascii()
    assert not any(ord(character) < 32 and character != "\n" for character in text)
    assert "\x7f" not in text
    assert Run.model_validate_json(text) == hostile_run
