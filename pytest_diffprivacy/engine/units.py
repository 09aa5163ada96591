"""Unit of work: the smallest piece that is stored, skipped and repeated as a whole; and what computes units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pytest_diffprivacy.evidence import Arrays
from pytest_diffprivacy.models.identity import ModelIdentity


class Identified(Protocol):
    """A model that says who it is."""

    @property
    def identity(self) -> ModelIdentity:
        """Name and digest of the model."""
        ...


@dataclass(frozen=True, slots=True)
class Unit:
    """A pure function of a picklable description and a model handle.

    Attributes:
        label: what events and progress call it.
        depends: everything the result depends on besides model and library versions; None where that cannot be
            said (a user's callable): such a unit is computed every time.
        compute: (model, batch size) -> arrays; must not depend on the batch size beyond rounding.
        items: images in it, for progress.
        brief: whether it takes seconds and asks no model, so that it is done even when the audit's time is over.
        here: whether this process computes it, because it asks no model and holds what is dear to send.
        bundle: units in a row with the same bundle go to one worker, one after the other, because they share what is
            dear to make, such as a model that is trained first; None: it stands alone.
    """

    label: str
    depends: Mapping[str, Any] | None
    compute: Callable[[Any, int], Arrays]
    items: int
    brief: bool = False
    here: bool = False
    bundle: str | None = None

    @property
    def method(self) -> str:
        """What kind of work it is; units of one kind need the same memory and time an image."""
        if self.depends is None:
            return self.label.removeprefix(f"{self.bundle}, ").partition(",")[0]
        return str(self.depends.get("method"))


@dataclass(slots=True)
class Work:
    """What a claim's work cost, filled while its units run."""

    computed: int = 0
    reused: int = 0
    seconds: float = 0.0
    incidents: list[str] = field(default_factory=list)


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
        lost: whether the worker was lost with its task, and is replaced.
    """

    arrays: Arrays | None = None
    error: Exception | None = None
    out_of_memory: bool = False
    warned: tuple[Warning, ...] = ()
    seconds: float = 0.0
    lost: bool = False


class CannotSend(Exception):
    """A model or its units hold something that no other process can be given."""


class Executor(Protocol):
    """Computes units: it starts workers, hands each of them one at a time, and gives back its result or error."""

    @property
    def count(self) -> int:
        """How many workers there are."""
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

    def receive(self) -> tuple[int, Answer] | None:
        """Wait for a worker: its number and answer; None where it says nothing but that it has started."""
        ...
