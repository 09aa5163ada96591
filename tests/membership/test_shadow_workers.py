"""Shadow models trained by several processes: each once, by one of them, also where one is killed in the middle."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from pytest_diffprivacy.engine import Engine, ProcessExecutor, Work
from pytest_diffprivacy.engine.processes import Place
from pytest_diffprivacy.engine.units import Task
from pytest_diffprivacy.engine.workers import Worker
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import RunFolder, Store
from pytest_diffprivacy.membership.shadow_training import train_shadows
from pytest_diffprivacy.models import ideal_denoiser
from pytest_diffprivacy.probes import ImageSet
from tests.membership import shadow_work as work

MODELS = 6


@pytest.fixture(scope="module")
def crew():
    crew = ProcessExecutor([Place(1), Place(1)])
    yield crew
    crew.close()


@pytest.fixture(scope="module")
def expected():
    return shadows(lambda indices, seed: ideal_denoiser(work.IMAGES[indices]), work.measures())


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "trainings"
    folder.mkdir()
    return folder


def shadows(train, measures, **options):
    pool = ImageSet.of(work.IMAGES.numpy(), "shadow pool")
    return train_shadows(pool, train, measures, recipe="ideal", models=MODELS, seed=4, **options)


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.values, theirs.values)
        np.testing.assert_array_equal(ours.membership, theirs.membership)
        assert ours.models == theirs.models


@pytest.mark.slow
def test_each_shadow_is_trained_once_and_measured_by_who_trained_it(crew, folder, tmp_path, expected):
    run, done = RunFolder(tmp_path, "run"), Work()
    engine = Engine(Store(tmp_path), run, start=lambda: crew)
    found = shadows(partial(work.train, folder), work.measures(), engine=engine, work=done)
    assert_same(found, expected)
    counts, processes = work.trainings(folder)
    assert list(counts.values()) == [1] * MODELS
    assert processes == 2
    assert (done.computed, done.incidents) == (2 * MODELS, [])
    who = {event["unit"]: event["worker"] for event in run.events("computed")}
    assert set(who.values()) == {0, 1}
    for number in range(MODELS):
        assert len({worker for unit, worker in who.items() if unit.startswith(f"shadow {number},")}) == 1

    # A measure that is asked for later costs a training; what is stored costs none.
    (again,) = shadows(partial(work.train, folder), work.measures()[:1], engine=engine)
    assert_same([again], expected[:1])
    assert sum(work.trainings(folder)[0].values()) == MODELS


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_trains_costs_that_training_alone(crew, folder, tmp_path, expected):
    marker, done = tmp_path / "killed", Work()
    engine = Engine(Store(tmp_path), start=lambda: crew)
    train = partial(work.train_or_die, folder, marker)
    assert_same(shadows(train, work.measures(), engine=engine, work=done), expected)
    assert marker.exists()
    assert [text.split(" in ")[0] for text in done.incidents] == ["A worker was lost"]
    assert sorted(work.trainings(folder)[0].values()) == [1] * (MODELS - 1) + [2]
    resumed = Work()
    assert_same(shadows(train, work.measures(), engine=Engine(Store(tmp_path)), work=resumed), expected)
    assert (resumed.reused, resumed.computed) == (2 * MODELS, 0)


@pytest.mark.slow
def test_what_a_killed_process_had_measured_is_kept(crew, folder, tmp_path, expected):
    done, marker = Work(), tmp_path / "killed"
    engine = Engine(Store(tmp_path), start=lambda: crew)
    found = shadows(partial(work.train, folder), work.measures(marker), engine=engine, work=done)
    assert_same([found[0]], expected[:1])
    np.testing.assert_array_equal(found[1].values, expected[1].values)
    (incident,) = done.incidents
    assert incident.startswith("A worker was lost in shadow")
    assert "brightness" in incident
    assert sorted(work.trainings(folder)[0].values()) == [1] * (MODELS - 1) + [2]
    assert done.computed == 2 * MODELS


def test_a_module_that_trains_when_it_is_imported_is_told_so_by_the_worker_that_imports_it(folder):
    def imported(name):
        return shadows(partial(work.train, folder), work.measures())

    answer = Worker(1).compute(Task(1, 2, 0, 8), imported)
    assert isinstance(answer.error, UsageError)
    assert "put the call into a fixture" in str(answer.error)
    assert list(folder.iterdir()) == []
