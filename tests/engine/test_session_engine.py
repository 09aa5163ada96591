"""The engine of a session: what its options ask for."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import numpy as np

from pytest_diffprivacy import options
from pytest_diffprivacy.engine import Unit, Work
from pytest_diffprivacy.engine.engine import session_engine
from pytest_diffprivacy.evidence import Arrays, Store
from tests.models.builders import population_model


def zeros(count: int, model: object, batch_size: int) -> Arrays:
    """A result of some bytes."""
    return {"value": np.zeros(count)}


def test_a_limit_spares_what_another_worker_of_the_run_made_before_this_one_began(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for key, age in (("before the run", 200.0), ("by another worker", 50.0)):
        store.put(key, zeros(10, None, 1), {})
        os.utime(store.path(key), (time.time() - age,) * 2)
    flags = {"cache-dir": str(tmp_path), "cache-limit": "0.001KB"}
    session = options.Session(options.resolve(flags, {}, {}), "run", started=time.monotonic() - 100.0)
    unit = Unit("unit", {"number": 1}, partial(zeros, 10), 1)
    list(session_engine(session).run(population_model(), [unit], title="test", work=Work()))
    assert not store.path("before the run").exists()
    assert store.path("by another worker").exists()
    assert len(list((tmp_path / "cache").iterdir())) == 2
