"""How are units run in this process? In order, each from the store if it is there, with batches that fit the memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TextIO, final

from pytest_diffprivacy.engine.batches import BatchSizes, is_out_of_memory, release_memory
from pytest_diffprivacy.engine.books import Books
from pytest_diffprivacy.engine.budget import Budget, Pace, check_budget
from pytest_diffprivacy.engine.units import Identified, Unit, Work
from pytest_diffprivacy.evidence import Arrays, RunFolder, Store


@final
class LocalEngine:
    """Runs units one after the other in this process.

    Args:
        store: where results are kept; None: nowhere.
        run: where events are written; None: nowhere.
        batch_size: images in one network call at most; lowered to what the memory takes, and said so.
        fresh: compute even what is stored.
        progress: where progress bars go; None: nowhere.
        budget: how long it may take; None: as long as it takes.
    """

    def __init__(
        self,
        store: Store | None = None,
        run: RunFolder | None = None,
        *,
        batch_size: int = 256,
        fresh: bool = False,
        progress: TextIO | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._books = Books(store, run, fresh=fresh, progress=progress)
        self._sizes, self._budget, self._pace = BatchSizes(batch_size), budget, Pace()

    def run(self, model: Identified, units: Sequence[Unit], *, title: str, work: Work) -> Iterator[Arrays]:
        """The results of the units, in their order, each stored as soon as it is finished.

        Raises:
            EvidenceError: a stored result is damaged, or the store cannot be written.
            AuditError: memory runs out at batch size 1.
            BudgetSpent: the time is over before a unit that is not stored.
        """
        with self._books.bar(title, sum(unit.items for unit in units)) as bar:
            for number, unit in enumerate(units):
                yield self._one(model, unit, units[number:], title, work)
                bar.update(unit.items)

    def _one(self, model: Identified, unit: Unit, missing: Sequence[Unit], title: str, work: Work) -> Arrays:
        started, key = time.perf_counter(), self._books.key(model, unit)
        arrays = self._books.stored(key)
        if arrays is None:
            check_budget(self._budget, title, missing, self._pace)
            with self._books.lock(key):
                arrays = self._books.stored(key)  # another run may have computed it while this one waited
                if arrays is None:
                    arrays = self._compute(model, unit, work)
                    self._books.keep(model, unit, key, arrays)
                    seconds = time.perf_counter() - started
                    self._pace.saw(unit, seconds)
                    self._books.computed(unit, key, seconds, work)
                    return arrays
        self._books.reused(unit, key, time.perf_counter() - started, work)
        return arrays

    def _compute(self, model: Identified, unit: Unit, work: Work) -> Arrays:
        lowered = self._sizes.fit(model)
        if lowered:
            self._books.incident("batch size lowered", lowered, unit, work)
        while True:
            try:
                return unit.compute(model, self._sizes.of(unit, model.identity.digest))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                halved = self._sizes.halve(unit, model.identity.digest, error)
            release_memory()  # outside of the handler, whose traceback holds the batch that did not fit
            self._books.incident("out of memory", halved, unit, work)
