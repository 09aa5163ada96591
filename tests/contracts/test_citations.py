"""Every citation of the specification finds its section: "METHODS 7.2" in the code, "§7.2" in docs/methods.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import pytest_diffprivacy
import pytest_diffprivacy.membership
import pytest_diffprivacy.memorization
from pytest_diffprivacy.methods import methods_of
from pytest_diffprivacy.statistics.statistic import STATISTICS

ROOT = Path(__file__).parents[2]
METHODS = ROOT / "docs" / "methods.md"
SECTION = r"(?:\d{1,2}(?:\.\d{1,2})?|T\d{1,2})(?![\d%])(?!\.\d)"
JOIN = r"(?:\s*(?:,|-|\bto\b|\band\b)\s*)"
CITATION = re.compile(rf"\bMETHODS(?:'s?)?(?:\s+section)?\s+({SECTION}(?:{JOIN}{SECTION})*)")
"""One section or several: "METHODS 4.1, 4.2", "METHODS 3.13 and 7.6", "METHODS 1.2-1.4", "METHODS 9, T12"."""


@pytest.fixture(scope="module")
def methods() -> str:
    return METHODS.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sections(methods: str) -> set[str]:
    headings = re.findall(r"^#{2,3} (\d+(?:\.\d+)?)\.? ", methods, flags=re.MULTILINE)
    return {*headings, *re.findall(r"^\| (T\d+) \|", methods, flags=re.MULTILINE)}


def cited(listed: str) -> list[str]:
    """The sections of one citation, ranges written out: "6.2 to 6.4" is 6.2, 6.3, 6.4."""
    found = re.findall(rf"({SECTION})({JOIN})?", listed)
    names = [name for name, _ in found]
    for (first, join), (last, _) in pairwise(found):
        if join.strip() in ("-", "to"):
            chapter, start, stop = first.partition(".")[0], int(first.partition(".")[2]), int(last.partition(".")[2])
            assert last.startswith(f"{chapter}."), f"a range ends in its own chapter: {listed}"
            assert start < stop, f"a range rises: {listed}"
            names += [f"{chapter}.{number}" for number in range(start, stop)]
    return names


def lost(text: str, file: str, sections: set[str]) -> Iterator[str]:
    """`file:line` of every citation in the text whose section is not there."""
    for citation in CITATION.finditer(text):
        for name in cited(citation[1]):
            if name not in sections:
                yield f"{file}:{text.count(chr(10), 0, citation.start()) + 1} cites METHODS {name}"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Source: METHODS 7.2.", {"7.2"}),
        ("(METHODS 4); interval of", {"4"}),
        ("METHODS 4.1, 4.2 and 7.10, at 0.5 %", {"4.1", "4.2", "7.10"}),
        ("in METHODS 1.2-1.4).", {"1.2", "1.3", "1.4"}),
        ("METHODS 6.2 to 6.5; Meehan et al. 2020", {"6.2", "6.3", "6.4", "6.5"}),
        ("METHODS 2.2, point 5", {"2.2"}),
        ("METHODS 9, T12).", {"9", "T12"}),
        ("METHODS\n    3.11's settings", {"3.11"}),
        ("METHODS' table, 12 rows", set()),
    ],
)
def test_a_citation_is_read_as_it_is_meant(text: str, names: set[str]) -> None:
    assert {name for citation in CITATION.finditer(text) for name in cited(citation[1])} == names


def test_what_is_lost_is_named_with_file_and_line() -> None:
    text = "one\nSource: METHODS 7.1 and\n    7.99.\n"
    assert list(lost(text, "room/file.py", {"7.1"})) == ["room/file.py:2 cites METHODS 7.99"]


@pytest.mark.parametrize("folder", ["pytest_diffprivacy", "tests", "example_audits"])
def test_every_citation_finds_its_section(folder: str, sections: set[str]) -> None:
    files = [path for path in sorted((ROOT / folder).rglob("*.py")) if path != Path(__file__)]
    missing = [
        line for path in files for line in lost(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)), sections)
    ]
    assert not missing, "\n".join(missing)


def test_the_package_cites_the_specification() -> None:
    package = Path(pytest_diffprivacy.__file__).parent
    count = sum(len(CITATION.findall(path.read_text(encoding="utf-8"))) for path in package.rglob("*.py"))
    assert count > 100, "the pattern of a citation has changed: this file finds hardly any"


def test_the_specification_refers_to_sections_that_it_has(methods: str, sections: set[str]) -> None:
    assert {name for name in re.findall(r"§(\d+(?:\.\d+)?)", methods) if name not in sections} == set()
    assert {name for name in re.findall(r"§9 (T\d+)", methods) if name not in sections} == set()


def test_its_sections_are_numbered_in_order(methods: str) -> None:
    headings = re.findall(r"^#{2,3} (\d+)(?:\.(\d+))?", methods, flags=re.MULTILINE)
    numbers = [(int(chapter), int(section or -1)) for chapter, section in headings]
    assert numbers == sorted(set(numbers))


def test_its_contents_lead_to_its_chapters(methods: str) -> None:
    listed = re.findall(r"^- \[(\d+ .*)\]\(#(.*)\)$", methods, flags=re.MULTILINE)
    chapters = re.findall(r"^## (\d+)\. (.*)$", methods, flags=re.MULTILINE)
    assert [title for title, _ in listed] == [f"{number} {title}" for number, title in chapters]
    assert [anchor for _, anchor in listed] == [
        f"{n} {t}".lower().replace(":", "").replace(" ", "-") for n, t in chapters
    ]


@pytest.mark.parametrize("name", STATISTICS)
def test_every_statistic_of_a_record_has_its_row(name: str, methods: str) -> None:
    assert re.search(rf"^\|.*`{name}`.*\| .* \| §", methods, flags=re.MULTILINE)


@pytest.mark.parametrize("kind", ["membership", "memorization"])
def test_every_method_that_is_offered_by_name_has_its_row_with_its_cost(kind: str, methods: str) -> None:
    offered = methods_of(kind)
    assert offered
    for name, method in offered.items():
        row = re.search(rf"^\|[^|]*`{name}`.*§.*$", methods, flags=re.MULTILINE)
        assert row, f"docs/methods.md has no row for {name}"
        assert re.search(rf"\b{method().evaluations:,}\b", row[0]), (row[0], method().evaluations)


def test_the_readme_leads_to_the_specification() -> None:
    assert "(docs/methods.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
