"""The engine: units in order, each computed once, smaller batches when memory runs out."""

import io
import json

import numpy as np
import pytest
import torch

from pytest_diffprivacy.engine import Engine, Unit, Work
from pytest_diffprivacy.errors import AuditError, EvidenceError
from pytest_diffprivacy.evidence import RunFolder, Store
from tests.models.builders import population_model


class Counting:
    """Units that remember when and with which batch size they were computed."""

    def __init__(self, fits=10_000, error=torch.OutOfMemoryError):
        self.calls, self.fits, self.error = [], fits, error

    def unit(self, number, depends=..., items=4):
        def compute(model, batch_size):
            self.calls.append((number, batch_size))
            if batch_size > self.fits:
                raise self.error("no memory")
            return {"value": np.array([number, len(model.identity.name)])}

        return Unit(f"unit {number}", {"number": number} if depends is ... else depends, compute, items)

    def units(self, count=3, **arguments):
        return [self.unit(number, **arguments) for number in range(count)]


@pytest.fixture(scope="module")
def model():
    return population_model()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def values(engine, model, units, done=None):
    return [int(arrays["value"][0]) for arrays in engine.run(model, units, title="test", work=done or Work())]


def events(folder):
    return [json.loads(line) for line in (folder.folder / "events.jsonl").read_text().splitlines()]


def test_results_come_in_the_order_of_the_units(model):
    counting = Counting()
    assert values(Engine(), model, [counting.unit(n) for n in (5, 1, 3)]) == [5, 1, 3]
    assert [number for number, _ in counting.calls] == [5, 1, 3]


def test_a_unit_is_computed_when_its_result_is_asked_for_and_not_before(model, store):
    counting = Counting()
    results = Engine(store).run(model, counting.units(), title="test", work=Work())
    assert counting.calls == []
    next(results)
    assert len(counting.calls) == 1
    assert len(list((store.root / "cache").iterdir())) == 1


def test_the_same_units_are_computed_once(model, store):
    counting, first, second = Counting(), Work(), Work()
    assert values(Engine(store), model, counting.units(), first) == [0, 1, 2]
    assert values(Engine(store), model, counting.units(), second) == [0, 1, 2]
    assert len(counting.calls) == 3
    assert (first.computed, first.reused, second.computed, second.reused) == (3, 0, 0, 3)


def test_a_run_that_was_stopped_is_continued(model, store):
    counting, done = Counting(), Work()
    stopped = Engine(store).run(model, counting.units(4), title="test", work=Work())
    next(stopped), next(stopped)
    stopped.close()
    assert values(Engine(store), model, counting.units(4), done) == [0, 1, 2, 3]
    assert (done.computed, done.reused) == (2, 2)


def test_fresh_computes_again_and_stores_the_result(model, store):
    counting, done = Counting(), Work()
    values(Engine(store), model, counting.units())
    values(Engine(Store(store.root, fresh=True)), model, counting.units(), done)
    assert (len(counting.calls), done.computed, done.reused) == (6, 3, 0)
    values(Engine(store), model, counting.units())
    assert len(counting.calls) == 6


def test_without_a_store_everything_is_computed(model):
    counting = Counting()
    for _ in range(2):
        values(Engine(), model, counting.units())
    assert len(counting.calls) == 6


def test_what_cannot_say_what_it_depends_on_is_never_stored(model, store):
    counting = Counting()
    for _ in range(2):
        done = Work()
        values(Engine(store), model, counting.units(depends=None), done)
        assert (done.computed, done.reused) == (3, 0)
    assert len(counting.calls) == 6
    assert not (store.root / "cache").exists()


def test_another_model_precision_or_description_is_another_result(model, store):
    from dataclasses import replace

    class Other:
        def __init__(self, **changes):
            self.identity = replace(model.identity, **changes)

    counting = Counting()
    values(Engine(store), model, counting.units(1))
    for other in (Other(digest="0" * 64), Other(dtype="float32"), Other(device="cuda")):
        values(Engine(store), other, counting.units(1))
    values(Engine(store), model, [counting.unit(0, depends={"number": 0.0})])
    assert len(counting.calls) == 5
    values(Engine(store), Other(name="renamed"), counting.units(1))
    assert len(counting.calls) == 5


def test_new_library_versions_make_new_results(model, store, monkeypatch):
    counting = Counting()
    values(Engine(store), model, counting.units(1))
    monkeypatch.setattr("pytest_diffprivacy.engine.recorder.library_versions", lambda: {"torch": "99.0"})
    values(Engine(store), model, counting.units(1))
    assert len(counting.calls) == 2


def test_a_damaged_result_is_an_error_and_no_reason_to_compute(model, store):
    counting = Counting()
    values(Engine(store), model, counting.units(1))
    (path,) = (store.root / "cache").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EvidenceError, match=path.name):
        values(Engine(store), model, counting.units(1))
    assert len(counting.calls) == 1


def worded(text):
    return RuntimeError(f"MPS backend out of memory: {text}")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, worded])
def test_when_memory_runs_out_the_batch_is_halved_and_stays_so(model, tmp_path, error):
    counting, done, folder = Counting(fits=40, error=error), Work(), RunFolder(tmp_path, "run")
    engine = Engine(run=folder, batch_size=128)
    assert values(engine, model, counting.units(2), done) == [0, 1]
    assert counting.calls == [(0, 128), (0, 64), (0, 32), (1, 32)]
    assert done.incidents == [
        "Out of memory in unit 0: batch size halved to 64.",
        "Out of memory in unit 0: batch size halved to 32.",
    ]
    assert [e["event"] for e in events(folder)] == ["out of memory", "out of memory", "computed", "computed"]


def test_when_one_image_is_too_much_the_audit_says_so(model):
    counting = Counting(fits=0)
    with pytest.raises(AuditError, match=r"unit 0: memory runs out at batch size 1. Use a smaller dtype or a larger"):
        values(Engine(batch_size=5), model, counting.units(1))
    assert [size for _, size in counting.calls] == [5, 2, 1]


def test_another_error_is_not_taken_for_a_lack_of_memory(model, store):
    def broken(model, batch_size):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        values(Engine(store), model, [Unit("broken", {"a": 1}, broken, 1)])
    assert not (store.root / "cache").exists()


def test_every_finished_unit_leaves_one_event(model, store, tmp_path):
    folder, counting = RunFolder(tmp_path, "run"), Counting()
    for _ in range(2):
        values(Engine(store, folder), model, counting.units(2))
    found = events(folder)
    assert [(e["event"], e["unit"], e["items"]) for e in found] == [
        ("computed", "unit 0", 4),
        ("computed", "unit 1", 4),
        ("reused", "unit 0", 4),
        ("reused", "unit 1", 4),
    ]
    assert [e["key"] for e in found[:2]] == [e["key"] for e in found[2:]]
    assert all(store.path(e["key"]).is_file() for e in found)


def test_progress_goes_where_it_is_sent(model, capfd):
    stream = io.StringIO()
    values(Engine(progress=stream), model, Counting().units(1))
    assert "test" in stream.getvalue()
    values(Engine(), model, Counting().units(1))
    assert capfd.readouterr() == ("", "")
