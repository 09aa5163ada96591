"""What do people notice who merely have the plugin installed? Nothing."""

from __future__ import annotations

import re

from tests.plugin.conftest import SCORES, Project, Seen

UNRELATED = "def test_sum():\n    assert 1 + 1 == 2\n"


def test_a_suite_without_audits_prints_nothing_and_makes_no_folder(project: Project) -> None:
    project.write("test_unrelated.py", UNRELATED)
    with_plugin, without = project.run(), project.run("-p", "no:diffprivacy")
    assert with_plugin.exit_code == without.exit_code == 0
    assert _but_for_its_name(with_plugin) == _but_for_its_name(without)
    assert with_plugin.last == without.last == "1 passed"
    assert with_plugin.errors == without.errors == ""
    assert not (project.path / ".diffprivacy").exists()


def test_a_failing_suite_without_audits_is_left_alone_too(project: Project) -> None:
    project.write("test_unrelated.py", UNRELATED.replace("== 2", "== 3"))
    project.write("test_broken.py", "import no_such_module")
    arguments = ("--continue-on-collection-errors", "--tb=line")
    with_plugin, without = project.run(*arguments), project.run(*arguments, "-p", "no:diffprivacy")
    assert with_plugin.exit_code == without.exit_code == 1
    assert _but_for_its_name(with_plugin) == _but_for_its_name(without)
    assert not (project.path / ".diffprivacy").exists()


def test_the_header_is_pytest_s_own_even_with_audits(project: Project) -> None:
    project.write("test_release.py", SCORES, "def test_audit(probe_set): ...")
    seen = project.run("--collect-only")
    assert seen.exit_code == 0
    assert "diffprivacy" not in "\n".join(line for line in seen.lines if not line.startswith("plugins: "))
    assert not (project.path / ".diffprivacy").exists()


def _but_for_its_name(seen: Seen) -> list[str]:
    """All lines but the last, which holds the time; pytest itself lists installed plugins by name."""
    return [re.sub(r"diffprivacy-[0-9.]+, |, diffprivacy-[0-9.]+", "", line) for line in seen.lines[:-1]]
