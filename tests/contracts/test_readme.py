"""Does the README say what the code does?"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from pytest_diffprivacy.cli import COMMANDS
from pytest_diffprivacy.options import OPTIONS, Option
from pytest_diffprivacy.report.formats import formats

ROOT = Path(__file__).parents[2]
INSTALL = "pip install 'torch==2.13.0' '.[test]'"


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rows(readme: str) -> list[list[str]]:
    """The rows of the options table, as cells without their code marks."""
    lines = [line for line in readme.splitlines() if line.startswith("| `--diffprivacy-")]
    return [[cell.strip().replace("`", "") for cell in line.strip().strip("|").split("|")] for line in lines]


@pytest.fixture(scope="module")
def commands(readme: str) -> list[str]:
    """The fenced blocks of the section "Two commands"."""
    section = re.search(r"^## Two commands\n(.*?)(?=^## |\Z)", readme, flags=re.MULTILINE | re.DOTALL)
    assert section is not None
    blocks: list[tuple[str, str]] = re.findall(r"^```(.*)\n((?:.*\n)*?)^```$", section[1], flags=re.MULTILINE)
    assert [language for language, _ in blocks] == ["sh", "sh"]
    return [block for _, block in blocks]


def test_the_table_lists_the_options_that_there_are(rows: list[list[str]]) -> None:
    assert [row[0].split()[0].partition("=")[0] for row in rows] == [option.flag for option in OPTIONS]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_s_row_has_its_ini_key_variable_and_default(option: Option, rows: list[list[str]]) -> None:
    (row,) = [row for row in rows if row[0].split()[0].partition("=")[0] == option.flag]
    assert option.ini in row
    assert option.env in row
    if option.default is not None:
        assert option.default in row


def test_each_of_the_two_commands_installs_and_runs(commands: list[str]) -> None:
    audit, suite = commands
    assert INSTALL in audit
    assert INSTALL in suite
    assert "pytest example_audits --diffprivacy-report audit.html" in audit
    assert re.search(r"\bpytest\s*$", suite.strip())


def test_ci_runs_exactly_the_second_command(commands: list[str]) -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    found = re.search(r"^test_command=\$\(.*?README\.md\)$", script, flags=re.MULTILINE | re.DOTALL)
    assert found is not None
    done = subprocess.run(
        ["bash", "-euc", f'{found[0]}\nprintf "%s\\n" "$test_command"'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == commands[1].strip()
    assert script.rstrip().splitlines()[-1] == 'bash -euxo pipefail -c "$test_command"'


@pytest.mark.parametrize("check", ["ruff check .", "ruff format --check .", "mypy", "lint-imports"])
def test_ci_runs_the_static_checks_before(check: str) -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert check in lines[:-1]


def test_the_readme_names_every_format_and_every_command(readme: str) -> None:
    reports = readme[readme.index("## Reports") :]
    listed = [line for line in reports[: reports.index("\n![")].splitlines() if line.startswith("| `.")]
    assert listed == [
        f"| `{extension}` | {' | '.join(found.HELP.split(': ', 1))} |" for extension, found in formats().items()
    ]
    for command in COMMANDS:
        assert f"python -m pytest_diffprivacy {command.name} " in readme


def test_the_pictures_of_the_readme_are_there_and_small(readme: str) -> None:
    pictures = [ROOT / name for name in re.findall(r"!\[[^]]*\]\(([^)]*)\)", readme)]
    assert len(pictures) == 3
    assert all(picture.suffix == ".png" for picture in pictures)
    assert sum(picture.stat().st_size for picture in pictures) < 300_000
