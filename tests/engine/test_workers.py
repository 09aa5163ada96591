"""Workers share the units: same results as in this process, whatever order, loss or lack of memory comes between."""

from __future__ import annotations

import pickle
import time
from collections import Counter
from functools import partial

import numpy as np
import pytest

from pytest_diffprivacy.engine import Engine, Work
from pytest_diffprivacy.engine.recorder import Budget
from pytest_diffprivacy.engine.units import Answer, Task
from pytest_diffprivacy.engine.workers import Sent, Worker, sendable
from pytest_diffprivacy.errors import AuditError, BudgetSpent, UsageError
from pytest_diffprivacy.evidence import RunFolder, Store
from tests.engine import work
from tests.models.builders import population_model


class Crew:
    """Workers in this process: each answers when all of them have been asked, the last asked first."""

    def __init__(self, count=2, lose=()):
        self.count, self.lose = count, list(lose)
        self._sent, self._tasks = Sent(lambda thing: thing), {}
        self._workers = [Worker(1) for _ in range(count)]
        self.asked, self.places = [], {}

    def load(self, model, units):
        return self._sent.load(model, units)

    def idle(self):
        return [worker for worker in range(self.count) if worker not in self._tasks]

    def submit(self, worker, task):
        self.asked.append((task.index, task.batch_size))
        self.places.setdefault(task.index, []).append(worker)
        self._tasks[worker] = task

    def receive(self):
        worker, task = self._tasks.popitem()
        if task.index in self.lose:
            self.lose.remove(task.index)
            return worker, Answer(lost=True)
        return worker, self._workers[worker].compute(task, self._sent.packed)


@pytest.fixture(scope="module")
def model():
    return population_model()


def pooled(crew, *arguments, **options):
    return Engine(*arguments, **options, start=lambda: crew)


def test_results_come_in_the_order_of_the_units_and_are_those_of_one_process(model):
    crew = Crew(3)
    np.testing.assert_array_equal(
        work.values(pooled(crew), model, work.units(10)), work.values(Engine(), model, work.units(10))
    )
    assert sorted(index for index, _ in crew.asked) == [*range(10)]


def test_what_is_stored_by_one_engine_is_reused_by_the_other(model, tmp_path):
    crew, done = Crew(), Work()
    first = work.values(Engine(Store(tmp_path)), model, work.units(3))
    second = work.values(pooled(crew, Store(tmp_path)), model, work.units(6), done)
    np.testing.assert_array_equal(second[:3], first)
    assert (done.reused, done.computed) == (3, 3)
    assert sorted(index for index, _ in crew.asked) == [3, 4, 5]
    last = Work()
    work.values(Engine(Store(tmp_path)), model, work.units(6), last)
    assert (last.reused, last.computed) == (6, 0)


def test_no_worker_is_started_where_everything_is_stored(model, tmp_path):
    work.values(Engine(Store(tmp_path)), model, work.units(3))
    engine = Engine(Store(tmp_path), start=lambda: pytest.fail("started"))
    assert len(work.values(engine, model, work.units(3))) == 3


def test_who_stops_early_lets_little_be_computed_in_vain_and_keeps_it(model, tmp_path):
    crew = Crew(2)
    results = pooled(crew, Store(tmp_path)).run(model, work.units(100), title="test", work=Work())
    next(results)
    results.close()
    assert len(crew.asked) <= 5
    assert len(list((tmp_path / "cache").iterdir())) == len(crew.asked)
    assert crew.idle() == [0, 1]


def test_calls_that_take_turns_keep_their_results_apart(model):
    crew, expected = Crew(2), work.values(Engine(), model, work.units(9))
    engine, first = pooled(crew), work.units(9)
    calls = [engine.run(model, units, title="test", work=Work()) for units in (first, first[::-1])]
    found = [(next(calls[0])["value"], next(calls[1])["value"]) for _ in first]
    np.testing.assert_array_equal([forth for forth, _ in found], expected)
    np.testing.assert_array_equal([back for _, back in found], expected[::-1])


def test_a_unit_whose_worker_is_lost_is_computed_by_another(model, tmp_path):
    crew, done, folder = Crew(2, lose=[1, 4, 4]), Work(), RunFolder(tmp_path, "run")
    found = work.values(pooled(crew, Store(tmp_path), folder), model, work.units(6), done)
    np.testing.assert_array_equal(found, work.values(Engine(), model, work.units(6)))
    assert Counter(index for index, _ in crew.asked) == {0: 1, 1: 2, 2: 1, 3: 1, 4: 3, 5: 1}
    assert done.incidents == [f"A worker was lost in unit {n}: computed again." for n in (1, 4, 4)]
    assert len(folder.events("worker lost")) == 3
    assert len(folder.events("computed")) == done.computed == 6


@pytest.mark.parametrize("lose", [[], [0], [1, 4], [7, 7]])
def test_a_bundle_is_computed_by_one_worker_in_its_order_or_by_who_comes_after_it(model, tmp_path, lose):
    crew, done = Crew(3, lose), Work()
    engine = pooled(crew, Store(tmp_path), RunFolder(tmp_path, "run"))
    found = work.values(engine, model, work.bundles(4, 3), done)
    np.testing.assert_array_equal(found, work.values(Engine(), model, work.units(12)))
    order = [index for index, _ in crew.asked]
    for bundle in range(4):
        mine = [index for index in order if index // 3 == bundle]
        assert mine == sorted(mine)
        assert len({crew.places[3 * bundle + n][-1] for n in range(3)}) <= 1 + sum(n // 3 == bundle for n in lose)
    assert Counter(order) == Counter([*range(12), *lose])
    assert done.computed == 12
    who = RunFolder(tmp_path, "run").events("computed")
    assert {event["unit"]: event["worker"] for event in who} == {f"unit {n}": crew.places[n][-1] for n in range(12)}


def test_what_is_stored_of_a_bundle_is_not_computed_again(model, tmp_path):
    asked = work.bundles(2, 3)
    work.values(Engine(Store(tmp_path)), model, [asked[1], asked[3]])
    crew, done = Crew(2), Work()
    work.values(pooled(crew, Store(tmp_path)), model, asked, done)
    assert sorted(index for index, _ in crew.asked) == [0, 2, 4, 5]
    assert (done.reused, done.computed) == (2, 4)


def test_a_lack_of_memory_in_a_bundle_leaves_it_with_its_worker(model):
    crew = Crew(2)
    work.values(pooled(crew, batch_size=8), model, work.bundles(2, 2, work.too_large, 4))
    assert {index: set(places) for index, places in crew.places.items()} == {0: {0}, 1: {0}, 2: {1}, 3: {1}}


def test_an_error_in_a_bundle_ends_it(model):
    crew = Crew(1)
    asked = [work.unit(n, work.broken, bundle="one") for n in range(3)]
    with pytest.raises(ZeroDivisionError):
        work.values(pooled(crew), model, asked)
    assert crew.asked == [(0, 256)]


def test_a_unit_in_which_every_worker_is_lost_is_given_up(model):
    crew = Crew(2, lose=[2] * 9)
    with pytest.raises(AuditError, match=r"^unit 2: 3 workers were lost while they computed it\."):
        work.values(pooled(crew), model, work.units(6))
    assert sum(index == 2 for index, _ in crew.asked) == 3


def test_a_lack_of_memory_in_several_workers_halves_the_batch_once(model):
    crew, done = Crew(3), Work()
    work.values(pooled(crew, batch_size=64), model, work.units(6, work.too_large, 32), done)
    assert done.incidents == ["Out of memory in unit 2: batch size halved to 32."]
    assert [size for _, size in crew.asked].count(64) == 3
    with pytest.raises(AuditError, match="memory runs out at batch size 1"):
        work.values(pooled(Crew(), batch_size=4), model, work.units(3, work.too_large, 0))


def test_an_error_comes_at_the_turn_of_its_unit_and_loses_no_other(model, tmp_path):
    asked = [*work.units(2), work.unit(2, work.broken), *work.units(4)[3:]]
    results = pooled(Crew(4), Store(tmp_path)).run(model, asked, title="test", work=Work())
    assert [next(results)["value"].shape for _ in range(2)] == [(8,), (8,)]
    with pytest.raises(ZeroDivisionError, match="in the model"):
        next(results)
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_an_error_that_cannot_be_sent_comes_in_words(model):
    with pytest.raises(AuditError, match="The model did not answer: Peculiar: needs 3"):
        work.values(pooled(Crew()), model, [work.unit(0, work.peculiar)])
    kept = UsageError("wrong")
    assert sendable(kept) is kept


def test_what_a_worker_cannot_read_is_said_with_its_remedy(model):
    class Elsewhere(Crew):
        def receive(self):
            worker, task = self._tasks.popitem()
            return worker, self._workers[worker].compute(task, lambda name: __import__("audits_elsewhere"))

    with pytest.raises(AuditError, match=r"cannot read what it is sent: ModuleNotFoundError: .*Keep functions and"):
        work.values(pooled(Elsewhere()), model, work.units(1))


def test_warnings_of_workers_are_shown_here(model):
    with pytest.warns(UserWarning, match="prompts are too long"):
        work.values(pooled(Crew()), model, work.units(1, work.warns))


def test_when_the_time_is_over_what_runs_is_kept_and_nothing_begins(model, tmp_path):
    now = iter([0.0] * 4 + [10.0] * 1000)
    engine = pooled(Crew(2), Store(tmp_path), budget=Budget(5.0, 0.0, lambda: next(now)))
    done = Work()
    with pytest.raises(BudgetSpent, match=r"at least \d+ units"):
        work.values(engine, model, work.units(50), done)
    assert 0 < done.computed < 10
    assert len(list((tmp_path / "cache").iterdir())) == done.computed


def test_the_time_that_is_missing_is_shared_by_the_workers(model):
    def slowly(model, batch_size):
        time.sleep(0.1)
        return {"value": np.zeros(1)}

    now = iter([0.0] * 4 + [10.0] * 1000)
    engine = pooled(Crew(2), budget=Budget(5.0, 0.0, lambda: next(now)))
    with pytest.raises(BudgetSpent) as spent:
        list(engine.run(model, [work.unit(n, slowly) for n in range(50)], title="test", work=Work()))
    each = spent.value.seconds / spent.value.units
    assert 0.05 <= each < 0.09  # two workers: half of what a unit takes


def test_what_cannot_be_sent_is_computed_here_and_nothing_twice(model, tmp_path):
    class Strict(Crew):
        def load(self, model, units):
            return Sent(pickle.dumps).load(model, units)

    work.values(Engine(Store(tmp_path)), model, work.units(2))
    asked = work.units(2) + [work.unit(n, lambda model, size, n=n: work.noise_norm(n, model, size)) for n in (2, 3)]
    done = Work()
    found = work.values(pooled(Strict(), Store(tmp_path)), model, asked, done)
    np.testing.assert_array_equal(found, work.values(Engine(), model, work.units(4)))
    assert (done.reused, done.computed) == (2, 2)
    assert len(done.incidents) == 1
    assert done.incidents[0].startswith("test: computed in this process, because its work cannot be sent to another (")


def test_what_is_brief_is_done_here(model):
    engine = Engine(start=lambda: pytest.fail("started"))
    assert len(work.values(engine, model, [work.unit(0, partial(work.noise_norm, 0), brief=True)])) == 1


def test_a_worker_keeps_the_latest_two_models():
    worker, fetched = Worker(1), []

    def fetch(name):
        fetched.append(name)
        return work.units(1) if name == 9 else population_model()

    for model in (1, 2, 1, 3, 1, 2):
        assert worker.compute(Task(model, 9, 0, 8), fetch).arrays is not None
    assert fetched == [1, 9, 2, 3, 2]
