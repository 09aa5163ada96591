"""When the time is over nothing new begins, what is missing is counted, and the next run continues."""

import numpy as np
import pytest

from pytest_diffprivacy.engine import Engine, Unit, Work
from pytest_diffprivacy.engine.recorder import Budget, duration
from pytest_diffprivacy.errors import BudgetSpent, Inconclusive
from pytest_diffprivacy.evidence import Store
from tests.models.builders import population_model


class Clock:
    """Time that passes only while units are computed."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def unit(self, number, method="loss", seconds=10.0, **options):
        def compute(model, batch_size):
            self.now += seconds
            return {"value": np.array([number])}

        return Unit(f"unit {number}", {"method": method, "number": number}, compute, 4, **options)


@pytest.fixture(scope="module")
def model():
    return population_model()


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("pytest_diffprivacy.engine.workers.time.perf_counter", clock)
    return clock


def values(engine, model, units, done=None):
    return [int(a["value"][0]) for a in engine.run(model, units, title="loss: members", work=done or Work())]


def test_the_unit_that_runs_is_finished_and_none_begins_after_it(model, clock, tmp_path):
    done, engine = Work(), Engine(Store(tmp_path), budget=Budget(25.0, 0.0, clock))
    with pytest.raises(BudgetSpent) as caught:
        values(engine, model, [clock.unit(n) for n in range(7)], done)
    assert done.computed == 3
    assert (caught.value.units, caught.value.seconds) == (4, 40.0)
    assert str(caught.value) == (
        "The time budget of 25 s is spent and the claim is not decided: at least 4 units of work (loss: members) are "
        "missing, about 40 s. Run the same command again: it continues, nothing finished is lost."
    )
    assert isinstance(caught.value, Inconclusive)


def test_the_next_run_continues_where_the_time_ended(model, clock, tmp_path):
    units = [clock.unit(n) for n in range(5)]
    with pytest.raises(BudgetSpent):
        values(Engine(Store(tmp_path), budget=Budget(15.0, 0.0, clock)), model, units)
    done = Work()
    assert values(Engine(Store(tmp_path), budget=Budget(100.0, 20.0, clock)), model, units, done) == [*range(5)]
    assert (done.reused, done.computed) == (2, 3)


def test_what_is_stored_counts_even_when_the_time_is_over(model, clock, tmp_path):
    units = [clock.unit(n) for n in range(3)]
    values(Engine(Store(tmp_path)), model, units)
    assert values(Engine(Store(tmp_path), budget=Budget(0.0, 0.0, clock)), model, units) == [0, 1, 2]


def test_what_takes_seconds_and_no_model_is_done_all_the_same(model, clock):
    engine = Engine(budget=Budget(0.0, 0.0, clock))
    assert values(engine, model, [clock.unit(7, brief=True)]) == [7]
    with pytest.raises(BudgetSpent):
        values(engine, model, [clock.unit(7)])


def test_the_time_of_a_method_that_never_ran_is_not_guessed(model, clock):
    engine = Engine(budget=Budget(10.0, 0.0, clock))
    values(engine, model, [clock.unit(0, method="loss")])
    with pytest.raises(
        BudgetSpent, match=r"1 unit of work .* is missing, how long it takes is not known yet"
    ) as caught:
        values(engine, model, [clock.unit(0, method="secmi")])
    assert caught.value.seconds is None
    with pytest.raises(BudgetSpent, match="about 10 s"):
        values(engine, model, [clock.unit(1, method="loss")])


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (3599, "1 h"), (7500, "2 h 5 min"), (7200, "2 h")],
)
def test_a_time_is_said_as_a_person_says_it(seconds, said):
    assert duration(seconds) == said
