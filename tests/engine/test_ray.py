"""A Ray cluster of two nodes on this machine: what one process gives, though a worker and the driver are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_diffprivacy.engine import Engine, RayExecutor, Work
from pytest_diffprivacy.evidence import Store
from tests.engine import work

ROOT = Path(__file__).parents[2]
DRIVER = """
import os, signal, sys
from pathlib import Path
from pytest_diffprivacy.engine import Engine, RayExecutor, Work
from pytest_diffprivacy.evidence import Store
from tests.engine import work

engine = Engine(Store(Path(sys.argv[2])), start=lambda: RayExecutor(sys.argv[1], 2))
for number, _ in enumerate(engine.run(work.model(), work.units(12), title="test", work=Work())):
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install pytest-diffprivacy[ray]")
    environment = pytest.MonkeyPatch()
    environment.setenv("RAY_worker_niceness", "0")  # no politer than the tests
    environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    environment.undo()


@pytest.mark.slow
def test_two_nodes_give_what_one_process_gives_though_a_worker_and_the_driver_are_killed(cluster, tmp_path):
    model, expected = work.model(), work.values(Engine(), work.model(), work.units(12))
    killed = subprocess.run(
        [sys.executable, "-c", DRIVER, cluster.address, str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = len(list((tmp_path / "cache").iterdir()))
    assert 5 <= finished < 12

    import ray

    ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
    crew, done, marker = RayExecutor(None, 2), Work(), tmp_path / "marker"
    asked = [*work.units(10), *work.units(12, work.dies_once, marker)[10:]]
    results = list(Engine(Store(tmp_path), start=lambda: crew).run(model, asked, title="test", work=done))
    np.testing.assert_allclose([arrays["value"] for arrays in results], expected, rtol=1e-6)
    assert marker.exists()
    assert [text.split(" in ")[0] for text in done.incidents] == ["A worker was lost"]
    assert (done.reused, done.computed) == (finished, 12 - finished)
    assert all(arrays["value"].flags.writeable for arrays in results)

    meeting = tmp_path / "meeting"
    meeting.mkdir()
    places = list(Engine(start=lambda: crew).run(model, work.units(4, work.meets, meeting), title="test", work=Work()))
    assert len({int(arrays["process"][0]) for arrays in places}) == 2  # both nodes work
