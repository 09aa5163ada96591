"""Workers: what computes a unit in this process, in another one of this machine, or in an actor of a cluster."""

from __future__ import annotations

import pickle
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, final

import torch

from pytest_diffprivacy.engine.batches import is_out_of_memory, release_memory
from pytest_diffprivacy.engine.units import Answer, CannotSend, Identified, Task, Unit
from pytest_diffprivacy.errors import AuditError, DiffPrivacyError
from pytest_diffprivacy.evidence import Arrays

MODELS_KEPT = 2
"""The audited one and a control, which are asked in turn; older ones make room."""

_at_work = False


def at_work() -> bool:
    """Whether this process computes a unit for another one just now."""
    return _at_work


@contextmanager
def _working() -> Iterator[None]:
    global _at_work
    before, _at_work = _at_work, True
    try:
        yield
    finally:
        _at_work = before


def _answer(compute: Callable[[], Arrays]) -> Answer:
    started = time.perf_counter()
    try:
        arrays, error, lack = compute(), None, False
    except Exception as raised:
        lack = is_out_of_memory(raised)
        arrays, error = None, AuditError(str(raised)) if lack else raised
    if lack:
        release_memory()  # outside of the handler, whose traceback holds the batch that did not fit
    return Answer(arrays, error, lack, seconds=time.perf_counter() - started)


@final
class LocalExecutor:
    """This process; satisfies Executor."""

    count: Final = 1
    alone: Final = True

    def __init__(self) -> None:
        self._loaded: tuple[Identified, Sequence[Unit]] | None = None
        self._task: Task | None = None

    def load(self, model: Identified, units: Sequence[Unit]) -> tuple[int, int]:
        """Names of the model and its units, which stay where they are."""
        self._loaded = model, units
        return 0, 0

    def idle(self) -> list[int]:
        """The one worker, unless it has a task."""
        return [0] if self._task is None else []

    def submit(self, worker: int, task: Task) -> None:
        """Take a task, which is computed when its answer is asked for."""
        self._task = task

    def receive(self) -> tuple[int, Answer]:
        """Compute the task that was taken."""
        task, self._task = self._task, None
        assert task is not None, "an answer is asked for where there is a task"
        assert self._loaded is not None, "a task belongs to a model and its units"
        model, units = self._loaded
        return 0, _answer(lambda: units[task.index].compute(model, task.batch_size))


@final
class Worker:
    """What computes in a process of its own: it holds the latest models and never raises.

    Args:
        threads: of the CPU that it may use.
    """

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self._models: OrderedDict[int, Any] = OrderedDict()
        self._units: tuple[int, Sequence[Unit]] | None = None

    def compute(
        self, task: Task, fetch_model: Callable[[], Identified], fetch_units: Callable[[], Sequence[Unit]]
    ) -> Answer:
        """The answer to a task; a model or units that this worker does not hold are fetched."""
        with warnings.catch_warnings(record=True) as caught, _working():
            warnings.simplefilter("default")
            answer = _answer(lambda: self._computed(task, fetch_model, fetch_units))
        error = None if answer.error is None else sendable(answer.error)
        return replace(answer, error=error, warned=tuple(w.message for w in caught if isinstance(w.message, Warning)))

    def _computed(
        self, task: Task, fetch_model: Callable[[], Identified], fetch_units: Callable[[], Sequence[Unit]]
    ) -> Arrays:
        if task.model not in self._models:
            while len(self._models) >= MODELS_KEPT:
                self._models.popitem(last=False)
            self._models[task.model] = _read(fetch_model)
        self._models.move_to_end(task.model)
        if self._units is None or self._units[0] != task.units:
            self._units = (task.units, _read(fetch_units))
        return self._units[1][task.index].compute(self._models[task.model], task.batch_size)


def _read(fetch: Callable[[], Any]) -> Any:
    """What was sent, whose modules are imported here.

    Raises:
        AuditError: one of them cannot be.
    """
    try:
        return fetch()
    except DiffPrivacyError:
        raise
    except Exception as error:
        raise AuditError(
            f"A worker cannot read what it is sent: {type(error).__name__}: {error}. Keep functions and models of your "
            "own in modules that the workers can import, on every node of a cluster, or run with "
            "--diffprivacy-engine local --diffprivacy-workers 1."
        ) from error


def sendable(error: Exception) -> Exception:
    """The error, or its words where it cannot be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return AuditError(f"The model did not answer: {type(error).__name__}: {error}")
    return error


@final
class Sent:
    """Names for what workers are sent, so that nothing is sent twice; the latest models stay named.

    Args:
        pack: makes what is sent of a model or a list of units.
    """

    def __init__(self, pack: Callable[[object], Any]) -> None:
        self._pack = pack
        self._models: OrderedDict[int, tuple[Identified, Any]] = OrderedDict()
        self._units: tuple[int, Any] = (0, None)
        self._latest = 0

    def load(self, model: Identified, units: Sequence[Unit]) -> tuple[int, int]:
        """Names of a model and its units, packed.

        Raises:
            CannotSend: it holds something that no other process can be given.
        """
        try:
            name = next((n for n, (known, _) in self._models.items() if known is model), 0)
            if not name:
                name = self._next()
                self._models[name] = (model, self._pack(model))
            self._models.move_to_end(name)
            while len(self._models) > MODELS_KEPT:
                self._models.popitem(last=False)
            self._units = (self._next(), self._pack(list(units)))
        except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
            raise CannotSend(str(error)) from error
        return name, self._units[0]

    def model(self, name: int) -> Any:
        """A packed model."""
        return self._models[name][1]

    def units(self, name: int) -> Any:
        """The packed units."""
        assert self._units[0] == name, "units of a run that is over are not asked for"
        return self._units[1]

    def _next(self) -> int:
        self._latest += 1
        return self._latest
