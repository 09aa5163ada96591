"""Which engine do the options of a pytest session ask for?"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pytest_diffprivacy import options
from pytest_diffprivacy.engine.budget import Budget
from pytest_diffprivacy.engine.cluster import RayWorkers
from pytest_diffprivacy.engine.desk import Workers, at_work
from pytest_diffprivacy.engine.local import LocalEngine
from pytest_diffprivacy.engine.pool import PooledEngine
from pytest_diffprivacy.engine.processes import ProcessWorkers, places
from pytest_diffprivacy.engine.units import Engine
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import RunFolder, Store

_latest: tuple[options.Session, Engine] | None = None


def current_engine() -> Engine:
    """The engine of this pytest session; outside pytest this process, which stores nothing.

    Raises:
        UsageError: asked for while a worker computes a unit: a module that it imports begins the whole work anew.
    """
    if at_work():
        raise UsageError(
            "`engine` must be left out in fixtures and tests only, got a call from within a worker. A module that "
            "trains shadow models when it is imported would train them in every worker: put the call into a fixture."
        )
    session = options.active()
    return LocalEngine() if session is None else session_engine(session)


def session_engine(session: options.Session) -> Engine:
    """The engine of a session, the same for all that it does; with the store of its folder, and its time."""
    global _latest
    if _latest is None or _latest[0] is not session:
        _latest = session, _made(session)
    return _latest[1]


def _made(session: options.Session) -> Engine:
    settings = session.settings
    run = RunFolder(Path(str(settings["cache-dir"])), session.run_id)
    hire, seconds = _hire(settings), settings["budget"]
    make = LocalEngine if hire is None else partial(PooledEngine, hire)
    # A worker of xdist that is late to its first unit must not remove what another one has made in this run.
    since = time.time() - (time.monotonic() - session.started)
    return make(
        Store(run.root, settings.size("cache-limit"), since=since),
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
