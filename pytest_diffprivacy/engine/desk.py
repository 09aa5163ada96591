"""What does a worker do with a unit? It has the latest models on its desk, computes, and answers; it never raises."""

from __future__ import annotations

import pickle
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch

from pytest_diffprivacy.engine.batches import is_out_of_memory, release_memory
from pytest_diffprivacy.engine.units import Identified, Unit
from pytest_diffprivacy.errors import AuditError, DiffPrivacyError
from pytest_diffprivacy.evidence import Arrays

MODELS_KEPT = 2
"""The audited one and a control, which are asked in turn; what lies longer on the desk makes room."""


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


class CannotSend(Exception):
    """A model or its units hold something that no other process can be given."""


@dataclass(frozen=True, slots=True)
class Task:
    """One unit to be computed.

    Attributes:
        model: names the model.
        units: names the list that the unit is in.
        index: its place in the list.
        batch_size: images in one network call.
    """

    model: int
    units: int
    index: int
    batch_size: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a task.

    Attributes:
        arrays: the unit's result; None where there is none.
        error: what went wrong; None where nothing did.
        out_of_memory: whether it was a lack of memory, for which the unit may be tried again.
        warned: warnings, which only the asking process can show.
        seconds: how long it took.
    """

    arrays: Arrays | None = None
    error: Exception | None = None
    out_of_memory: bool = False
    warned: tuple[Warning, ...] = ()
    seconds: float = 0.0


class Workers(Protocol):
    """Processes that each hold the model; one task each at a time."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def load(self, model: Identified, units: Sequence[Unit]) -> tuple[int, int]:
        """Names under which the workers know a model and its units; what is sent is sent once.

        Raises:
            CannotSend: it holds something that no other process can be given.
        """
        ...

    def idle(self) -> list[int]:
        """Workers that wait for a task."""
        ...

    def submit(self, worker: int, task: Task) -> None:
        """Give an idle worker a task."""
        ...

    def answers(self) -> list[tuple[int, Answer | None]]:
        """Wait until some worker answers or becomes idle; None for a worker that was lost, and is replaced."""
        ...


@final
class Desk:
    """The table of one worker.

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
        """Compute a unit; what is not on the desk is fetched."""
        started = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught, _working():
            warnings.simplefilter("default")
            try:
                model, unit = self._model(task, fetch_model), self._unit(task, fetch_units)
                arrays, error, lack = unit.compute(model, task.batch_size), None, False
            except Exception as raised:
                lack = is_out_of_memory(raised)
                arrays, error = None, AuditError(str(raised)) if lack else sendable(raised)
        if lack:
            release_memory()
        warned = tuple(w.message for w in caught if isinstance(w.message, Warning))
        return Answer(arrays, error, lack, warned, time.perf_counter() - started)

    def _model(self, task: Task, fetch: Callable[[], Identified]) -> Identified:
        if task.model not in self._models:
            while len(self._models) >= MODELS_KEPT:
                self._models.popitem(last=False)
            self._models[task.model] = _read(fetch)
        self._models.move_to_end(task.model)
        model: Identified = self._models[task.model]
        return model

    def _unit(self, task: Task, fetch: Callable[[], Sequence[Unit]]) -> Unit:
        if self._units is None or self._units[0] != task.units:
            self._units = (task.units, _read(fetch))
        return self._units[1][task.index]


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
    """Names for what workers are sent, so that nothing is sent twice; the latest models stay named."""

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
