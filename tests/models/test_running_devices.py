"""Workers of pytest-xdist take the GPUs in turn, and sharing one is said."""

import warnings

import pytest

from pytest_diffprivacy.errors import SharedDevice
from pytest_diffprivacy.models.running import worker_device


def worker(number, count):
    return {"PYTEST_XDIST_WORKER": f"gw{number}", "PYTEST_XDIST_WORKER_COUNT": str(count)}


def test_each_worker_gets_a_gpu_of_its_own():
    assert [worker_device("cuda", worker(n, 4), 4) for n in range(4)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    assert worker_device("cuda", {}, 4) == "cuda"
    assert worker_device("cuda:2", {}, 4) == "cuda:2"
    assert worker_device("cpu", worker(1, 4), 0) == "cpu"


@pytest.mark.parametrize(
    ("device", "gpus", "said", "given"),
    [
        ("cuda", 2, "4 pytest-xdist workers share 2 GPUs", "cuda:1"),
        ("cuda", 1, "share one GPU", "cuda:0"),
        ("cuda:0", 8, "share one GPU", "cuda:0"),
    ],
)
def test_workers_that_share_a_gpu_are_warned(device, gpus, said, given):
    with pytest.warns(SharedDevice, match=said):
        assert worker_device(device, worker(3, 4), gpus) == given


def test_as_many_workers_as_gpus_are_no_reason_to_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert worker_device("cuda", worker(1, 2), 2) == "cuda:1"
