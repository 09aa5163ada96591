"""How do several workers share the units? Each gets the next one when it is free; results are stored as they come."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO, final

from pytest_diffprivacy.engine.batches import BatchSizes
from pytest_diffprivacy.engine.books import Books
from pytest_diffprivacy.engine.budget import Budget, Pace, check_budget
from pytest_diffprivacy.engine.desk import Answer, CannotSend, Task, Workers
from pytest_diffprivacy.engine.local import LocalEngine
from pytest_diffprivacy.engine.units import Identified, Unit, Work
from pytest_diffprivacy.errors import AuditError, EvidenceError
from pytest_diffprivacy.evidence import Arrays, RunFolder, Store

AHEAD = 2
"""Units a worker that may be computed before their turn: enough to keep all busy, few enough to stop early."""
LOSSES = 3
"""Workers lost in one unit before it is given up."""


@final
class PooledEngine:
    """Runs units in workers; the same units, results and evidence as LocalEngine.

    Args:
        hire: makes the workers, when the first unit has to be computed.
        store: where results are kept; None: nowhere.
        run: where events are written; None: nowhere.
        batch_size: images in one network call at most; lowered to what the memory takes, and said so.
        fresh: compute even what is stored.
        progress: where progress bars go; None: nowhere.
        budget: how long it may take; None: as long as it takes.
    """

    def __init__(
        self,
        hire: Callable[[], Workers],
        store: Store | None = None,
        run: RunFolder | None = None,
        *,
        batch_size: int = 256,
        fresh: bool = False,
        progress: TextIO | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._hire, self._staff = hire, None
        self._books = Books(store, run, fresh=fresh, progress=progress)
        self._batch_size, self._budget, self._pace = batch_size, budget, Pace()
        self._here = LocalEngine(store, run, batch_size=batch_size, fresh=fresh, progress=progress, budget=budget)

    _staff: _Staff | None

    def run(self, model: Identified, units: Sequence[Unit], *, title: str, work: Work) -> Iterator[Arrays]:
        """The results of the units, in their order, each stored as soon as it is finished.

        What is brief, and what cannot be sent to another process, is computed in this one.

        Raises:
            EvidenceError: a stored result is damaged, or the store cannot be written.
            AuditError: memory runs out at batch size 1, or workers are lost in a unit again and again.
            BudgetSpent: the time is over before a unit that is not stored.
        """
        if all(unit.brief for unit in units):
            yield from self._here.run(model, units, title=title, work=work)
            return
        call = _Call(model, units, title, work, self._books, self._budget, self._pace, self._staffed)
        given = 0
        try:
            with self._books.bar(title, sum(unit.items for unit in units)) as bar:
                for given, unit in enumerate(units):
                    yield call.result(given)
                    bar.update(unit.items)
        except CannotSend as error:
            text = f"{title}: computed in this process, because its work cannot be sent to another ({error})."
            self._books.incident("not sent", text, units[given], work)
            yield from self._here.run(model, units[given:], title=title, work=work)
        finally:
            call.finish()

    def _staffed(self) -> _Staff:
        """The workers, made when they are needed first."""
        if self._staff is None:
            workers = self._hire()
            self._staff = _Staff(workers, BatchSizes(self._batch_size, workers.count))
        return self._staff


@dataclass(frozen=True, slots=True)
class _Staff:
    """Workers, and the batch sizes that they can take."""

    workers: Workers
    sizes: BatchSizes


@final
class _Call:
    """One call of `PooledEngine.run`: what is done, what runs where, and what comes next."""

    def __init__(
        self,
        model: Identified,
        units: Sequence[Unit],
        title: str,
        work: Work,
        books: Books,
        budget: Budget | None,
        pace: Pace,
        staffed: Callable[[], _Staff],
    ) -> None:
        self._model, self._units, self._title, self._ledger = model, units, title, work
        self._books, self._budget, self._pace, self._staffed = books, budget, pace, staffed
        self._keys = [books.key(model, unit) for unit in units]
        self._done: dict[int, Arrays | Exception] = {}
        self._running: dict[int, Task] = {}
        self._again: list[list[int]] = []
        self._rest: dict[int, list[int]] = {}
        self._next = 0
        self._losses: Counter[int] = Counter()
        self._names: tuple[int, int] | None = None

    def result(self, number: int) -> Arrays:
        """The result of a unit, once it is there."""
        while number not in self._done:
            self._send(number)
            if number not in self._done:
                self._collect()
        result = self._done.pop(number)
        if isinstance(result, Exception):
            raise result
        return result

    def finish(self) -> None:
        """Wait for what still runs and keep it: the workers' next task is of another call."""
        while self._running:
            try:
                self._collect()
            except EvidenceError:  # it could not be written, which was said when it happened first
                pass
            except AuditError:  # nobody answers any more, which was said as well
                return

    def _send(self, number: int) -> None:
        """Give idle workers the next units, not too far ahead of the one whose turn it is."""
        if number == self._next and self._take(number):
            return
        if not self._running:
            check_budget(self._budget, self._title, self._units[number:], self._pace)
        if self._budget is not None and self._budget.spent:
            return
        staff = self._staffed()
        if self._names is None:
            self._names = staff.workers.load(self._model, self._units)
            lowered = staff.sizes.fit(self._model)
            if lowered:
                self._books.incident("batch size lowered", lowered, self._units[number], self._ledger)
        for worker in staff.workers.idle():
            waiting = self._rest.pop(worker, None) or self._bundle(number + AHEAD * staff.workers.count)
            if not waiting:
                continue
            index, *self._rest[worker] = waiting
            size = staff.sizes.of(self._units[index], self._model.identity.digest)
            self._running[worker] = Task(*self._names, index, size)
            staff.workers.submit(worker, self._running[worker])

    def _bundle(self, end: int) -> list[int]:
        """The next unit before `end` that must be computed, and those that belong to it; none where all are."""
        if self._again:
            return self._again.pop(0)
        found: list[int] = []
        while self._next < len(self._units):
            bundle = self._units[self._next].bundle
            if (bundle is None or bundle != self._units[found[0]].bundle) if found else self._next >= end:
                break
            if not self._take(self._next):
                found.append(self._next)
                self._next += 1
        return found

    def _take(self, index: int) -> bool:
        """Take the next unit from the store, if it is there."""
        started = time.perf_counter()
        stored = self._books.stored(self._keys[index])
        if stored is None:
            return False
        self._books.reused(self._units[index], self._keys[index], time.perf_counter() - started, self._ledger)
        self._done[index] = stored
        self._next += 1
        return True

    def _collect(self) -> None:
        """Wait until a worker answers, is lost or becomes idle, and put its answer where it belongs."""
        for worker, answer in self._staffed().workers.answers():
            task, rest = self._running.pop(worker), self._rest.pop(worker, [])
            if answer is None:
                self._lost(task.index, rest)
            elif answer.out_of_memory:
                self._rest[worker] = self._halved(task, rest, answer)
            else:
                for warning in answer.warned:
                    warnings.warn(warning, stacklevel=2)
                self._rest[worker] = rest if self._kept(worker, task.index, answer) else []

    def _kept(self, worker: int, index: int, answer: Answer) -> bool:
        """Keep a result, or its error, which ends the call before what belongs to it has its turn."""
        unit, key = self._units[index], self._keys[index]
        if answer.arrays is None:
            assert answer.error is not None, "an answer holds a result or an error"
            self._done[index] = answer.error
            return False
        self._books.keep(self._model, unit, key, answer.arrays)
        self._done[index] = answer.arrays
        self._pace.saw(unit, answer.seconds / self._staffed().workers.count)  # the others compute meanwhile
        self._books.computed(unit, key, answer.seconds, self._ledger, worker)
        return True

    def _lost(self, index: int, rest: list[int]) -> None:
        self._losses[index] += 1
        unit = self._units[index]
        if self._losses[index] == LOSSES:
            self._done[index] = AuditError(
                f"{unit.label}: {LOSSES} workers were lost while they computed it. Look into their logs, or run it "
                "with --diffprivacy-engine local."
            )
            return
        self._again.append([index, *rest])
        self._books.incident("worker lost", f"A worker was lost in {unit.label}: computed again.", unit, self._ledger)

    def _halved(self, task: Task, rest: list[int], answer: Answer) -> list[int]:
        """The same once more with a smaller batch, which another worker's answer may have found already."""
        unit, digest, sizes = self._units[task.index], self._model.identity.digest, self._staffed().sizes
        assert answer.error is not None, "a lack of memory has its words"
        if task.batch_size <= sizes.of(unit, digest):
            try:
                halved = sizes.halve(unit, digest, answer.error)
            except AuditError as error:
                self._done[task.index] = error
                return []
            self._books.incident("out of memory", halved, unit, self._ledger)
        return [task.index, *rest]
