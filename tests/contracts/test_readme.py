"""Does the README say what the code does?"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALL = "pip install 'torch==2.13.0' "


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def commands(readme: str) -> list[str]:
    """The commands of the section "Two commands"; what the first one prints stands below it."""
    section = re.search(r"^## Two commands\n(.*?)(?=^## |\Z)", readme, flags=re.MULTILINE | re.DOTALL)
    assert section is not None
    blocks: list[tuple[str, str]] = re.findall(r"^```(.*)\n((?:.*\n)*?)^```$", section[1], flags=re.MULTILINE)
    assert [language for language, _ in blocks] == ["sh", "text", "sh"]
    return [block for language, block in blocks if language == "sh"]


def test_each_of_the_two_commands_installs_and_runs(commands: list[str]) -> None:
    audit, suite = commands
    assert audit == INSTALL + ". && pytest example_audits --diffprivacy-report audit.html\n"
    assert suite == INSTALL + "'.[test]' && pytest -n 2\n"


def test_the_readme_is_one_page(readme: str) -> None:
    assert len(readme.splitlines()) <= 150


def test_the_readme_leads_to_every_page(readme: str) -> None:
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert {name for name in pages if f"(docs/{name})" not in readme} == set()


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


def test_the_pictures_of_readme_and_docs_are_there_and_small() -> None:
    pages = (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    pictures = {
        (page.parent / name).resolve()
        for page in pages
        for name in re.findall(r"!\[[^]]*\]\(([^)]*)\)", page.read_text())
    }
    screenshots = set((ROOT / ".github" / "screenshots").resolve().iterdir())
    figures = set((ROOT / "docs" / "papers").resolve().glob("*.svg"))
    assert pictures == screenshots | figures
    assert sum(picture.stat().st_size for picture in screenshots) < 300_000
