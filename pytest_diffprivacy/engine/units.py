"""What is the smallest piece of work that is stored, skipped and repeated as a whole?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
        bundle: units in a row with the same bundle go to one worker, one after the other, because they share what is
            dear to make, such as a model that is trained first; None: it stands alone.
    """

    label: str
    depends: Mapping[str, Any] | None
    compute: Callable[[Any, int], Arrays]
    items: int
    brief: bool = False
    bundle: str | None = None

    @property
    def method(self) -> str:
        """What kind of work it is; units of one kind need the same memory and time an image."""
        named = self.label.partition(",")[0] if self.depends is None else self.depends.get("method")
        return str(named)


@dataclass(slots=True)
class Work:
    """What a claim's work cost, filled while its units run."""

    computed: int = 0
    reused: int = 0
    seconds: float = 0.0
    incidents: list[str] = field(default_factory=list)


class Engine(Protocol):
    """Where units run. Same units, same results, same evidence."""

    def run(self, model: Identified, units: Sequence[Unit], *, title: str, work: Work) -> Iterator[Arrays]:
        """The results of the units, in their order, each stored as soon as it is finished."""
        ...
