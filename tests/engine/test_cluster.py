"""What is asked of Ray: one actor a GPU or a share of the CPUs, a new one in a lost one's place; Ray has a stand-in."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pytest_diffprivacy.engine import Engine, RayExecutor, Work
from pytest_diffprivacy.engine import cluster as room
from pytest_diffprivacy.engine.cluster import cpu_share
from pytest_diffprivacy.errors import AuditError, UsageError
from tests.engine import work


class Lost(Exception):
    pass


class Broken(Lost):
    cause = ImportError("no module named audits")


class Standin:
    """As much of Ray as is used; calls are made when their answer is fetched, the latest first."""

    exceptions = SimpleNamespace(RayError=Lost, RayTaskError=Broken)
    cloudpickle = pickle

    def __init__(self, nodes, fails=()):
        self._nodes, self.fails = nodes, list(fails)
        self.needs, self.killed, self.made, self.options = {}, 0, 0, None

    def is_initialized(self):
        return False

    def init(self, **options):
        self.options = options

    def nodes(self):
        return [{"Alive": True, "Resources": node} for node in self._nodes] + [
            {"Alive": False, "Resources": {"CPU": 9}}
        ]

    def remote(self, kind):
        def options(**needs):
            self.needs = needs
            return SimpleNamespace(remote=lambda threads, paths: self._start(kind(threads, paths)))

        return SimpleNamespace(options=options)

    def _start(self, actor):
        self.made += 1

        def call(name):
            return SimpleNamespace(remote=lambda *given: Call(name, lambda: getattr(actor, name)(*given)))

        return SimpleNamespace(ready=call("ready"), compute=call("compute"))

    def put(self, value):
        return Call("put", lambda: value)

    def wait(self, references, *, num_returns, timeout):
        return ([], references) if timeout and "silence" in self.fails else (references[-1:], references[:-1])

    def get(self, reference):
        if f"no cluster at {reference.name}" in self.fails:
            raise ConnectionError("Client is shutting down")
        if reference.name in self.fails:
            self.fails.remove(reference.name)
            raise Lost(reference.name)
        if f"broken {reference.name}" in self.fails:
            raise Broken
        return reference.call()

    def kill(self, actor):
        self.killed += 1


class Call:
    def __init__(self, name, call):
        self.name, self.call = name, call


@pytest.fixture
def started(monkeypatch):
    def start(nodes, fails=(), **arguments):
        ray = Standin(nodes, fails)
        monkeypatch.setitem(sys.modules, "ray", ray)
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        return ray, RayExecutor(**arguments)

    return start


@pytest.mark.parametrize("fails", [[], ["compute"], ["ready", "compute", "ready", "compute"]])
def test_results_are_those_of_this_process_whatever_is_lost(started, fails):
    ray, crew = started([{"CPU": 1}, {"CPU": 1}], fails, count=2)
    done, model = Work(), work.model()
    found = work.values(Engine(start=lambda: crew), model, work.units(7), done)
    np.testing.assert_array_equal(found, work.values(Engine(), model, work.units(7)))
    assert done.computed == 7
    assert len(done.incidents) == fails.count("compute")
    assert (ray.killed, ray.made) == (len(fails), 2 + len(fails))


@pytest.mark.parametrize(
    ("nodes", "count", "needs", "workers"),
    [
        ([{"CPU": 8.0}, {"CPU": 8.0}], None, {"num_cpus": 4.0}, 4),
        ([{"CPU": 2.0}], None, {"num_cpus": 2.0}, 1),
        ([{"CPU": 2.0}], 2, {"num_cpus": 1.0}, 2),
        ([{"CPU": 16.0, "GPU": 4.0}], None, {"num_gpus": 1.0, "num_cpus": 1.0}, 4),
        ([{"CPU": 16.0, "GPU": 4.0}], 6, {"num_gpus": 0.5, "num_cpus": 1.0}, 6),
    ],
)
def test_one_worker_a_gpu_or_a_share_of_the_cpus(started, nodes, count, needs, workers):
    ray, crew = started(nodes, count=count)
    assert (ray.needs, crew.count, ray.made) == (needs, workers, workers)


def test_workers_look_for_modules_where_this_process_does_where_there_is_such_a_folder(started, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path), str(tmp_path / "not there"), ""])
    before = [*sys.path]
    _, crew = started([{"CPU": 1}])
    monkeypatch.setattr(sys, "path", ["their own"])  # the stand-in's actors share this process
    crew._start(0)
    assert sys.path == ["their own", *dict.fromkeys(path for path in before if path and Path(path).is_dir())]


def test_the_address_is_ray_s_own(started):
    ray, _ = started([{"CPU": 1}], address="ray://head:10001")
    assert ray.options["address"] == "ray://head:10001"


def test_workers_that_cannot_work_or_do_not_start_are_said(started):
    _, crew = started([{"CPU": 1}], ["broken compute"])
    with pytest.raises(AuditError, match="A Ray worker cannot answer: no module named audits"):
        work.values(Engine(start=lambda: crew), work.model(), work.units(1))
    _, crew = started([{"CPU": 1}], ["ready"] * 50)
    with pytest.raises(AuditError, match="Ray workers do not start: ready"):
        work.values(Engine(start=lambda: crew), work.model(), work.units(1))
    _, crew = started([{"CPU": 1}], ["silence"])
    with pytest.raises(AuditError, match="No Ray worker started within 600 s"):
        work.values(Engine(start=lambda: crew), work.model(), work.units(1))
    assert room.FAILURES < 50


@pytest.mark.parametrize("when", ["ready", "compute"])
def test_a_cluster_that_is_lost_while_it_works_is_said_with_the_cure(started, when):
    _, crew = started([{"CPU": 1}], [f"no cluster at {when}"])
    with pytest.raises(AuditError, match=r"cluster was lost while it worked \(Client is shutting down\).*run the same"):
        work.values(Engine(start=lambda: crew), work.model(), work.units(3))


def test_without_ray_the_engine_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        UsageError, match=r"must be local where ray is not installed.*Install pytest-diffprivacy\[ray\]"
    ):
        RayExecutor()


def test_a_cluster_that_cannot_be_reached_is_named(monkeypatch):
    ray = Standin([])

    def refused(**options):
        raise ConnectionError("refused")

    ray.init = refused
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with pytest.raises(
        UsageError,
        match=r"a Ray cluster that can be reached, got 'ray://head:1': refused\. Start it.*RAY_AUTH_MODE=token",
    ):
        RayExecutor("ray://head:1")
    with pytest.raises(UsageError, match=r"a Ray cluster that can be reached, got 'ray': refused"):
        RayExecutor()


@pytest.mark.parametrize(
    ("nodes", "count", "share"),
    [([1, 1], 2, 1), ([8, 8], 2, 8), ([8, 8], 4, 4), ([6, 2], 3, 2), ([2], 4, 0.5), ([16], 3, 5), ([], 1, 0.5)],
)
def test_every_worker_gets_as_many_cpus_as_the_nodes_can_give_all_of_them(nodes, count, share):
    assert cpu_share(nodes, count) == share
