"""What a person types after an audit, what it prints, and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pytest_diffprivacy.cli import COMMANDS, main
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.evidence.families import run_family
from pytest_diffprivacy.evidence.private_ids import ids_of
from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.evidence.runs import judge_run
from pytest_diffprivacy.evidence.seals import record_digest, record_json, seal_run
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.report.formats.html import render as render_html
from pytest_diffprivacy.statistics import Verdict
from tests.report.finished import finished_run
from tests.report.hostile import with_text

HEAVY = ("torch", "diffusers", "transformers", "sklearn", "matplotlib", "pytest")


def sealed(run: Run, **fields) -> Run:
    """The run with other fields, as it would have been written: seals, family and verdict follow from its claims."""
    run = run.model_copy(update=fields)
    family = run_family(run.claims, run.tests, run.attempts, audits=4, significance=0.05)
    again = {"attempts": run.attempts, "policy": run.policy, "gone": run.gone}
    verdict, reason = judge_run(run.claims, run.tests, run.missing, family=family, **again)
    seals = {f"claims/{claim.id}.json": record_digest(claim) for claim in run.claims}
    return run.model_copy(update={"family": family, "verdict": verdict, "verdict_reason": reason, "seals": seals})


@pytest.fixture(scope="module")
def run() -> Run:
    return sealed(finished_run())


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
    ("kept", "fields", "verdict", "code"),
    [
        (slice(1), {}, "PASS", 0),
        (slice(1), {"gone": ("a claim",)}, "FAIL", 1),
        (slice(3), {}, "INCONCLUSIVE", 3),
        (slice(4), {}, "ERROR", 4),
        (slice(1), {"missing": ("a test: deselected",)}, "INCOMPLETE", 4),
    ],
)
def test_the_verdict_is_the_exit_code(run, tmp_path, capsys, kept, fields, verdict, code):
    path = tmp_path / "other.json"
    claims, tests = run.claims[kept], run.tests[kept]
    path.write_text(record_json(sealed(run, claims=claims, tests=tests, policy=None, **fields)))
    assert main(["verdict", str(path)]) == code
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"run           {verdict}: ")


def test_the_verdict_has_a_line_a_claim(record, capsys):
    main(["verdict", str(record)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert any(line.startswith("policy        1 limits of policy.toml, sha256 ") for line in lines)
    assert lines[1].startswith(
        "FAIL          audits/test_release.py::test_members_hidden: checkpoints/release-3: The TPR of SecMI at FPR "
    )
    assert lines[1].endswith("(a demonstration)")


def test_a_record_that_was_edited_is_refused_or_shown_as_unverified(run, record, capsys):
    path = changed(record, "other.json", verdict="PASS")
    refusal = "is not what was sealed: verdict of the run: PASS: its claims and tests say FAIL: "
    for arguments in (["verdict", str(path)], ["render", str(path), "b.html"], ["compare", str(record), str(path)]):
        assert main(arguments) == 4
        assert refusal in capsys.readouterr().err
    assert main(["verdict", str(path), "--unverified"]) == 4
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("run           UNVERIFIED: the record is not what was sealed (verdict of the run: PASS: ")
    pages = [record.parent / name for name in ("b.html", "b.md", "b.sarif", "b.intoto.json")]
    assert main(["render", str(path), *map(str, pages), "--unverified"]) == 0
    assert ["UNVERIFIED" in page.read_text() or '"FAILED"' in page.read_text() for page in pages] == [True] * 4


def test_a_record_is_compared_with_the_seal_in_its_folder(run, record, tmp_path, capsys):
    folder = tmp_path / ".diffprivacy" / "runs" / run.run_id
    seal_run(run, folder)
    evidence = ["--evidence", str(tmp_path / ".diffprivacy")]
    assert main(["verdict", str(record), *evidence]) == 1
    assert capsys.readouterr().err == ""
    record.write_text(record_json(sealed(run, claims=run.claims[:1], tests=run.tests[:1], policy=None)))
    assert main(["verdict", str(record), *evidence]) == 4
    assert "is not what was sealed: record audit.json: sha256 is " in capsys.readouterr().err


def test_a_gate_pins_what_it_expects(run, tmp_path, capsys):
    path = tmp_path / "audit.json"
    passed = sealed(run, claims=run.claims[:1], tests=run.tests[:1])
    path.write_text(record_json(passed))
    (claim,) = passed.claims
    members, others = (side.digest for side in claim.probes)
    right = ["--run-id", run.run_id, "--model-digest", f"sha256:{claim.model.digest}", "--probes-digest", members]
    right += ["--newer-than", "2025-03-14T09:00", "--policy-sha256", passed.policy.sha256]
    expected = main(["verdict", str(path)])
    assert main(["verdict", str(path), *right]) == expected
    assert "UNEXPECTED" not in capsys.readouterr().out
    wrong = {
        "--run-id": ("20250314T092653Z-00", f"run id {run.run_id}, expected 20250314T092653Z-00"),
        "--model-digest": ("0" * 64, f"no claim about model {'0' * 64}"),
        "--probes-digest": ("0" * 64, f"no claim about probes {'0' * 64}"),
        "--newer-than": ("2025-03-14T09:26:53Z", "run of 2025-03-14T09:26:53+00:00, expected one after "),
        "--policy-sha256": ("0" * 64, f"policy {passed.policy.sha256}, expected {'0' * 64}"),
    }
    for option, (value, text) in wrong.items():
        assert main(["verdict", str(path), option, value]) == 4
        assert f"UNEXPECTED    {text}" in capsys.readouterr().out
    later = sealed(run, claims=run.claims[:1], tests=run.tests[:1], started=datetime(2999, 1, 1, tzinfo=UTC))
    path.write_text(record_json(later))
    assert main(["verdict", str(path), "--newer-than", "2025-03-14T09:00"]) == 4
    assert "UNEXPECTED    run of 2999-01-01T00:00:00+00:00, which is still to come" in capsys.readouterr().out
    both = claim.model_copy(update={"id": "other", "model": claim.model.model_copy(update={"digest": "1" * 64})})
    path.write_text(record_json(sealed(run, claims=(claim, both), tests=run.tests[:1], policy=None)))
    assert main(["verdict", str(path), "--model-digest", claim.model.digest]) == 4
    assert f"UNEXPECTED    a claim about another model, {'1' * 64}" in capsys.readouterr().out
    assert main(["verdict", str(path), "--probes-digest", members, "--probes-digest", others]) == 0
    assert main(["verdict", str(path), "--newer-than", "yesterday"]) == 4
    assert "`--newer-than` must be a time such as" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ("verdict", "--run-id="),
        ("verdict", "--model-digest="),
        ("verdict", "--probes-digest", " "),
        ("verdict", "--newer-than="),
        ("verdict", "--policy-sha256="),
        ("verify", "--digest="),
    ],
    ids=" ".join,
)
def test_an_empty_pin_is_refused_and_pins_nothing_by_accident(record, command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command[0], str(record), *command[1:]])
    assert ended.value.code == 2
    assert "must be what is expected, got nothing. Is a variable not set?" in capsys.readouterr().err


def test_what_is_no_record_is_an_error_in_words(tmp_path, capsys):
    assert main(["verdict", str(tmp_path / "none.json")]) == 4
    assert capsys.readouterr().err.startswith("UsageError: `record` must be a run's folder or a JSON report, got ")


def test_verify_without_evidence_says_what_is_absent_and_what_differs(record, capsys):
    verify = ["verify", str(record), "--evidence", str(record.parent), "--quiet"]
    assert main(verify) == 1
    lines = capsys.readouterr().out.splitlines()
    assert {line[:14] for line in lines[:-1]} == {"ABSENT        ", "NOT COMPARED  "}
    assert lines[0].startswith("ABSENT        record audit.json: sha256 ")
    assert "NOT COMPARED  verdict of sharpness-test_landscape_is_flat: ERROR (not computed again: " in "\n".join(lines)
    assert lines[-1].startswith("NOT VERIFIED  ")
    assert lines[-1].endswith("first: record audit.json")
    changed(record, record.name, images="full")
    assert main(verify) == 1
    assert capsys.readouterr().out.startswith(
        "DIFFERS       record audit.json: its text is not the one that its content"
    )


def test_compare_says_what_changed_and_fails_when_a_claim_is_worse(run, record, capsys):
    updates = {"verdict": Verdict.FAIL}, {"limit": 0.03}, {"verdict": Verdict.PASS}
    claims = tuple(claim.model_copy(update=fields) for claim, fields in zip(run.claims, updates, strict=False))
    path = record.parent / "after.json"
    path.write_text(record_json(sealed(run, claims=claims, versions=run.versions | {"torch": "2.7.0"})))
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
    assert lines[1].startswith("1970-01-01 00:01        8.4 KB  111111111111  ")
    assert lines[3] == "cache         3 results, 25.1 KB"
    assert main(["cache", "size", "--cache-dir", str(cache)]) == 0
    assert capsys.readouterr().out == "cache         3 results, 25.1 KB\n"


def test_the_cache_is_pruned_to_a_limit_that_must_be_given(cache, capsys):
    assert main(["cache", "prune", "--cache-dir", str(cache)]) == 4
    assert capsys.readouterr().err.startswith("UsageError: `--limit` must be given: a size such as 20GB.")
    assert main(["cache", "prune", "--cache-dir", str(cache), "--limit", "20"]) == 4
    assert capsys.readouterr().err == "UsageError: `--limit` must be a size such as 500MB or 20GB, got '20'.\n"
    (cache / "cache" / ".tmp-killed").write_bytes(b"half")
    os.utime(cache / "cache" / ".tmp-killed", (0.0, 0.0))
    assert main(["cache", "prune", "--cache-dir", str(cache), "--limit", "17KB"]) == 0
    assert capsys.readouterr().out == "removed       1 result, 8.4 KB; 16.8 KB left\n"
    assert sorted(path.name[0] for path in (cache / "cache").iterdir()) == ["1", "2"]


def test_a_damaged_cache_file_is_named_and_fails_the_check(cache, capsys):
    assert main(["cache", "verify", "--cache-dir", str(cache)]) == 0
    assert capsys.readouterr().out == "cache         3 results, 25.1 KB, 0 damaged\n"
    path = cache / "cache" / ("1" * 64 + ".safetensors")
    path.write_bytes(path.read_bytes()[:-8])
    assert main(["cache", "verify", "--cache-dir", str(cache)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"DAMAGED       Stored result {str(path)!r} is damaged: ")
    assert lines[1] == "cache         3 results, 25.1 KB, 1 damaged"


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
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("run           FAIL: the policy demands what no claim covers: ")


FOREIGN = "\x1b[31m模型 −ε"
ENCODINGS = ("ascii", "cp1252", "utf-8")


@pytest.fixture
def foreign(tmp_path) -> Path:
    """A folder with a record, and one of another run, in which every text is foreign."""
    for name, run_id in (("audit.json", "one"), ("again.json", "two")):
        found = sealed(with_text(finished_run(), FOREIGN), policy=None, run_id=run_id)
        (tmp_path / name).write_text(record_json(found), encoding="ascii")
    Store(tmp_path / FOREIGN).put("1" * 64, {"a": np.zeros(8)}, {"unit": FOREIGN, "model": FOREIGN})
    (tmp_path / "test_a.py").write_text(
        f"import pytest\n@pytest.mark.skip(reason={FOREIGN!r})\ndef test_a(): ...\n", "utf-8"
    )
    return tmp_path


TYPED = {
    ("verdict", "audit.json"): {4},
    ("verdict", f"no {FOREIGN}.json"): {4},
    ("verdict", "audit.json", FOREIGN): {2},
    (FOREIGN,): {2},
    ("compare", "audit.json", "again.json"): {0},
    ("merge", "audit.json", "again.json", "--report", f"{FOREIGN}.md"): {1},
    ("render", "audit.json", f"{FOREIGN}.html"): {0},
    ("render", "audit.json", FOREIGN): {4},
    ("verify", "audit.json"): {1},
    ("cache", "list", "--cache-dir", FOREIGN): {0},
    ("cache", "prune", "--limit", FOREIGN): {4},
    ("plan", "test_a.py", "-rs"): {0},
    ("member", FOREIGN, "--members", f"no {FOREIGN}"): {4},
    ("schema",): {0},
}


def test_every_command_is_typed_below():
    assert {command.name for command in COMMANDS} <= {typed[0] for typed in TYPED}


@pytest.mark.parametrize(("typed", "codes"), TYPED.items(), ids=lambda value: " ".join(map(repr, value)))
@pytest.mark.slow
def test_a_name_that_a_pipe_cannot_take_changes_no_exit_code_and_no_terminal(foreign, typed, codes):
    for encoding in ENCODINGS if typed[0] in ("verdict", "compare") and len(typed) > 1 else ENCODINGS[:1]:
        done = subprocess.run(
            [sys.executable, "-m", "pytest_diffprivacy", *typed],
            cwd=foreign,
            env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert done.returncode in codes, done.stderr
        assert b"Traceback" not in done.stderr
        assert b"\x1b" not in done.stdout + done.stderr


def test_the_shipped_schema_is_that_of_the_record(capsys):
    assert main(["schema"]) == 0
    assert (resources.files("pytest_diffprivacy.report") / "run.schema.json").read_text() == capsys.readouterr().out


@pytest.fixture
def photographs(tmp_path):
    """Three files, of which two hold one picture, and the secret of a run's folder."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8), dtype=np.uint8)
    (tmp_path / "train" / "again").mkdir(parents=True)
    for name, picture in (("a.png", pixels[0]), ("b.png", pixels[1]), ("again/c.png", pixels[0])):
        Image.fromarray(picture).save(tmp_path / "train" / name)
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "secret").write_bytes(bytes(range(32)))
    return tmp_path


def member_ids(folder):
    named = ids_of(folder / "evidence")
    return {Path(name).name: named(digest) for name, digest in ImageSet.of(folder / "train", "member").sources()}


def test_a_member_s_id_leads_to_its_files_for_whoever_has_the_folder(photographs, capsys):
    ids = member_ids(photographs)
    where = ["--members", str(photographs / "train"), "--cache-dir", str(photographs / "evidence")]
    assert main(["member", f"member {ids['a.png']}", *where]) == 0
    assert {Path(line.split()[-1]).name for line in capsys.readouterr().out.splitlines()} == {"a.png", "c.png"}
    assert main(["member", ids["b.png"], "0123456789", *where]) == 1
    found, lost = capsys.readouterr().out.splitlines()
    assert found.endswith("b.png")
    assert lost.startswith("0123456789    no image of ")


def test_without_the_folder_an_id_leads_nowhere(photographs, capsys):
    where = ["--members", str(photographs / "train"), "--cache-dir", str(photographs / "another")]
    assert main(["member", "0123456789", *where]) == 4
    assert "Ids are led back by the folder of the run only." in capsys.readouterr().err
    assert not (photographs / "another").exists()
    (photographs / "evidence" / "secret").write_bytes(b"short")
    assert main(["member", "0123456789", *where[:3], str(photographs / "evidence")]) == 4
    assert "no secret of 32 bytes, got 5" in capsys.readouterr().err
