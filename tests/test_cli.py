"""What a person types after an audit, what it prints, and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from pytest_diffprivacy.cli import COMMANDS, main
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.evidence.seals import record_json
from pytest_diffprivacy.report.formats.html import render as render_html
from tests.report.finished import finished_run

HEAVY = ("torch", "diffusers", "transformers", "sklearn", "matplotlib", "pytest")


@pytest.fixture(scope="module")
def run() -> Run:
    return finished_run()


@pytest.fixture
def record(run, tmp_path) -> Path:
    path = tmp_path / "audit.json"
    path.write_text(record_json(run))
    return path


def changed(record: Path, name: str, **fields) -> Path:
    content = json.loads(record.read_text()) | fields
    path = record.parent / name
    path.write_text(json.dumps(content))
    return path


def test_render_gives_the_same_bytes_again(run, record, capsys):
    folder = record.parent
    assert main(["render", str(record), str(folder / "b.html"), str(folder / "b.json")]) == 0
    assert (folder / "b.html").read_text() == render_html(run)
    assert (folder / "b.json").read_bytes() == record.read_bytes()
    assert capsys.readouterr().out.splitlines() == [f"report        {folder / name}" for name in ("b.html", "b.json")]


@pytest.mark.parametrize(
    ("verdict", "code"), [("PASS", 0), ("FAIL", 1), ("INCONCLUSIVE", 3), ("ERROR", 4), ("INCOMPLETE", 4), ("GOOD", 4)]
)
def test_the_verdict_is_the_exit_code(record, capsys, verdict, code):
    path = changed(record, "other.json", verdict=verdict)
    assert main(["verdict", str(path)]) == code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert any(line.startswith("policy        1 limits of policy.toml, sha256 ") for line in lines)
    assert lines[1].startswith("FAIL          checkpoints/release-3: The TPR of SecMI at FPR <= 1% is at most 0.02")
    assert lines[1].endswith("(expected by its test)")
    assert lines[-1].startswith(f"run           {verdict}: ")


def test_what_is_no_record_is_an_error_in_words(tmp_path, capsys):
    assert main(["verdict", str(tmp_path / "none.json")]) == 4
    assert capsys.readouterr().err.startswith("UsageError: `record` must be a run's folder or a JSON report, got ")


def test_verify_without_evidence_names_the_first_difference(record, capsys):
    assert main(["verify", str(record), "--evidence", str(record.parent), "--quiet"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("DIFFERS       claim extraction-test_no_training_image_comes_back: sha256 is ")
    assert lines[-1].startswith("NOT VERIFIED  ")
    assert lines[-1].endswith("first: claim extraction-test_no_training_image_comes_back")


def test_compare_says_what_changed_and_fails_when_a_claim_is_worse(run, record, capsys):
    after = json.loads(record.read_text())
    after["claims"][0]["verdict"] = "FAIL"
    after["claims"][2]["verdict"] = "PASS"
    after["claims"][1]["limit"] = 0.03
    after["claims"].pop(3)
    after["versions"]["torch"] = "2.7.0"
    path = record.parent / "after.json"
    path.write_text(json.dumps(after))
    assert main(["compare", str(record), str(path)]) == 1
    out = capsys.readouterr().out
    starts = [line[:14].strip() for line in out.splitlines()]
    assert starts == ["WORSE", "GONE", "better", "same", "differs", "run"]
    assert "limit 0.02 -> FAIL" in out
    assert "limit 0.03" in out
    assert "version torch: 2.6.0 -> 2.7.0" in out
    assert main(["compare", str(record), str(record)]) == 0


def test_every_command_explains_itself(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    overview = capsys.readouterr().out
    for command in COMMANDS:
        assert command.name in overview
        with pytest.raises(SystemExit):
            main([command.name, "--help"])
        assert command.details.splitlines()[0] in capsys.readouterr().out


@pytest.fixture
def cache(tmp_path) -> Path:
    store = Store(tmp_path / "evidence")
    for number in range(3):
        store.put(
            f"{number}" * 64, {"value": np.arange(1000.0)}, {"unit": f"loss, part {number}", "model": "release-3"}
        )
        os.utime(store.path(f"{number}" * 64), (60.0 * number, 60.0 * number))
    return tmp_path / "evidence"


def test_the_cache_is_listed_by_age_and_sized(cache, capsys):
    assert main(["cache", "list", "--cache-dir", str(cache)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1] for line in lines[:3]] == [f"release-3: loss, part {n}" for n in range(3)]
    assert lines[1].startswith("1970-01-01 00:01        8.3 KB  111111111111  ")
    assert lines[3] == "cache         3 results, 24.9 KB"
    assert main(["cache", "size", "--cache-dir", str(cache)]) == 0
    assert capsys.readouterr().out == "cache         3 results, 24.9 KB\n"


def test_the_cache_is_pruned_to_a_limit_that_must_be_given(cache, capsys):
    assert main(["cache", "prune", "--cache-dir", str(cache)]) == 4
    assert capsys.readouterr().err.startswith("UsageError: `--limit` must be given: a size such as 20GB.")
    assert main(["cache", "prune", "--cache-dir", str(cache), "--limit", "20"]) == 4
    assert capsys.readouterr().err == "UsageError: `--limit` must be a size such as 500MB or 20GB, got '20'.\n"
    (cache / "cache" / ".tmp-killed").write_bytes(b"half")
    os.utime(cache / "cache" / ".tmp-killed", (0.0, 0.0))
    assert main(["cache", "prune", "--cache-dir", str(cache), "--limit", "17KB"]) == 0
    assert capsys.readouterr().out == "removed       1 result, 8.3 KB; 16.6 KB left\n"
    assert sorted(path.name[0] for path in (cache / "cache").iterdir()) == ["1", "2"]


def test_a_damaged_cache_file_is_named_and_fails_the_check(cache, capsys):
    assert main(["cache", "verify", "--cache-dir", str(cache)]) == 0
    assert capsys.readouterr().out == "cache         3 results, 24.9 KB, 0 damaged\n"
    path = cache / "cache" / ("1" * 64 + ".safetensors")
    path.write_bytes(path.read_bytes()[:-8])
    assert main(["cache", "verify", "--cache-dir", str(cache)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"DAMAGED       Stored result {str(path)!r} is damaged: ")
    assert lines[1] == "cache         3 results, 24.9 KB, 1 damaged"


@pytest.mark.parametrize("command", ["render", "verdict", "verify", "cache"])
@pytest.mark.slow
def test_a_command_loads_no_torch(record, command):
    arguments = {
        "render": ["audit.json", "b.json"],
        "verdict": ["audit.json"],
        "verify": ["audit.json", "--evidence", "."],
        "cache": ["verify", "--cache-dir", "."],
    }[command]
    code = (
        "import sys, pytest_diffprivacy.cli as cli\n"
        f"cli.main({[command, *arguments]!r})\n"
        f"print('LOADED', *[name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=record.parent, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "LOADED"


@pytest.mark.slow
def test_the_module_runs_as_a_program(record):
    done = subprocess.run(
        [sys.executable, "-m", "pytest_diffprivacy", "verdict", "audit.json"],
        cwd=record.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 4
    assert done.stdout.splitlines()[-1].startswith("run           ERROR: 1 of 4 claims could not be judged")


def test_the_shipped_schema_is_that_of_the_record(capsys):
    assert main(["schema"]) == 0
    assert (resources.files("pytest_diffprivacy.report") / "run.schema.json").read_text() == capsys.readouterr().out
