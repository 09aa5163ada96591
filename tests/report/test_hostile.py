"""Nothing foreign is trusted: hostile text in every field is shown as text."""

import json
from xml.etree import ElementTree

import jsonschema
import pytest
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Sarif

from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.report import run_lines
from pytest_diffprivacy.report.card import card_block
from pytest_diffprivacy.report.formats.html import render as render_html
from pytest_diffprivacy.report.formats.intoto import render as render_intoto
from pytest_diffprivacy.report.formats.json import render as render_json
from pytest_diffprivacy.report.formats.markdown import render as render_markdown
from pytest_diffprivacy.report.formats.sarif import render as render_sarif
from pytest_diffprivacy.report.lines import junit_properties
from tests.report.hostile import CORPUS, HOSTILE, LONG, with_text
from tests.report.reading import Page
from tests.report.test_machines import IN_TOTO
from tests.report.test_markdown import READER


@pytest.fixture(scope="module")
def hostile_run(run) -> Run:
    return with_text(run, HOSTILE)


def test_hostile_text_adds_no_element_and_hides_nothing(run, hostile_run):
    document = render_html(hostile_run)
    assert "<script" not in document.lower()
    assert not any(character in document for character in "\x00\x1b\x9b\u202e\u200b\u2028\r")
    assert "⟨NUL⟩⟨ESC⟩[31m⟨U+009B⟩2J⟨BEL⟩⟨DEL⟩" in document
    assert "⟨U+202E⟩⟨U+2066⟩⟨U+200B⟩⟨U+200F⟩⟨U+FEFF⟩⟨U+2028⟩⟨U+2029⟩" in document
    assert r"caf\udce9 \udcff\udcfe" in document
    assert "{{ 7 * 7 }}" in document
    page = Page(document)
    tags, plain = page.tags(), Page(render_html(with_text(run, " harmless"))).tags()
    assert tags.pop("wbr") >= plain.pop("wbr")  # long names may break at their colons
    assert tags == plain
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


@pytest.mark.parametrize("text", [*CORPUS, LONG], ids=[*(str(number) for number in range(len(CORPUS))), "long"])
@pytest.mark.slow
def test_every_document_stays_what_it_is(run, text):
    hostile = with_text(run, text)
    jsonschema.validate(json.loads(render_json(hostile)), Run.model_json_schema(mode="serialization"))
    Sarif.model_validate_json(render_sarif(hostile))
    for line in render_intoto(hostile).splitlines():
        jsonschema.validate(json.loads(line), IN_TOTO)
    for machine in (render_json, render_sarif, render_intoto):
        assert machine(hostile).isascii()
    properties = ElementTree.Element("properties")
    for name, value in junit_properties(hostile):
        ElementTree.SubElement(properties, "property", name=name, value=value)
    written = ElementTree.tostring(properties, encoding="unicode")
    assert [(item.attrib["name"], item.attrib["value"]) for item in ElementTree.fromstring(written)] == list(
        junit_properties(hostile)
    )


@pytest.mark.parametrize("make", [render_markdown, card_block])
def test_hostile_text_adds_nothing_to_markdown(run, hostile_run, make):
    page = Page(READER.render(make(hostile_run)))
    assert page.tags() == Page(READER.render(make(with_text(run, " harmless")))).tags()
    assert not page.all("script", "img", "a", "strong", "em", "h1")
    assert page.words.count("executed") > 0
    assert not any(character in make(hostile_run) for character in "\x00\x1b\x9b\u202e\u200b\u2028\r@")


def test_terminal_lines_hold_nothing_that_a_terminal_acts_on(run, hostile_run):
    lines = run_lines(hostile_run)
    assert len(lines) == len(run_lines(with_text(run, " harmless"))) == 9
    assert all(character.isprintable() or character == "\t" for line in lines for character in line)


def test_json_holds_no_raw_control_character(hostile_run):
    text = render_json(hostile_run)
    assert text.isascii()
    assert not any(ord(character) < 32 and character != "\n" for character in text)
    assert "\x7f" not in text
    assert Run.model_validate_json(text) == hostile_run
