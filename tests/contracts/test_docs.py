"""README and docs: every example runs, every table is made from the package, every link leads somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from pytest_diffprivacy import cli
from pytest_diffprivacy.claims import __all__ as claims
from pytest_diffprivacy.methods import catalogue
from pytest_diffprivacy.options import OPTIONS, Option
from pytest_diffprivacy.report.formats import formats
from tests.contracts import docs_stage

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
RUN_ELSEWHERE = {"extending"}  # tests/contracts/test_one_file_each.py
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def _tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_tables", ROOT / "docs" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return _tables()


def rows(table: str) -> list[list[str]]:
    """The rows of a table below its head, as cells without their code marks."""
    lines = [line for line in table.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split(" |")] for line in lines]


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """The blocks of a language, each with the heading above it."""
    text, found = page.read_text(encoding="utf-8"), []
    for block in BLOCK.finditer(text):
        if block[2] == language:
            heading = re.findall(r"^#+ (.*)$", text[: block.start()], re.MULTILINE)
            code = "".join(line.removeprefix(block[1]) for line in block[3].splitlines(keepends=True))
            found.append((heading[-1], code))
    return found


def test_every_table_that_a_page_asks_for_is_made_and_every_table_is_asked_for(tables: ModuleType) -> None:
    asked = {name for page in PAGES for name in tables.MARK.findall(page.read_text(encoding="utf-8"))}
    assert asked == set(tables.MADE)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_s_row_has_its_flag_ini_key_variable_and_default(tables: ModuleType, option: Option) -> None:
    (row,) = [row for row in rows(tables.options()) if row[0] == option.flag]
    assert row[1:4] == [option.ini, option.env, option.default or ""]


def test_formats_and_commands_are_those_there_are(tables: ModuleType) -> None:
    assert [row[0] for row in rows(tables.formats())] == list(formats())
    assert [row[0].rpartition(" ")[2] for row in rows(tables.commands())] == [c.name for c in cli.COMMANDS]


def test_every_command_is_shown_at_work() -> None:
    page = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    shown = [command.name for command in cli.COMMANDS if command.name != "plan"]  # of the limits' page
    assert [name for name in shown if f"python -m pytest_diffprivacy {name}" not in page] == []


def test_every_method_and_every_claim_has_its_row(tables: ModuleType) -> None:
    titles = {row[1] for row in rows(tables.methods())}
    assert {method.title for method in catalogue()} <= titles
    assert [row[0] for row in rows(tables.claims())] == [name for name in claims if name.startswith("assert_")]


def test_a_message_of_the_troubleshooting_page_is_one_of_the_package() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "pytest_diffprivacy").rglob("*.py"))
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    listed = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    messages = [message for cell in listed for message in re.findall(r"`([^`]*)`", cell)]
    assert len(messages) >= 12
    assert [message for message in messages if message not in source] == []


def test_every_message_of_the_package_is_listed_with_what_to_do(tables: ModuleType) -> None:
    from messages import RAISED, messages  # beside the tables

    found = messages()
    assert len(found) > 700
    assert {"UsageError", "ModelError", "ProbeError", "EvidenceError", "AuditError", "InsufficientProbes"} <= RAISED
    assert [message for message in found if not message.remedy] == []
    page = tables.messages()
    assert all(message.remedy.split("|")[0][:40] in page for message in found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_options_assertions_and_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    flags, keys = {option.flag for option in OPTIONS}, {option.ini for option in OPTIONS}
    assert set(re.findall(r"--diffprivacy-[a-z]+(?:-[a-z]+)*", text)) <= flags
    assert set(re.findall(r"(?<![\w.])diffprivacy_[a-z]+(?:_[a-z]+)*", text)) <= keys
    own = {"assert_ranked_below"} if page.stem in RUN_ELSEWHERE else set()
    assert set(re.findall(r"\bassert_[a-z]+(?:_[a-z]+)+", text)) <= set(claims) | own
    named = re.findall(r"`((?:tests|docs|example_audits|\.github|\.gitlab)/[\w./-]+\.(?:py|md|json|yml))", text)
    assert [name for name in named if not (ROOT / name).exists()] == []
    modules = re.findall(r"python -m (tests(?:\.\w+)+)", text)
    places = [ROOT.joinpath(*name.split(".")) for name in modules]
    assert [place for place in places if not place.with_suffix(".py").exists() and not place.is_dir()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_links_of_a_page_lead_to_files_that_there_are(page: Path) -> None:
    links = re.findall(
        r"\]\(([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    )
    files = [link for link in links if "://" not in link]
    assert [link for link in files if not (page.parent / link).exists()] == []


def test_the_site_is_built_strictly_in_ci() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert any(line.startswith("sphinx-build -W --keep-going -n ") for line in lines[:-1])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_settings_that_a_page_shows_can_be_read(page: Path) -> None:
    for _, text in blocks(page, "toml"):
        assert tomllib.loads(text)
    for _, text in blocks(page, "yaml"):
        assert yaml.safe_load(text)


@pytest.mark.slow
def test_every_example_runs(tmp_path: Path) -> None:
    """Each section is a module of tests; a claim may fail on these models, and nothing else may."""
    docs_stage.build(tmp_path)
    (tmp_path / "pytest.ini").write_text(docs_stage.INI)
    wanted = set()
    for page in PAGES:
        if page.stem in RUN_ELSEWHERE:
            continue
        sections: dict[str, list[str]] = {}
        for heading, code in blocks(page, "python"):
            sections.setdefault(heading, []).append(code)
        for number, (heading, codes) in enumerate(sections.items()):
            name = f"test_{page.stem.lower()}_{number}"
            (tmp_path / f"{name}.py").write_text(module(page.stem, heading, codes))
            wanted.add(name)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=short", "--diffprivacy-report=audit.json", "."],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
        | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    outcomes = re.findall(r"^(PASSED|FAILED|ERROR|INCONCLUSIVE) (\w+)\.py(?:::\w+)?(.*)$", done.stdout, re.MULTILINE)
    bad = [line for line in outcomes if line[0] == "ERROR" or (line[0] == "FAILED" and not allowed(line[2]))]
    assert bad == [], done.stdout[-6000:]
    assert {name for _, name, _ in outcomes} == wanted, done.stdout[-3000:] + done.stderr[-3000:]


def allowed(message: str) -> bool:
    """Whether a claim was judged, and only did not hold."""
    return re.match(r" - .*?(?:PrivacyViolation|Inconclusive)", message) is not None


def module(page: str, heading: str, codes: list[str]) -> str:
    """A module of tests from the blocks of a section; what is no test runs in one."""
    code = docs_stage.PLAIN + docs_stage.SECTIONS.get((page, heading), "") + "\n".join(codes)
    for long, short in docs_stage.SMALLER.items():
        code = code.replace(long, short)
    if "def test_" in code:
        return code
    fixtures = re.findall(r"@pytest\.fixture.*\ndef (\w+)", code)
    if fixtures:
        return code + f"\n\ndef test_it_ran({', '.join(fixtures)}):\n    assert True\n"
    return "def test_it_ran():\n" + textwrap.indent(code, "    ")
