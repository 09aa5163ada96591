"""Which engine do the options of a pytest session ask for?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pytest_diffprivacy import options
from pytest_diffprivacy.engine.budget import Budget
from pytest_diffprivacy.engine.cluster import RayWorkers
from pytest_diffprivacy.engine.desk import Workers
from pytest_diffprivacy.engine.local import LocalEngine
from pytest_diffprivacy.engine.pool import PooledEngine
from pytest_diffprivacy.engine.processes import ProcessWorkers, places
from pytest_diffprivacy.engine.units import Engine
from pytest_diffprivacy.evidence import RunFolder, Store


def session_engine(session: options.Session, run: RunFolder) -> Engine:
    """The engine of a session, with the store of the run's folder; its time began with the session."""
    settings = session.settings
    hire, seconds = _hire(settings), settings["budget"]
    make = LocalEngine if hire is None else partial(PooledEngine, hire)
    return make(
        Store(run.root, settings.size("cache-limit")),
        run,
        batch_size=settings.whole("batch-size"),
        fresh=bool(settings["fresh"]),
        progress=session.progress,
        budget=Budget(seconds, session.started) if isinstance(seconds, float) else None,
    )


def _hire(settings: options.Settings) -> Callable[[], Workers] | None:
    """What makes the workers; None where this process does the work."""
    name, count = str(settings["engine"]), settings.size("workers")
    if name != "local":
        return partial(RayWorkers, None if name == "ray" else name, count)
    if count is None or count == 1:
        return None
    device = str(settings["device"]).partition(":")[0]
    return lambda: ProcessWorkers(places(count, device))
