"""The pytest run that the audits of this process belong to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from pytest_diffprivacy.options.redo import Redo
from pytest_diffprivacy.options.settings import Settings

if TYPE_CHECKING:
    from pytest_diffprivacy.policy import Policy


@dataclass(frozen=True, slots=True)
class Session:
    """A pytest run as the audits in it see it.

    Attributes:
        settings: the resolved options.
        run_id: names the run's folder; the same in all workers.
        progress: where progress bars go, outside pytest's capture; None: nowhere.
        policy: the limits that bind every audit; None: there is no policy.
        redo: how it was called; None: not by a command line.
        declared: who audits and what for, by the fields of `declaration`; empty: nothing was declared.
        started: when it began, on the monotonic clock.
    """

    settings: Settings
    run_id: str
    progress: TextIO | None = None
    policy: Policy | None = None
    redo: Redo | None = None
    declared: Mapping[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)


_session: Session | None = None


def activate(session: Session | None) -> Session | None:
    """Make a session that of this process (the plugin does it once a run); None forgets it.

    Returns:
        The session before, which a run inside another run (pytester) puts back.
    """
    global _session
    before, _session = _session, session
    return before


def planning() -> bool:
    """Whether the pytest session of this process only plans its audits (--diffprivacy-plan)."""
    return _session is not None and bool(_session.settings["plan"])


def active() -> Session | None:
    """The pytest session of this process; None outside pytest."""
    return _session
