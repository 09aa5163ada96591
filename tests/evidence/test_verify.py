"""A finished run is verified from its files alone, and whatever was changed in them is named."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pytest_diffprivacy import Auditor, assert_mia_tpr_below, options
from pytest_diffprivacy.errors import ClaimNotProven, EvidenceError, UsageError
from pytest_diffprivacy.evidence import RunFolder
from pytest_diffprivacy.evidence.arrays import read_arrays, write_arrays
from pytest_diffprivacy.evidence.records import Control, Run
from pytest_diffprivacy.evidence.runs import PytestRun, conclude_run, judge_run
from pytest_diffprivacy.evidence.seals import record_digest, record_json
from pytest_diffprivacy.evidence.verify import Check, read_run, sealed_run, verify_run

RUN_ID = "20250314T092653Z-1f"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a run with a PASS, a FAIL and an INCONCLUSIVE."""
    run = RunFolder(tmp_path / "store", RUN_ID)
    judge = Auditor(run=run)
    random = np.random.default_rng(4)
    for shift, limit in ((0.0, 0.2), (3.0, 0.2), (0.0, 0.07)):
        scores = random.normal(shift, 1.0, 400), random.normal(0.0, 1.0, 400)
        try:
            assert_mia_tpr_below(*scores, max_fpr=0.05, limit=limit, auditor=judge)
        except ClaimNotProven:
            continue
    conclude_run(
        run,
        options.resolve({}, {}, {}, ini_dir=tmp_path),
        PytestRun(started=datetime(2025, 3, 14, tzinfo=UTC), command="pytest audits"),
    )
    return run.folder


def problems(path: Path, **arguments) -> list[Check]:
    return [check for check in verify_run(path, **arguments) if check.problem]


def flipped(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))


def test_an_untouched_run_verifies_as_folder_and_as_report(folder, tmp_path):
    checks = list(verify_run(folder))
    assert [check.problem for check in checks] == [""] * len(checks)
    assert sum(check.subject.startswith("verdict of mia") for check in checks) == 3
    report = tmp_path / "audit.json"
    report.write_bytes((folder / "run.json").read_bytes())
    assert problems(report, root=folder.parents[1]) == []
    assert problems(report, root=folder.parents[1], digest=record_digest(read_run(report)[0])) == []


def test_the_usual_tool_reads_the_seal(folder):
    done = subprocess.run(["sha256sum", "-c", "run.json.sha256"], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "run.json: OK\n")


def test_a_flipped_bit_in_any_evidence_file_is_found_and_the_file_named(folder):
    files = sorted((folder / "evidence").glob("*.safetensors"))
    assert len(files) == 3
    for path in files:
        size = path.stat().st_size
        for position in (0, 8, size // 2, size - 1):
            flipped(path, position)
            (found,) = problems(folder)
            assert found.subject == f"evidence of {path.stem}"
            assert str(path) in found.problem
            flipped(path, position)
    assert problems(folder) == []


@pytest.mark.parametrize("name", ["events.jsonl", "claims", "run.json", "run.json.sha256"])
def test_a_flipped_bit_in_any_other_file_is_found(folder, name):
    path = folder / name if name != "claims" else sorted((folder / "claims").glob("*.json"))[0]
    position = path.read_bytes().index(b'"reason": "') + 14 if name == "run.json" else 10
    flipped(path, position)
    found = problems(folder)
    assert found
    assert any(path.name in check.subject + check.problem for check in found)


def edited(folder: Path, **changes) -> Run:
    """Change a field of the first claim in the run's record alone."""
    run = read_run(folder)[0]
    claims = (run.claims[0].model_copy(update=changes), *run.claims[1:])
    run = run.model_copy(update={"claims": claims})
    (folder / "run.json").write_text(record_json(run))
    return run


def test_a_changed_limit_is_found_although_no_verdict_depends_on_it(folder):
    before = read_run(folder)[0]
    run = edited(folder, limit=before.claims[0].limit + 0.5)
    first = problems(folder)[0]
    assert first.subject == f"claim {run.claims[0].id}"
    (folder / "audit.json").write_text(record_json(run))
    assert problems(folder / "audit.json", root=folder.parents[1])[0].subject == f"claim {run.claims[0].id}"


def test_a_changed_record_with_all_its_digests_made_again_differs_from_the_digest_that_was_kept(folder):
    run, _ = read_run(folder)
    kept = record_digest(run)
    judged = next(claim for claim in run.claims if claim.verdict.value == "PASS")
    path = folder / "claims" / f"{judged.id}.json"
    forged = judged.model_copy(update={"limit": 0.9})
    path.write_text(record_json(forged))
    seals = run.seals | {f"claims/{judged.id}.json": record_digest(forged)}
    claims = tuple(forged if claim.id == judged.id else claim for claim in run.claims)
    again = run.model_copy(update={"claims": claims, "seals": seals})
    (folder / "run.json").write_text(record_json(again))
    (folder / "run.json.sha256").write_text(f"{record_digest(again)}  run.json\n")
    assert problems(folder) == []
    (found,) = problems(folder, digest=f"sha256:{kept}")
    assert found.problem == f"sha256 is {record_digest(again)}, the digest that was given says {kept}"


def test_scores_that_were_exchanged_with_their_digests_give_another_verdict(folder):
    run, _ = read_run(folder)
    failed = next(claim for claim in run.claims if claim.verdict.value == "FAIL")
    (artifact,) = failed.artifacts
    path = folder.parents[1] / artifact.path
    arrays = read_arrays(path)
    sha256 = write_arrays(path, arrays | {"member_scores": arrays["nonmember_scores"]}, {})
    claim = failed.model_copy(update={"artifacts": (artifact.model_copy(update={"sha256": sha256}),)})
    claims = tuple(claim if c.id == claim.id else c for c in run.claims)
    (folder / "run.json").write_text(record_json(run.model_copy(update={"claims": claims})))
    found = [check for check in problems(folder) if check.subject.startswith("verdict of mia")]
    assert len(found) == 1
    assert "from the evidence, the record says" in found[0].problem


def test_a_run_verdict_that_its_claims_do_not_make_is_found(folder):
    run, _ = read_run(folder)
    assert run.verdict == "FAIL"
    (folder / "run.json").write_text(record_json(run.model_copy(update={"verdict": "PASS"})))
    assert problems(folder)[0].subject == "verdict of the run: PASS"


def test_a_pass_that_nobody_can_compute_again_does_not_verify(folder):
    run = edited(folder, recipe=None)
    subjects = {check.subject: check.problem for check in problems(folder)}
    claim = run.claims[0]
    found = subjects.get(f"verdict of {claim.id}: {claim.verdict.value}", "")
    expected = "cannot be computed again: the record names no statistic"
    assert found == (expected if claim.verdict.value in ("PASS", "FAIL") else "")


def test_a_missing_evidence_file_is_named(folder):
    path = sorted((folder / "evidence").glob("*.safetensors"))[1]
    path.unlink()
    (found,) = problems(folder)
    assert found.label == "ABSENT"
    assert str(path) in found.problem
    assert "No such file" in found.problem


def test_a_report_that_was_forged_as_a_whole_differs_from_the_seal_in_its_folder(folder, tmp_path):
    run, _ = read_run(folder)
    claims = tuple(claim for claim in run.claims if claim.verdict.value == "PASS")
    tests, seals = (), {f"claims/{claim.id}.json": record_digest(claim) for claim in claims}
    verdict, reason = judge_run(claims, tests, ())
    kept = {"claims": claims, "tests": tests, "family": None, "seals": seals}
    report = tmp_path / "audit.json"
    report.write_text(record_json(run.model_copy(update={**kept, "verdict": verdict, "verdict_reason": reason})))
    (found,) = problems(report, root=folder.parents[1])
    assert (found.label, found.subject) == ("DIFFERS", "record audit.json")
    assert "run.json.sha256 says" in found.problem
    with pytest.raises(EvidenceError, match=r"is not what was sealed: record audit\.json: sha256 is"):
        sealed_run(report, root=folder.parents[1])


def test_without_its_folder_a_report_verifies_nothing_and_says_so(folder, tmp_path):
    report = tmp_path / "audit.json"
    report.write_bytes((folder / "run.json").read_bytes())
    found = problems(report, root=tmp_path / "none")
    assert {check.label for check in found} == {"ABSENT"}
    assert found[0].subject == "record audit.json"
    assert sealed_run(report, root=tmp_path / "none").verdict == "FAIL"
    digest = record_digest(read_run(report)[0])
    assert "record audit.json" not in [check.subject for check in problems(report, root=tmp_path, digest=digest)]


@pytest.mark.parametrize("name", ["/etc/hostname", "../secret", "runs/x/../../secret", "link"])
def test_a_path_that_leads_out_of_the_run_is_not_read(folder, name):
    secret = folder.parent / "secret"
    secret.write_text("secret")
    (folder / "link").symlink_to(secret)
    run, _ = read_run(folder)
    artifact = run.claims[0].artifacts[0].model_copy(update={"path": name})
    run = edited(folder, artifacts=(artifact,))
    found = next(check for check in problems(folder) if check.subject == f"evidence of {run.claims[0].id}")
    assert "lies outside the run's folder and was not read" in found.problem
    (folder / "run.json").write_text(record_json(run.model_copy(update={"run_id": "../runs"})))
    with pytest.raises(EvidenceError, match=r"its id '\.\./runs' is no name of a folder"):
        problems(folder)


def test_what_is_no_record_is_refused_by_name(tmp_path):
    with pytest.raises(UsageError, match=r"must be a run's folder or a JSON report, got '.*none\.json'"):
        read_run(tmp_path / "none.json")
    (tmp_path / "other.json").write_text(json.dumps({"run_id": "a"}))
    with pytest.raises(EvidenceError, match=r"other\.json' is no record of a run: started: Field required"):
        read_run(tmp_path / "other.json")


def forged(folder: Path, **changes) -> None:
    """Change the first claim that FAILs, and make every digest again."""
    run, _ = read_run(folder)
    judged = next(claim for claim in run.claims if claim.verdict.value == "FAIL")
    other = judged.model_copy(update=changes)
    (folder / "claims" / f"{judged.id}.json").write_text(record_json(other))
    claims = tuple(other if claim.id == judged.id else claim for claim in run.claims)
    seals = run.seals | {f"claims/{judged.id}.json": record_digest(other)}
    again = run.model_copy(update={"claims": claims, "seals": seals})
    (folder / "run.json").write_text(record_json(again))
    (folder / "run.json.sha256").write_text(f"{record_digest(again)}  run.json\n")


def test_a_p_value_that_its_evidence_does_not_give_is_named(folder):
    forged(folder, p_value=0.049)
    assert any("the p-value is" in check.problem and "record says 0.049" in check.problem for check in problems(folder))


def test_a_verdict_beside_a_failed_control_is_named(folder):
    control = Control(kind="positive", name="Planted leak", done="Asked.", outcome="failed", meaning="Not found.")
    forged(folder, controls=(control,))
    assert any("FAIL beside a failed control: Planted leak" in check.problem for check in problems(folder))
