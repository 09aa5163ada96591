import os
import subprocess
import sys

import pytest

from pytest_diffprivacy.errors import EvidenceError, UsageError
from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.options import BY_NAME
from pytest_diffprivacy.report import write_report
from pytest_diffprivacy.report.formats import formats
from pytest_diffprivacy.report.formats.html import render as render_html
from pytest_diffprivacy.report.formats.intoto import render as render_intoto
from pytest_diffprivacy.report.formats.json import render as render_json

AGAIN = """
import locale, sys
from pathlib import Path
locale.setlocale(locale.LC_ALL, "")
from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.report import write_report
run = Run.model_validate_json(Path("run.json").read_bytes())
write_report(run, Path("again.html"))
write_report(run, Path("again.json"))
print(sorted({"torch", "matplotlib.pyplot", "pytest", "pandas"} & set(sys.modules)))
"""


def test_the_extension_chooses_the_format(run, tmp_path):
    write_report(run, tmp_path / "new folder" / "audit.HTML")
    write_report(run, tmp_path / "audit.v1.json")
    write_report(run, tmp_path / "audit.intoto.json")
    assert (tmp_path / "new folder" / "audit.HTML").read_text(encoding="utf-8") == render_html(run)
    assert (tmp_path / "audit.v1.json").read_text(encoding="utf-8") == render_json(run)
    assert (tmp_path / "audit.intoto.json").read_text(encoding="utf-8") == render_intoto(run)


def test_the_options_offer_exactly_the_formats_there_are():
    assert f"({', '.join(formats())})" in BY_NAME["report"].help
    for extension in formats():
        assert BY_NAME["report"].read(f"audit{extension}", "") == f"audit{extension}"


@pytest.mark.parametrize("name", ["audit.docx", "audit", "html", "audit.html.gz"])
def test_an_unknown_extension_is_refused_by_name(run, tmp_path, name):
    with pytest.raises(UsageError, match=rf"must end in one of \.html, .*\.pdf, got '{name}'"):
        write_report(run, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_a_folder_is_named(run, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(EvidenceError, match="taken"):
        write_report(run, tmp_path / "taken" / "audit.json")


def test_json_gives_the_same_run_back(run):
    again = Run.model_validate_json(render_json(run))
    assert again == run
    assert render_json(again) == render_json(run)
    assert render_html(again) == render_html(run)


def test_the_same_run_gives_the_same_bytes(run):
    assert render_html(run) == render_html(run)


@pytest.mark.slow
def test_another_process_zone_locale_and_plot_style_give_the_same_bytes_without_torch(run, tmp_path):
    (tmp_path / "run.json").write_text(run.model_dump_json(), encoding="utf-8")
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.grid: True\nlines.linewidth: 9\nsvg.fonttype: path\n")
    elsewhere = {
        **os.environ,
        "TZ": "Asia/Kolkata",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONHASHSEED": "4711",
        "SOURCE_DATE_EPOCH": "1",
    }
    finished = subprocess.run(
        [sys.executable, "-c", AGAIN], cwd=tmp_path, env=elsewhere, capture_output=True, text=True, check=False
    )
    assert finished.stderr == ""
    assert finished.stdout == "[]\n"
    assert (tmp_path / "again.html").read_bytes() == render_html(run).encode()
    assert (tmp_path / "again.json").read_bytes() == render_json(run).encode()


def test_json_needs_no_plotting_library(run, tmp_path):
    (tmp_path / "run.json").write_text(run.model_dump_json(), encoding="utf-8")
    code = (
        "import sys, pathlib; from pytest_diffprivacy.evidence.records import Run;"
        "from pytest_diffprivacy.report.formats.json import render;"
        "render(Run.model_validate_json(pathlib.Path('run.json').read_bytes()));"
        "print({'torch', 'matplotlib', 'jinja2'} & set(sys.modules))"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert finished.stdout == "set()\n"
