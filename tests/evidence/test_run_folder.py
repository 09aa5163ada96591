"""A run's folder: a line an event, and the records of its claims as they were judged."""

import hashlib
import json
import threading

import numpy as np
import pytest

from pytest_diffprivacy.errors import EvidenceError
from pytest_diffprivacy.evidence import RunFolder, read_arrays
from pytest_diffprivacy.evidence.records import Claim, Work
from pytest_diffprivacy.statistics import Verdict


def claim(name, **changes):
    fields = {
        "id": name,
        "node_id": f"audits/test_release.py::{name}",
        "kind": "extraction",
        "sentence": "No training image comes back.",
        "headline": "0 of 100",
        "verdict": Verdict.PASS,
        "reason": "the upper bound is below the limit",
        "rule": "upper bound <= limit",
        "limit": 0.05,
        "estimate": None,
        "model": None,
        "seed": 0,
        "confidence": 0.95,
        "work": Work(units_computed=1, units_reused=0, seconds=0.5),
        "redo": "pytest audits",
    }
    return Claim(**(fields | changes))


def events(folder):
    return [json.loads(line) for line in (folder.folder / "events.jsonl").read_text().splitlines()]


def test_every_event_is_one_line_of_json(tmp_path):
    folder = RunFolder(tmp_path, "20260101T000000-abc")
    folder.event("computed", unit="loss, members 0-255", items=256, note="two\nlines")
    folder.event("reused", unit="loss, members 256-511", path=tmp_path)
    found = events(folder)
    assert [event["event"] for event in found] == ["computed", "reused"]
    assert found[0]["note"] == "two\nlines"
    assert found[1]["path"] == str(tmp_path)
    assert all(event["time"].endswith("+00:00") for event in found)


def test_parallel_writers_never_share_a_line(tmp_path):
    def write(worker):
        folder = RunFolder(tmp_path, "run")
        for number in range(20):
            folder.event("computed", worker=worker, number=number, padding="x" * 500)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {(event["worker"], event["number"]) for event in events(RunFolder(tmp_path, "run"))}
    assert found == {(worker, number) for worker in range(4) for number in range(20)}


def test_events_are_appended_to_those_of_an_earlier_process(tmp_path):
    for number in range(3):
        RunFolder(tmp_path, "run").event("computed", number=number)
    assert [event["number"] for event in events(RunFolder(tmp_path, "run"))] == [0, 1, 2]


def test_an_events_file_that_cannot_be_written_is_named(tmp_path):
    folder = RunFolder(tmp_path, "run")
    (folder.folder / "events.jsonl").mkdir(parents=True)
    with pytest.raises(EvidenceError, match=r"Cannot write '.*events\.jsonl': .* change diffprivacy_cache_dir"):
        folder.event("computed")


def test_kept_arrays_are_described_with_the_digest_of_their_file(tmp_path):
    arrays = {"members": np.linspace(0, 1, 5), "copies": np.zeros((2, 3), dtype=bool)}
    artifact = RunFolder(tmp_path, "run").keep_arrays("mia-secmi", arrays, {"claim": "mia"})
    path = tmp_path / artifact.path
    assert artifact.path == "runs/run/evidence/mia-secmi.safetensors"
    assert artifact.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert artifact.arrays == {"copies": "bool (2, 3)", "members": "float64 (5,)"}
    np.testing.assert_array_equal(read_arrays(path)["members"], arrays["members"])


def test_a_claim_is_read_back_as_it_was_judged(tmp_path):
    folder = RunFolder(tmp_path, "run")
    written = [claim("test_b", verdict=Verdict.FAIL), claim("test_a")]
    for record in written:
        folder.keep_claim(record)
    assert RunFolder(tmp_path, "run").claims() == written[::-1]


def test_a_rerun_replaces_its_claim(tmp_path):
    folder = RunFolder(tmp_path, "run")
    for verdict in (Verdict.FAIL, Verdict.PASS):
        folder.keep_claim(claim("test_a", verdict=verdict))
    assert [record.verdict for record in folder.claims()] == [Verdict.PASS]


def test_a_run_without_claims_has_none(tmp_path):
    assert RunFolder(tmp_path, "run").claims() == []
