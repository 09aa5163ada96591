"""The auditor of this pytest session, or one that keeps its records in memory."""

from __future__ import annotations

from pytest_diffprivacy import options
from pytest_diffprivacy.audit.auditor import Auditor

_current: Auditor | None = None


def current_auditor() -> Auditor:
    """The auditor of this pytest session; outside pytest one that keeps its records in memory."""
    global _current
    session = options.active()
    run_id = session.run_id if session else None
    if _current is None or (_current.run.run_id if _current.run else None) != run_id:
        _current = Auditor.from_session(session) if session else Auditor()
    return _current
