"""Several processes of this machine: their places, their results, and one that is killed in the middle."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from pytest_diffprivacy.engine import Engine, ProcessExecutor, Work, processes
from pytest_diffprivacy.engine.processes import Place, places
from pytest_diffprivacy.evidence import Store
from tests.engine import work
from tests.models.builders import golden_model


@pytest.fixture(scope="module")
def crew():
    crew = ProcessExecutor([Place(1), Place(1)])
    yield crew
    crew.close()


@pytest.mark.slow
def test_two_processes_give_what_one_gives_though_one_of_them_is_killed(crew, tmp_path):
    model, done, marker = golden_model(), Work(), tmp_path / "killed"
    asked = [*work.units(4), *work.units(12, work.dies_once, marker)[4:]]
    results = list(Engine(Store(tmp_path), start=lambda: crew).run(model, asked, title="test", work=done))
    found = np.array([arrays["value"] for arrays in results])
    np.testing.assert_allclose(found, work.values(Engine(), model, work.units(12)), rtol=1e-6)
    assert marker.exists()
    assert [text.split(" in ")[0] for text in done.incidents] == ["A worker was lost"]
    assert done.computed == 12
    processes = {int(arrays["process"][0]) for arrays in results}
    assert 2 <= len(processes) <= 3
    again = Work()
    np.testing.assert_array_equal(work.values(Engine(Store(tmp_path)), model, asked, again), found)
    assert (again.reused, again.computed) == (12, 0)


def test_gpus_are_given_in_turn_and_threads_are_shared(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 9)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [place.visible for place in places(4, "cuda", {})] == ["0", "1", "2", "0"]
    assert [place.visible for place in places(2, "cuda", {"CUDA_VISIBLE_DEVICES": "5, GPU-8f"})] == ["5", "GPU-8f"]
    assert places(4, "cpu", {"CUDA_VISIBLE_DEVICES": "5"}) == [Place(2)] * 4
    assert places(20, "cpu") == [Place(1)] * 20


def test_each_process_sees_its_own_device_only(monkeypatch):
    class Silent:
        def recv(self):
            raise EOFError

    seen = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(processes.signal, "signal", lambda *arguments: None)
    monkeypatch.setattr(processes, "Worker", lambda threads: seen.append((threads, os.environ["CUDA_VISIBLE_DEVICES"])))
    processes._serve(Silent(), Place(3, "1"))
    assert seen == [(3, "1")]


@pytest.mark.slow
def test_models_that_are_asked_in_any_turn_come_to_a_worker_again_when_it_let_them_go(crew):
    audited, control, other = golden_model(), work.model(), work.model()
    engine = Engine(start=lambda: crew)
    for model in (audited, control, audited, other, audited, control):
        found = work.values(engine, model, work.units(1))
        np.testing.assert_allclose(found, work.values(Engine(), model, work.units(1)), rtol=1e-6)
