"""Recorder: the store, the events and the clock of an engine: what is there, what was computed, what time is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TextIO, final

from tqdm import tqdm

from pytest_diffprivacy.engine.units import Identified, Unit, Work
from pytest_diffprivacy.errors import BudgetSpent
from pytest_diffprivacy.evidence import Arrays, RunFolder, Store, fingerprint, library_versions
from pytest_diffprivacy.models.identity import UNKNOWN_DIGEST
from pytest_diffprivacy.visible import visible


@dataclass(frozen=True, slots=True)
class Budget:
    """The time of an audit.

    Attributes:
        seconds: how long it may take.
        started: when it began, on the clock.
        clock: seconds; monotonic.
    """

    seconds: float
    started: float = field(default_factory=time.monotonic)
    clock: Callable[[], float] = time.monotonic

    @property
    def spent(self) -> bool:
        """Whether the time is over."""
        return self.clock() - self.started >= self.seconds


@final
class Recorder:
    """What is already there, what was computed, and where it is written down.

    Args:
        store: where results are kept; None: nowhere.
        run: where events are written; None: nowhere.
        progress: where progress bars go; None: nowhere.
        budget: how long it may take; None: as long as it takes.
    """

    def __init__(
        self,
        store: Store | None = None,
        run: RunFolder | None = None,
        *,
        progress: TextIO | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._store, self._run, self._progress, self._budget = store, run, progress, budget
        self._seconds: dict[str, float] = {}
        self._items: dict[str, int] = {}

    def key(self, model: Identified, unit: Unit) -> str | None:
        """What the unit's result is stored under; None where it is not stored."""
        identity = model.identity
        if self._store is None or unit.depends is None or identity.digest == UNKNOWN_DIGEST:
            return None
        return fingerprint(
            {
                "unit": unit.depends,
                "model": {"digest": identity.digest, "dtype": identity.dtype, "device": identity.device}
                | ({"layout": identity.layout} if identity.layout else {}),
                "versions": library_versions(),
                "stored with its key": True,  # results of before it was are not found
            }
        )

    def lock(self, key: str | None) -> AbstractContextManager[None]:
        """Hold a key, so that two runs do not compute the same unit."""
        return self._store.lock(key) if self._store and key else nullcontext()

    def stored(self, key: str | None) -> Arrays | None:
        """The stored result."""
        return self._store.get(key) if self._store and key else None

    def keep(self, model: Identified, unit: Unit, key: str | None, arrays: Arrays) -> None:
        """Store a result."""
        if self._store and key:
            self._store.put(key, arrays, {"unit": unit.label, "model": model.identity.name})

    def computed(self, unit: Unit, key: str | None, seconds: float, work: Work, worker: int | None) -> None:
        """Write down that a unit was computed, and by which worker; None: by this process."""
        work.computed += 1
        work.seconds += seconds
        self._event("computed", unit, key, seconds, **({} if worker is None else {"worker": worker}))

    def reused(self, unit: Unit, key: str | None, seconds: float, work: Work) -> None:
        """Write down that a unit was there already."""
        work.reused += 1
        work.seconds += seconds
        self._event("reused", unit, key, seconds)

    def incident(self, kind: str, text: str, unit: Unit, work: Work) -> None:
        """Write down what went wrong and was mended; it is part of the claim's record."""
        work.incidents.append(text)
        self._event(kind, unit, None, 0.0)

    def _event(self, kind: str, unit: Unit, key: str | None, seconds: float, **more: int) -> None:
        """A line of events.jsonl."""
        if self._run is not None:
            self._run.event(kind, unit=unit.label, key=key, items=unit.items, seconds=round(seconds, 4), **more)

    def bar(self, title: str, total: int) -> tqdm[None]:
        """A progress bar over images, with the remaining time."""
        return tqdm(
            total=total,
            desc=visible(title),
            unit="img",
            file=self._progress,
            disable=self._progress is None,
            leave=False,
            mininterval=0.5 if self._progress is not None and self._progress.isatty() else 20.0,
        )

    def took(self, unit: Unit, seconds: float) -> None:
        """Count how long a unit took, for what units of its method will take."""
        self._seconds[unit.method] = self._seconds.get(unit.method, 0.0) + seconds
        self._items[unit.method] = self._items.get(unit.method, 0) + unit.items

    def time_is_over(self) -> bool:
        """Whether the audit's time is spent."""
        return self._budget is not None and self._budget.spent

    def spent(self, title: str, missing: Sequence[Unit]) -> BudgetSpent:
        """The error of the time that is over: how many units are missing and how long they would take."""
        assert self._budget is not None, "no time is over without a budget"
        seconds = self._estimate(missing)
        one = len(missing) == 1
        unknown = f"how long {'it takes' if one else 'they take'} is not known yet"
        rest = unknown if seconds is None else f"about {duration(seconds)}"
        work = f"{len(missing)} unit{'' if one else 's'} of work ({title}) {'is' if one else 'are'}"
        return BudgetSpent(
            f"The time budget of {duration(self._budget.seconds)} is spent and the claim is not decided: at least "
            f"{work} missing, {rest}. Run the same command again: it continues, nothing finished is lost.",
            units=len(missing),
            seconds=seconds,
        )

    def _estimate(self, units: Sequence[Unit]) -> float | None:
        """Seconds that these units will take; None where no unit of one of the methods was computed yet."""
        if not all(self._items.get(unit.method) for unit in units):
            return None
        return sum(unit.items * self._seconds[unit.method] / self._items[unit.method] for unit in units)


def duration(seconds: float) -> str:
    """A time as a person says it: "40 s", "12 min", "2 h 5 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h" + (f" {minutes} min" if minutes else "") if hours else f"{minutes} min"
