"""Who can reach the cluster that an audit begins for itself? Nobody but this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

import pytest

pytestmark = pytest.mark.slow

LISTENING = """
import json
import psutil
from pytest_diffprivacy.engine.cluster import _ray_connected_to

ray = _ray_connected_to(None)
mine = psutil.Process()
found = set()
for process in (mine, *mine.children(recursive=True)):
    found |= {used.laddr.ip for used in process.net_connections("inet") if used.status == "LISTEN"}
print(json.dumps(sorted(found)))
ray.shutdown()
"""


def test_a_cluster_of_this_machine_listens_on_loopback_only() -> None:
    pytest.importorskip("ray")
    pytest.importorskip("psutil")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is too long for the names of Ray's sockets
        done = subprocess.run(
            [sys.executable, "-c", LISTENING],
            env=kept | {"RAY_TMPDIR": folder},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    addresses = json.loads(done.stdout.splitlines()[-1])
    assert addresses
    assert {address.removeprefix("::ffff:") for address in addresses} <= {"127.0.0.1", "::1"}
