"""What is already there, what was computed, and where is it written down? The same books for every engine."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TextIO, final

from tqdm import tqdm

from pytest_diffprivacy.engine.units import Identified, Unit, Work
from pytest_diffprivacy.evidence import Arrays, RunFolder, Store, fingerprint, library_versions
from pytest_diffprivacy.models.identity import UNKNOWN_DIGEST


@final
class Books:
    """The store, the run's events and the progress bar of an engine.

    Args:
        store: where results are kept; None: nowhere.
        run: where events are written; None: nowhere.
        fresh: compute even what is stored.
        progress: where progress bars go; None: nowhere.
    """

    def __init__(self, store: Store | None, run: RunFolder | None, *, fresh: bool, progress: TextIO | None) -> None:
        self._store, self._run, self._fresh, self._progress = store, run, fresh, progress

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
            }
        )

    def lock(self, key: str | None) -> AbstractContextManager[None]:
        """Hold a key, so that two runs do not compute the same unit."""
        return self._store.lock(key) if self._store and key else nullcontext()

    def stored(self, key: str | None) -> Arrays | None:
        """The stored result, unless everything is to be computed again."""
        return self._store.get(key) if self._store and key and not self._fresh else None

    def keep(self, model: Identified, unit: Unit, key: str | None, arrays: Arrays) -> None:
        """Store a result."""
        if self._store and key:
            self._store.put(key, arrays, {"unit": unit.label, "model": model.identity.name})

    def computed(self, unit: Unit, key: str | None, seconds: float, work: Work, worker: int | None = None) -> None:
        """Write down that a unit was computed, and by which worker; None: by this process."""
        work.computed += 1
        work.seconds += seconds
        self.event("computed", unit, key, seconds, **({} if worker is None else {"worker": worker}))

    def reused(self, unit: Unit, key: str | None, seconds: float, work: Work) -> None:
        """Write down that a unit was there already."""
        work.reused += 1
        work.seconds += seconds
        self.event("reused", unit, key, seconds)

    def incident(self, kind: str, text: str, unit: Unit, work: Work) -> None:
        """Write down what went wrong and was mended; it is part of the claim's record."""
        work.incidents.append(text)
        self.event(kind, unit, None, 0.0)

    def event(self, kind: str, unit: Unit, key: str | None, seconds: float, **more: int) -> None:
        """A line of events.jsonl."""
        if self._run is not None:
            self._run.event(kind, unit=unit.label, key=key, items=unit.items, seconds=round(seconds, 4), **more)

    def bar(self, title: str, total: int) -> tqdm[None]:
        """A progress bar over images, with the remaining time."""
        return tqdm(
            total=total,
            desc=title,
            unit="img",
            file=self._progress,
            disable=self._progress is None,
            leave=False,
            mininterval=0.5 if self._progress is not None and self._progress.isatty() else 20.0,
        )
