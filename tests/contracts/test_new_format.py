"""A report format is one file: what is put into the folder of formats is found, shown, written and rendered again."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_diffprivacy.cli import main
from pytest_diffprivacy.evidence.seals import record_json
from pytest_diffprivacy.options import BY_NAME
from pytest_diffprivacy.report import formats as found_in
from pytest_diffprivacy.report.formats import formats
from tests.plugin.conftest import SCORES, Project, project  # noqa: F401  # a fixture
from tests.report.finished import finished_run

ONE_FILE = '''
"""Plain text: the verdict and a line a claim."""

EXTENSION = ".verdict.txt"
HELP = "a shell: the verdict alone"


def render(run):
    return f"{run.verdict}\\n".encode()
'''
HEAVY = ("torch", "numpy", "scipy", "pydantic", "jinja2", "matplotlib")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one more format, beside the package's own."""
    path = tmp_path / "more formats"
    path.mkdir()
    (path / "verdict_text.py").write_text(ONE_FILE)
    monkeypatch.setattr(found_in, "__path__", [*found_in.__path__, str(path)])
    monkeypatch.delitem(sys.modules, f"{found_in.__name__}.verdict_text", raising=False)
    importlib.invalidate_caches()
    return path


def test_a_new_format_is_listed_behind_the_others_and_taken_by_the_option(folder: Path) -> None:
    assert list(formats()) == [".html", ".json", ".sarif", ".md", ".intoto.json", ".pdf", ".verdict.txt"]
    option = BY_NAME["report"]
    assert option.help.startswith("Write a report; the format follows the extension (.html, .json, ")
    assert ".intoto.json, .pdf, .verdict.txt)" in option.help
    assert option.read("audit.verdict.txt", option.flag) == "audit.verdict.txt"
    with pytest.raises(ValueError, match=r"that ends in .*\.pdf or \.verdict\.txt, got 'a\.docx'"):
        option.read("a.docx", option.flag)


def test_a_new_format_is_shown_by_the_helps(folder: Path, project: Project, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    assert ".verdict.txt)" in " ".join(project.run("--help").text.split())
    with pytest.raises(SystemExit):
        main(["render", "--help"])
    assert "  .verdict.txt  a shell: the verdict alone\n" in capsys.readouterr().out


def test_a_new_format_is_written_by_a_run_and_rendered_from_its_record(folder: Path, project: Project) -> None:  # noqa: F811
    project.write("test_release.py", SCORES, "def test_a(): assert_mia_tpr_below(*LEAKING, max_fpr=0.01, limit=0.05)")
    seen = project.run("--diffprivacy-report", "a.verdict.txt", "--diffprivacy-report", "a.json")
    assert f"report        {project.path / 'a.verdict.txt'}" in seen.lines
    assert (project.path / "a.verdict.txt").read_bytes() == b"FAIL\n"
    assert main(["render", str(project.path / "a.json"), str(project.path / "again.verdict.txt")]) == 0
    assert (project.path / "again.verdict.txt").read_bytes() == b"FAIL\n"


def test_without_it_the_extension_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "audit.json").write_text(record_json(finished_run()))
    assert main(["render", str(tmp_path / "audit.json"), str(tmp_path / "audit.verdict.txt"), "--unverified"]) == 4
    assert (
        "must end in one of .html, .json, .sarif, .md, .intoto.json, .pdf, got 'audit.verdict.txt'"
        in capsys.readouterr().err
    )


def test_finding_the_formats_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from pytest_diffprivacy.report.formats import formats;"
        f"print(*formats()); print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [".html .json .sarif .md .intoto.json .pdf", "[]"]
