"""Workers: what computes a unit in another process of this machine, or in an actor of a cluster."""

from __future__ import annotations

import pickle
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, final

import torch

from pytest_diffprivacy.engine.batches import is_out_of_memory, release_memory
from pytest_diffprivacy.engine.units import Answer, CannotSend, Identified, Task, Unit
from pytest_diffprivacy.errors import AuditError, DiffPrivacyError
from pytest_diffprivacy.evidence import Arrays

MODELS_KEPT = 2
"""The audited one and a control, which are evaluated in turn; older ones make room."""

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


def answered(compute: Callable[..., Arrays], *arguments: Any) -> Answer:
    """The result of a computation, or its error."""
    started = time.perf_counter()
    try:
        arrays, error, lack = compute(*arguments), None, False
    except Exception as raised:
        lack = is_out_of_memory(raised)
        arrays, error = None, AuditError(str(raised)) if lack else raised
    if lack:
        release_memory()  # outside of the handler, whose traceback holds the batch that did not fit
    return Answer(arrays, error, lack, seconds=time.perf_counter() - started)


@final
class Worker:
    """What computes in a process of its own: it holds the latest models and never raises.

    Args:
        threads: of the CPU that it may use.
    """

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self._models: dict[int, Any] = {}
        self._units: dict[int, Sequence[Unit]] = {}

    def compute(self, task: Task, fetch: Callable[[int], Any]) -> Answer:
        """The answer to a task; a model or units that this worker does not hold are fetched by their names."""
        with warnings.catch_warnings(record=True) as caught, _working():
            warnings.simplefilter("default")
            answer = answered(self._computed, task, fetch)
        error = None if answer.error is None else sendable(answer.error)
        return replace(answer, error=error, warned=tuple(w.message for w in caught if isinstance(w.message, Warning)))

    def _computed(self, task: Task, fetch: Callable[[int], Any]) -> Arrays:
        model = _latest(self._models, task.model, MODELS_KEPT, lambda: _read(fetch, task.model))
        units: Sequence[Unit] = _latest(self._units, task.units, 1, lambda: _read(fetch, task.units))
        return units[task.index].compute(model, task.batch_size)


def _latest(kept: dict[int, Any], name: int, size: int, make: Callable[[], Any]) -> Any:
    """What is kept under a name, which is the latest now; where it must be made, the oldest makes room before."""
    while name not in kept and len(kept) >= size:
        del kept[next(iter(kept))]
    kept[name] = kept.pop(name) if name in kept else make()
    return kept[name]


def _read(fetch: Callable[[int], Any], name: int) -> Any:
    """What was sent, whose modules are imported here; an AuditError where one of them cannot be."""
    try:
        return fetch(name)
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
        self._models: dict[int, tuple[Identified, Any]] = {}
        self._units: tuple[int, Any] = (0, None)
        self._count = 0

    def load(self, model: Identified, units: Sequence[Unit]) -> tuple[int, int]:
        """Names of a model and its units, packed.

        Raises:
            CannotSend: it holds something that no other process can be given.
        """
        known = next((name for name, (other, _) in self._models.items() if other is model), None)
        name = self._next() if known is None else known
        try:
            _latest(self._models, name, MODELS_KEPT, lambda: (model, self._pack(model)))
            self._units = (self._next(), self._pack(list(units)))
        except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
            raise CannotSend(str(error)) from error
        return name, self._units[0]

    def packed(self, name: int) -> Any:
        """A model or the units, packed."""
        if name in self._models:
            return self._models[name][1]
        assert self._units[0] == name, "units of a run that is over are not asked for"
        return self._units[1]

    def _next(self) -> int:
        self._count += 1
        return self._count
