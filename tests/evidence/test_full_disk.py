"""A full or read-only disk: a clear error, nothing finished lost, nothing half written reused."""

from __future__ import annotations

import errno
import os
from functools import partial

import numpy as np
import pytest

from pytest_diffprivacy.engine import Engine, Unit, Work
from pytest_diffprivacy.errors import EvidenceError
from pytest_diffprivacy.evidence import RunFolder, Store
from tests.models.builders import population_model

FULL = r"Cannot write (to the evidence folder )?'.*': No space left on device\. "


def units(count, values=1000):
    def compute(number, model, batch_size):
        return {"value": np.full(values, number, dtype=np.float64)}

    return [Unit(f"unit {n}", {"number": n}, partial(compute, n), 1) for n in range(count)]


def values(engine, asked, work=None):
    work = work or Work()
    return [int(arrays["value"][0]) for arrays in engine.run(population_model(), asked, title="test", work=work)]


def test_a_disk_that_fills_up_loses_no_finished_unit(small_disk):
    root = small_disk("size=96k") / "evidence"
    engine = Engine(Store(root), RunFolder(root, "first"))
    with pytest.raises(EvidenceError, match=FULL):
        values(engine, units(40))
    finished = len(list((root / "cache").glob("*.safetensors")))
    assert 5 <= finished < 40
    assert not list((root / "cache").glob(".tmp-*"))
    small_disk("size=2m")
    work = Work()
    assert values(Engine(Store(root), RunFolder(root, "second")), units(40), work) == list(range(40))
    assert (work.reused, work.computed) == (finished, 40 - finished)


def test_a_read_only_folder_is_named_and_its_results_stay(small_disk):
    root = small_disk("size=1m") / "evidence"
    values(Engine(Store(root)), units(3))
    small_disk("ro")
    with pytest.raises(EvidenceError, match=r"evidence folder '.*': Read-only file system\. Set diffprivacy_cache_dir"):
        values(Engine(Store(root)), units(4))
    with pytest.raises(EvidenceError, match=r"Read-only file system\. Free space or change diffprivacy_cache_dir"):
        RunFolder(root, "run").event("computed")
    assert len(list((root / "cache").iterdir())) == 3
    assert Store(root).get(next((root / "cache").iterdir()).stem)["value"].shape == (1000,)  # reading needs no write
    small_disk("rw")
    work = Work()
    values(Engine(Store(root)), units(4), work)
    assert (work.reused, work.computed) == (3, 1)


def test_a_full_disk_stops_the_audit_at_the_unit_that_could_not_be_kept(tmp_path, monkeypatch):
    honest, left = os.fsync, [5]

    def fsync(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        honest(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(EvidenceError, match=FULL):
        values(Engine(Store(tmp_path)), units(10))
    monkeypatch.undo()
    work = Work()
    assert values(Engine(Store(tmp_path)), units(10), work) == list(range(10))
    assert (work.reused, work.computed) == (4, 6)  # the first write is the folder's .gitignore


def test_an_event_that_fits_only_in_part_is_an_error_and_spoils_no_other(tmp_path, monkeypatch):
    folder, honest = RunFolder(tmp_path, "run"), os.write
    folder.event("claim", number=1)
    with monkeypatch.context() as patch:
        patch.setattr("os.write", lambda descriptor, content: honest(descriptor, content[:20]))
        with pytest.raises(EvidenceError, match=r"Cannot write '.*events\.jsonl': No space left on device"):
            folder.event("claim", number=2)
    folder.event("claim", number=3)
    assert [event["number"] for event in folder.events("claim")] == [1, 3]


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "Permission denied"), NotImplementedError("no flock")])
def test_a_folder_without_locks_is_named(tmp_path, monkeypatch, error):
    def acquire(lock):
        raise error

    monkeypatch.setattr("filelock.FileLock.acquire", acquire)
    with pytest.raises(EvidenceError, match=r"evidence folder '.*': (Permission denied|no flock)\. Set diffprivacy_ca"):
        values(Engine(Store(tmp_path)), units(1))
