"""The store gives back what was put in, whole or not at all, and never takes damage for a miss."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_diffprivacy.errors import EvidenceError
from pytest_diffprivacy.evidence import Store, read_arrays, write_bytes
from pytest_diffprivacy.evidence.arrays import write_arrays
from pytest_diffprivacy.evidence.cache import damaged, entries

ARRAYS = {
    "scores": np.linspace(-1, 1, 7),
    "copies": np.array([[True, False], [False, True]]),
    "nearest": np.arange(6).reshape(2, 3),
    "images": np.ones((1, 2, 2), dtype=np.float32),
    "nothing": np.empty((0, 3)),
}
WORKER = """
import sys
from pathlib import Path
from pytest_diffprivacy.evidence import Store
import numpy as np

store, log = Store(Path(sys.argv[1])), Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    key = f"{number:064x}"
    with store.lock(key):
        if store.get(key) is None:
            with log.open("a") as file:
                file.write(f"{number}\\n")
            store.put(key, {"value": np.full(500, number)}, {})
    assert store.get(key)["value"][0] == number
"""


def files(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_what_is_put_in_comes_out(tmp_path):
    store = Store(tmp_path)
    store.put("key", ARRAYS, {"unit": "one"})
    found = store.get("key")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_view_is_stored_as_what_it_shows(tmp_path):
    Store(tmp_path).put("key", {"a": np.arange(6).reshape(2, 3).T}, {})
    np.testing.assert_array_equal(Store(tmp_path).get("key")["a"], [[0, 3], [1, 4], [2, 5]])


def test_a_key_that_was_never_put_in_is_a_miss(tmp_path):
    assert Store(tmp_path).get("key") is None
    assert files(tmp_path) == []


def test_a_later_result_replaces_the_earlier_one(tmp_path):
    store = Store(tmp_path)
    for value in (1, 2):
        store.put("key", {"a": np.array([value])}, {})
    assert store.get("key")["a"].tolist() == [2]


def test_nothing_but_results_and_a_gitignore_is_left_behind(tmp_path):
    store = Store(tmp_path / ".diffprivacy")
    for key in ("one", "two"):
        store.put(key, ARRAYS, {})
    assert files(tmp_path) == [
        ".diffprivacy/.gitignore",
        ".diffprivacy/cache/one.safetensors",
        ".diffprivacy/cache/two.safetensors",
    ]
    assert (tmp_path / ".diffprivacy" / ".gitignore").read_text() == "*\n"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    write_bytes(path, b"old")

    def disk_full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(EvidenceError, match=r"Cannot write '.*report\.json': No space left on device. Free space, or"):
        write_bytes(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == ["report.json"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(EvidenceError, match=r"evidence folder '.*taken'.*Set diffprivacy_cache_dir"):
        Store(tmp_path / "taken").put("key", ARRAYS, {})


def test_a_flipped_byte_anywhere_is_noticed_and_the_file_named(tmp_path):
    store = Store(tmp_path)
    store.put("key", {"a": np.arange(3.0), "b": np.array([1, 2])}, {"unit": "loss, members 0-255"})
    path = store.path("key")
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(EvidenceError, match=r"key\.safetensors' is damaged: .*Delete the file, or run with"):
            store.get("key")


def test_a_truncated_file_is_noticed_and_named(tmp_path):
    store = Store(tmp_path)
    store.put("key", {"a": np.arange(20.0)}, {})
    path = store.path("key")
    whole = path.read_bytes()
    for length in (0, 4, 8, 50, len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(EvidenceError, match=r"key\.safetensors' is damaged"):
            store.get("key")


@pytest.mark.parametrize("metadata", [None, {"evidence": "[]"}, {"evidence": "3"}, {"evidence": "{}"}])
def test_a_foreign_safetensors_file_is_no_result(tmp_path, metadata):
    from safetensors.numpy import save_file

    save_file({"a": np.arange(3.0)}, tmp_path / "x.safetensors", metadata=metadata)
    with pytest.raises(EvidenceError, match="its content does not match its digest"):
        read_arrays(tmp_path / "x.safetensors")


def test_the_description_is_kept_beside_the_arrays(tmp_path):
    from safetensors import safe_open

    store = Store(tmp_path)
    store.put("key", {"a": np.arange(3)}, {"unit": "one", "path": Path("x")})
    with safe_open(store.path("key"), framework="numpy") as file:
        assert json.loads(json.loads(file.metadata()["evidence"])["description"]) == {
            "key": "key",
            "path": "x",
            "unit": "one",
        }


def test_a_result_of_another_key_is_an_error_that_names_the_file(tmp_path):
    store = Store(tmp_path)
    store.put("mine", {"a": np.arange(3.0)}, {})
    store.put("other", {"a": np.arange(3.0) + 1}, {})
    store.path("other").replace(store.path("mine"))
    with pytest.raises(EvidenceError, match=r"mine\.safetensors' is damaged: it is .* computation, with key other\."):
        store.get("mine")
    write_arrays(store.path("mine"), {"a": np.arange(3.0)}, {})
    with pytest.raises(EvidenceError, match=r"mine\.safetensors' is damaged: .*, with key none\."):
        store.get("mine")
    assert [bool(problem) for _, problem in damaged(entries(tmp_path))] == [True]


@pytest.mark.slow
def test_two_processes_compute_each_key_once(tmp_path):
    log = tmp_path / "computed"
    command = [sys.executable, "-c", WORKER, str(tmp_path / "store"), str(log)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [worker.stdout.readline() for worker in workers] == ["ready\n", "ready\n"]
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    errors = [worker.communicate(timeout=60)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    assert sorted(int(line) for line in log.read_text().split()) == list(range(40))
