"""A Ray cluster elsewhere, by ray://host:port: what one process gives, and what is said when it is gone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_diffprivacy.engine import Engine
from tests.engine import work

ROOT = Path(__file__).parents[2]
CLUSTER = """
import sys
from ray.cluster_utils import Cluster

ports = {"ray_client_server_port": int(sys.argv[1]), "runtime_env_agent_port": int(sys.argv[2])}
sizes = {"num_cpus": 2, "object_store_memory": 80 * 2**20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=sizes | ports)
print("up", flush=True)
sys.stdin.read()
cluster.shutdown()
"""
DRIVER = """
import sys, time
from pathlib import Path
from pytest_diffprivacy.engine import Engine, RayExecutor, Work
from pytest_diffprivacy.errors import AuditError
from pytest_diffprivacy.evidence import Store
from tests.engine import work

address, store, lost = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
engine = Engine(Store(store), start=lambda: RayExecutor(address, 2))
results = engine.run(work.model(), work.units(6), title="test", work=Work())
print([float(arrays["value"].sum()) for arrays in results], flush=True)
while not lost.exists():
    time.sleep(0.05)
try:
    list(engine.run(work.model(), work.units(9), title="test", work=Work()))
except AuditError as error:
    print(error)
"""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a cluster that asks for a token, as Ray's own do, and the process that ends it with its input."""
    if find_spec("ray") is None or find_spec("grpc") is None:
        pytest.skip("ray's client is not installed: pip install pytest-diffprivacy[ray]")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of-this-test-and-of-no-other-one-0123456789")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # no politer than the tests
    monkeypatch.setenv("GRPC_ENABLE_FORK_SUPPORT", "0")  # else what Ray forks may end before it begins
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # before any `tests` that a package left beside its own modules
    client, agent = free_ports(2)
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER, str(client), str(agent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        yield f"ray://127.0.0.1:{client}", running
        running.communicate()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


@pytest.mark.slow
def test_a_cluster_elsewhere_gives_what_one_process_gives_and_its_loss_is_said(
    cluster: tuple[str, subprocess.Popen[str]], tmp_path: Path
) -> None:
    address, running = cluster
    lost = tmp_path / "lost"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, address, str(tmp_path / "store"), str(lost)],
        cwd=ROOT,
        # How long Ray's client waits for a cluster that is gone, in seconds: 30 by default.
        env=os.environ | {"OMP_NUM_THREADS": "1", "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout is not None
    first = driver.stdout.readline()
    expected = work.values(Engine(), work.model(), work.units(6)).sum(1)
    assert first, driver.communicate()[1]
    assert [float(value) for value in first.strip("[]\n").split(",")] == pytest.approx(expected.tolist(), rel=1e-6)
    running.communicate()  # the cluster ends while the driver holds it
    lost.touch()
    said, problem = driver.communicate(timeout=300)
    assert driver.returncode == 0, problem
    assert "The Ray cluster was lost while it worked" in said
    assert "What is finished is stored" in said
    assert len(list((tmp_path / "store" / "cache").iterdir())) == 6
