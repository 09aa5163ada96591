"""The least recently used results go first, never those of the run that makes room, and damage is found."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from pytest_diffprivacy.errors import EvidenceError, UsageError
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.evidence.cache import damaged, entries, leftovers, prune

ARRAYS = {"value": np.arange(100.0)}


def filled(root, count, limit=None):
    """A store whose results are as many seconds old as their number from the end."""
    store = Store(root, limit)
    for number in range(count):
        store.put(f"{number}", ARRAYS, {"unit": f"unit {number}", "model": "m"})
        os.utime(store.path(f"{number}"), (1000.0 + number, 1000.0 + number))
    return store


def keys(root):
    return [entry.key for entry in entries(root)]


def test_entries_come_by_age_with_what_they_are(tmp_path):
    store = filled(tmp_path, 3)
    store.get("0")
    found = entries(tmp_path)
    assert [entry.key for entry in found] == ["1", "2", "0"]
    assert found[0].title == "m: unit 1"
    assert found[0].size == store.path("1").stat().st_size > 800


def test_pruning_keeps_the_most_recently_used_within_the_limit(tmp_path):
    filled(tmp_path, 5)
    found = entries(tmp_path)
    size = found[0].size
    done = prune(found, 2 * size + 1)
    assert (done.removed, done.freed, done.left) == (3, 3 * size, 2 * size)
    assert keys(tmp_path) == ["3", "4"]
    assert prune(entries(tmp_path), 2 * size).removed == 0


def test_a_store_with_a_limit_makes_room_for_what_it_writes(tmp_path):
    size = entries(filled(tmp_path, 5).root)[0].size
    store = Store(tmp_path, limit=4 * size)
    store.get("1")
    store.put("new", ARRAYS, {})
    assert set(keys(tmp_path)) == {"1", "3", "4", "new"}


def test_a_run_never_removes_what_it_has_used_itself(tmp_path):
    filled(tmp_path, 2)
    store = Store(tmp_path, limit=1, since=0.0)  # everything counts as used by this run
    for number in range(4):
        store.put(f"new {number}", ARRAYS, {})
    assert len(keys(tmp_path)) == 6


def test_without_a_limit_nothing_goes(tmp_path):
    store = filled(tmp_path, 4)
    store.put("new", ARRAYS, {})
    assert len(keys(tmp_path)) == 5


def test_a_result_that_another_process_removes_while_it_is_read_is_a_miss(tmp_path, monkeypatch):
    store = filled(tmp_path, 1)

    def removed(path, *, key):
        path.unlink()
        raise EvidenceError("No such file")

    monkeypatch.setattr("pytest_diffprivacy.evidence.store.read_arrays", removed)
    assert store.get("0") is None


def test_readers_and_writers_of_a_bounded_store_do_not_disturb_each_other(tmp_path):
    size = entries(filled(tmp_path, 1).root)[0].size
    wrong = []

    def work(worker):
        store = Store(tmp_path, limit=3 * size)
        store._since = float("inf")  # everything may go, which is the hardest case
        for number in range(30):
            key = f"{number % 7}"
            found = store.get(key)
            if found is not None and not np.array_equal(found["value"], ARRAYS["value"]):
                wrong.append(key)
            store.put(key, ARRAYS, {"unit": key, "model": f"worker {worker}"})

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert 1 <= len(keys(tmp_path)) <= 6
    assert [problem for _, problem in damaged(entries(tmp_path)) if problem] == []


def test_damage_is_found_and_named(tmp_path):
    store = filled(tmp_path, 3)
    content = store.path("1").read_bytes()
    store.path("1").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    store.path("2").write_bytes(b"")
    problems = {entry.key: problem for entry, problem in damaged(entries(tmp_path))}
    assert problems["0"] == ""
    assert "1.safetensors' is damaged: its content does not match its digest" in problems["1"]
    assert "2.safetensors' is damaged" in problems["2"]
    assert [entry.title for entry in entries(tmp_path) if entry.key == "2"] == ["damaged"]


def test_files_of_killed_writers_are_found_once_they_are_old(tmp_path):
    filled(tmp_path, 1)
    for name, age in (("old", 5.0), ("young", 50.0)):
        path = tmp_path / "cache" / f".tmp-{name}"
        path.write_bytes(b"half")
        os.utime(path, (age, age))
    assert [path.name for path in leftovers(tmp_path, before=20.0)] == [".tmp-old"]
    assert keys(tmp_path) == ["0"]


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"`--cache-dir` must be an evidence folder, got '.*none'"):
        entries(tmp_path / "none")
