"""Engine: units in their order, each from the store if it is there, else from a worker, and stored as it comes."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO, final

from pytest_diffprivacy import options
from pytest_diffprivacy.engine.batches import BatchSizes
from pytest_diffprivacy.engine.cluster import RayExecutor
from pytest_diffprivacy.engine.processes import ProcessExecutor, places
from pytest_diffprivacy.engine.recorder import Budget, Recorder
from pytest_diffprivacy.engine.units import Answer, CannotSend, Executor, Identified, Task, Unit, Work
from pytest_diffprivacy.engine.workers import answered, at_work
from pytest_diffprivacy.errors import AuditError, EvidenceError, UsageError
from pytest_diffprivacy.evidence import Arrays, RunFolder, Store
from pytest_diffprivacy.evidence.store import session_store

AHEAD = 2
"""Units a worker that may be computed before their turn: enough to keep all busy, few enough to stop early."""
LOSSES = 3
"""Workers lost in one unit before it is given up."""


@final
class Engine:
    """Runs units of work: same units, same results, same evidence on every executor.

    Args:
        store: where results are kept; None: nowhere.
        run: where events are written; None: nowhere.
        start: makes the executor, when the first unit has to be computed; None: this process computes.
        batch_size: images in one network call at most; lowered to what the memory takes, and said so.
        progress: where progress bars go; None: nowhere.
        budget: how long it may take; None: as long as it takes.
    """

    def __init__(
        self,
        store: Store | None = None,
        run: RunFolder | None = None,
        *,
        start: Callable[[], Executor] | None = None,
        batch_size: int = 256,
        progress: TextIO | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._recorder = Recorder(store, run, progress=progress, budget=budget)
        self._start, self._batch_size = start, batch_size
        self._sizes = BatchSizes(batch_size)
        self._workers: _Started | None = None
        self._latest: _Call | None = None

    def run(self, model: Identified, units: Sequence[Unit], *, title: str, work: Work) -> Iterator[Arrays]:
        """The results of the units, in their order, each stored as soon as it is finished.

        What is brief or asks no model, and what cannot be sent to another process, is computed in this one.

        Args:
            model: what the units are computed with.
            units: what is to be computed.
            title: what progress and messages call it.
            work: counts what was computed and what was reused.

        Raises:
            EvidenceError: a stored result is damaged, or the store cannot be written.
            AuditError: memory runs out at batch size 1, workers are lost in a unit again and again, or the model's
                weights are not those of its digest.
            BudgetSpent: the time is over before a unit that is not stored.
        """
        call = _Call(self, model, units, title, work)
        try:
            with self._recorder.bar(title, sum(unit.items for unit in units)) as bar:
                for number, unit in enumerate(units):
                    while call.waits_for(number):
                        call.collect()
                    yield call.taken(number)
                    bar.update(unit.items)
        finally:
            call.finish()
            self._latest = None if self._latest is call else self._latest

    def _executor(self, call: _Call, units: Sequence[Unit]) -> _Started:
        """What computes these units; workers are started when they are needed first, and serve one call at a time."""
        if self._start is None or all(unit.brief or unit.here for unit in units):
            return self._this_process()
        if self._latest is not None:
            self._latest.finish()
        self._latest = call
        if self._workers is None:
            executor = self._start()
            self._workers = _Started(executor, BatchSizes(self._batch_size, executor.count))
        return self._workers

    def _this_process(self) -> _Started:
        return _Started(None, self._sizes)


@dataclass(frozen=True, slots=True)
class _Started:
    """An executor, None where this process computes, and the batch sizes that its workers can take."""

    executor: Executor | None
    sizes: BatchSizes


@final
class _Call:
    """One call of `Engine.run`: what is done, what runs where, and what comes next."""

    def __init__(self, engine: Engine, model: Identified, units: Sequence[Unit], title: str, work: Work) -> None:
        self._engine, self._recorder = engine, engine._recorder
        self._model, self._units, self._title, self._work = model, units, title, work
        self._keys: dict[int, str | None] = {}
        self._done: dict[int, Arrays | Exception] = {}
        self._running: dict[int, Task] = {}
        self._again: list[list[int]] = []
        self._rest: dict[int, list[int]] = {}
        self._next = 0
        self._losses: Counter[int] = Counter()
        self._names = 0, 0
        self._started: _Started | None = None
        self._held = ExitStack()

    def waits_for(self, number: int) -> bool:
        """Whether the result of a unit is still to come; idle workers are given the next units meanwhile."""
        if number not in self._done:
            self._send(number)
        return number not in self._done

    def taken(self, number: int) -> Arrays:
        """The result of a unit that is there; an error of its own is raised."""
        result = self._done.pop(number)
        if isinstance(result, Exception):
            raise result
        return result

    def finish(self) -> None:
        """Wait for what still runs and keep it: the workers' next task is of another call."""
        self._held.close()
        while self._running and self._started is not None and self._started.executor is not None:
            try:
                self.collect()
            except EvidenceError:  # it could not be written, nobody waits for this result
                pass
            except AuditError:  # nobody answers, or the weights were changed: what is left is not kept
                break
        self._started = None

    def _send(self, number: int) -> None:
        """Give idle workers the next units, not too far ahead of the one whose turn it is."""
        if number == self._next and self._reuse_next():
            return
        brief = self._units[number].brief
        if not brief and self._recorder.time_is_over():
            if self._running:
                return
            raise self._recorder.spent(self._title, self._units[number:])
        started = self._started or self._start(number)
        executor, sizes = started.executor, started.sizes
        end = number + (1 if brief or executor is None else AHEAD * executor.count)
        for worker in [0] if executor is None else executor.idle():
            waiting = self._rest.pop(worker, None) or self._bundle(end)
            if not waiting:
                continue
            index, *self._rest[worker] = waiting
            if executor is None and self._made_elsewhere(index):
                continue
            size = sizes.of(self._units[index], self._model.identity.digest)
            self._running[worker] = Task(*self._names, index, size)
            if executor is not None:
                executor.submit(worker, self._running[worker])

    def _start(self, number: int) -> _Started:
        """The executor of this call, which knows the model and its units from now on."""
        unit, started = self._units[number], self._engine._executor(self, self._units)
        try:
            if started.executor is not None:
                self._names = started.executor.load(self._model, self._units)
        except CannotSend as error:
            text = f"{self._title}: computed in this process, because its work cannot be sent to another ({error})."
            self._recorder.incident("not sent", text, unit, self._work)
            started = self._engine._this_process()
        lowered = started.sizes.fit(self._model)
        if lowered:
            self._recorder.incident("batch size lowered", lowered, unit, self._work)
        self._started = started
        return started

    def _bundle(self, end: int) -> list[int]:
        """The next unit before `end` that must be computed, and those that belong to it; none where all are."""
        if self._again:
            return self._again.pop(0)
        found: list[int] = []
        while self._next < len(self._units):
            bundle = self._units[self._next].bundle
            if (bundle is None or bundle != self._units[found[0]].bundle) if found else self._next >= end:
                break
            if not self._reuse_next():
                found.append(self._next)
                self._next += 1
        return found

    def _reuse_next(self) -> bool:
        """Take the next unit from the store, if it is there."""
        if not self._reuse(self._next):
            return False
        self._next += 1
        return True

    def _reuse(self, index: int) -> bool:
        started, unit = time.perf_counter(), self._units[index]
        self._model.identity.check()
        if index not in self._keys:
            self._keys[index] = self._recorder.key(self._model, unit)
        stored = self._recorder.stored(self._keys[index])
        if stored is None:
            return False
        self._recorder.reused(unit, self._keys[index], time.perf_counter() - started, self._work)
        self._done[index] = stored
        return True

    def _made_elsewhere(self, index: int) -> bool:
        """Hold a unit's key until it is computed; another run may have done so while this one waited for it."""
        self._held.enter_context(self._recorder.lock(self._keys[index]))
        if not self._reuse(index):
            return False
        self._held.close()
        return True

    def collect(self) -> None:
        """Compute here, or wait until a worker answers, is lost or has started; put the answer where it belongs."""
        assert self._started is not None, "nothing runs before the workers are started"
        executor = self._started.executor
        with self._held:
            if executor is None:
                due = self._running[0]
                worker, answer = 0, answered(self._units[due.index].compute, self._model, due.batch_size)
            elif (received := executor.receive()) is None:
                return
            else:
                worker, answer = received
            task, rest = self._running.pop(worker), self._rest.pop(worker, [])
            if answer.lost:
                self._lost(task.index, rest)
            elif answer.out_of_memory:
                self._rest[worker] = self._halved(self._started.sizes, task, rest, answer)
            else:
                for warning in answer.warned:
                    warnings.warn(warning, stacklevel=2)
                self._rest[worker] = rest if self._kept(executor, worker, task.index, answer) else []

    def _kept(self, executor: Executor | None, worker: int, index: int, answer: Answer) -> bool:
        """Keep a result, or its error, which ends the call before what belongs to it has its turn."""
        unit, key = self._units[index], self._keys[index]
        if answer.arrays is None:
            assert answer.error is not None, "an answer holds a result or an error"
            self._done[index] = answer.error
            return False
        self._model.identity.check()
        self._recorder.keep(self._model, unit, key, answer.arrays)
        self._done[index] = answer.arrays
        count = 1 if executor is None else executor.count
        self._recorder.took(unit, answer.seconds / count)  # the others compute meanwhile
        self._recorder.computed(unit, key, answer.seconds, self._work, None if executor is None else worker)
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
        self._recorder.incident("worker lost", f"A worker was lost in {unit.label}: computed again.", unit, self._work)

    def _halved(self, sizes: BatchSizes, task: Task, rest: list[int], answer: Answer) -> list[int]:
        """The same once more with a smaller batch, which another worker's answer may have found already."""
        unit, digest = self._units[task.index], self._model.identity.digest
        assert answer.error is not None, "a lack of memory has its words"
        if task.batch_size <= sizes.of(unit, digest):
            try:
                halved = sizes.halve(unit, digest, answer.error)
            except AuditError as error:
                self._done[task.index] = error
                return []
            self._recorder.incident("out of memory", halved, unit, self._work)
        return [task.index, *rest]


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
    return Engine() if session is None else session_engine(session)


def session_engine(session: options.Session) -> Engine:
    """The engine of a session, the same for all that it does; with the store of its folder, and its time."""
    global _latest
    if _latest is None or _latest[0] is not session:
        settings = session.settings
        run, seconds = RunFolder(Path(str(settings["cache-dir"])), session.run_id), settings["budget"]
        engine = Engine(
            session_store(session),
            run,
            start=_executor_asked_for(settings),
            batch_size=settings.whole("batch-size"),
            progress=session.progress,
            budget=Budget(seconds, session.started) if isinstance(seconds, float) else None,
        )
        _latest = session, engine
    return _latest[1]


def _executor_asked_for(settings: options.Settings) -> Callable[[], Executor] | None:
    """What makes the executor; None where this process does the work."""
    name, count = str(settings["engine"]), settings.size("workers")
    if name != "local":
        return partial(RayExecutor, None if name == "ray" else name, count)
    if count is None or count == 1:
        return None
    device = str(settings["device"]).partition(":")[0]
    return lambda: ProcessExecutor(places(count, device))
