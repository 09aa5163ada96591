"""How much time may an audit still take, and what is missing when it is over?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import final

from pytest_diffprivacy.engine.units import Unit
from pytest_diffprivacy.errors import BudgetSpent


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
class Pace:
    """How long units of each method took so far: seconds for each of their images."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._items: dict[str, int] = {}

    def saw(self, unit: Unit, seconds: float) -> None:
        """Count a unit that was computed."""
        self._seconds[unit.method] = self._seconds.get(unit.method, 0.0) + seconds
        self._items[unit.method] = self._items.get(unit.method, 0) + unit.items

    def estimate(self, units: Sequence[Unit]) -> float | None:
        """Seconds that these units will take; None where no unit of one of the methods was computed yet."""
        if not all(self._items.get(unit.method) for unit in units):
            return None
        return sum(unit.items * self._seconds[unit.method] / self._items[unit.method] for unit in units)


def check_budget(budget: Budget | None, title: str, missing: Sequence[Unit], pace: Pace) -> None:
    """Whether the first of the missing units may still be computed.

    Raises:
        BudgetSpent: the time is over; says how many units are missing and how long they would take.
    """
    if budget is None or missing[0].brief or not budget.spent:
        return
    seconds = pace.estimate(missing)
    one = len(missing) == 1
    unknown = f"how long {'it takes' if one else 'they take'} is not known yet"
    rest = unknown if seconds is None else f"about {duration(seconds)}"
    work = f"{len(missing)} unit{'' if one else 's'} of work ({title}) {'is' if one else 'are'}"
    raise BudgetSpent(
        f"The time budget of {duration(budget.seconds)} is spent and the claim is not decided: at least {work} "
        f"missing, {rest}. Run the same command again: it continues, nothing finished is lost.",
        units=len(missing),
        seconds=seconds,
    )


def duration(seconds: float) -> str:
    """A time as a person says it: "40 s", "12 min", "2 h 5 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h" + (f" {minutes} min" if minutes else "") if hours else f"{minutes} min"
