"""Which engine do the options of a pytest session ask for?"""

from __future__ import annotations

from pytest_diffprivacy import options
from pytest_diffprivacy.engine.budget import Budget
from pytest_diffprivacy.engine.local import LocalEngine
from pytest_diffprivacy.engine.units import Engine
from pytest_diffprivacy.evidence import RunFolder, Store


def session_engine(session: options.Session, run: RunFolder) -> Engine:
    """The engine of a session, with the store of the run's folder; its time began with the session."""
    settings = session.settings
    seconds = settings["budget"]
    return LocalEngine(
        Store(run.root, settings.size("cache-limit")),
        run,
        batch_size=settings.whole("batch-size"),
        fresh=bool(settings["fresh"]),
        progress=session.progress,
        budget=Budget(seconds, session.started) if isinstance(seconds, float) else None,
    )
