"""Statistic: what a claim is judged by, as a value. It measures, says what it needs, plans, and gives its p-value.

Every statistic is a frozen dataclass in its own file, named `<what it bounds>Statistic` beside the result `<what it
bounds>` that `measure` returns, and registered by the name that records keep: `auroc` -> `AurocStatistic` -> `Auroc`.
Its fields are what a record's recipe keeps, so that `STATISTICS[name](**arguments).measure(arrays)` is the verdict's
number again, without the model, the images or any attack. Fields that are only words carry `metadata=WORDS`. Where the
same arguments came to give other bounds, a field `rule` counts the changes; a record without it is one by rule 1.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics.p_values import p_value_from_bounds
from pytest_diffprivacy.statistics.verdict import Measured

Stored: TypeAlias = Mapping[str, Sequence[NDArray[Any]]]
"""Role -> the arrays that play it."""
Arguments: TypeAlias = Mapping[str, Any]

WORDS: Final[Mapping[str, bool]] = {"recorded": False}
"""Metadata of a field that only changes what is said; give such a field `compare=False` as well."""


class Statistic(abc.ABC):
    """What a claim is judged by; larger = more leakage.

    Attributes:
        name: as records keep it.
        confidence: of each bound, in (0.5, 1).
    """

    __slots__ = ()
    name: ClassVar[str] = ""
    confidence: float

    @abc.abstractmethod
    def measure(self, arrays: Stored) -> Measured:
        """The estimate with its bounds, from arrays by their role."""

    @abc.abstractmethod
    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """What probes of these numbers can show about a limit, before anything is measured: label -> words."""

    def expected(self, counts: tuple[int, ...], limit: float) -> int | None:
        """Of the first of these numbers, how many are needed for a model without a leak; None: all of them."""
        del counts, limit
        return None

    def needed(self, arrays: Stored, measured: Any, limit: float) -> str:
        """What would decide where `measured`, this statistic's own result, does not; empty where nothing is known."""
        del arrays, measured, limit
        return ""

    def p_value(self, arrays: Stored, limit: float) -> float | None:
        """The smallest significance at which the lower bound lies above the limit; inverts it over the confidence."""

        def lower(confidence: float) -> float:
            try:
                return type(self)(**recorded_arguments(self) | {"confidence": confidence}).measure(arrays).low
            except InsufficientProbes:  # undefined at such a confidence: it refutes nothing
                return -math.inf

        return p_value_from_bounds(lower, limit)


STATISTICS: Final[dict[str, type[Statistic]]] = {}
"""Every statistic by the name that records keep."""

Registered = TypeVar("Registered", bound=type[Statistic])


def statistic(name: str) -> Callable[[Registered], Registered]:
    """Register a statistic under the name that records keep."""

    def register(kind: Registered) -> Registered:
        kind.name = name
        STATISTICS[name] = kind
        return kind

    return register


def recorded_arguments(chosen: Statistic) -> dict[str, Any]:
    """What a record's recipe keeps of a statistic: its fields without those that are only words."""
    fields = dataclasses.fields(chosen)  # type: ignore[arg-type]
    return {one.name: getattr(chosen, one.name) for one in fields if one.metadata.get("recorded", True)}


def only(arrays: Stored, role: str) -> NDArray[Any]:
    """The one array that plays a role.

    Raises:
        UsageError: it holds NaN, which every comparison would count as "below the threshold".
    """
    (array,) = arrays[role]
    if array.dtype.kind == "f" and np.isnan(array).any():
        count = int(np.isnan(array).sum())
        raise UsageError(
            f"`{role}` holds NaN in {count} of {array.size} places. Find out why it could not be measured."
        )
    return array


def recompute(statistic: str, arrays: Stored, arguments: Arguments) -> Measured:
    """Compute a statistic again from what a record keeps.

    Args:
        statistic: a name in `STATISTICS`.
        arrays: role -> the arrays that play it, in the order of the record.
        arguments: the statistic's other arguments as they were recorded.

    Raises:
        UsageError: no such statistic, or arrays or arguments that it does not take.
        InsufficientProbes: the statistic is undefined for so few probes, as it was when the claim was judged.

    Source: ours.
    """
    with _refusing_what_does_not_fit(statistic):
        return _as_recorded(statistic, arguments).measure(arrays)


def recomputed_p_value(statistic: str, arrays: Stored, arguments: Arguments, limit: float) -> float | None:
    """Return the p-value of "at most the limit" of what `recompute` takes; None where there is no confidence.

    It is the smallest significance at which the statistic's lower bound lies above the limit.

    Raises:
        UsageError: no such statistic, or arrays or arguments that it does not take.

    Source: Inverts the bounds of METHODS 7.
    """
    if "confidence" not in arguments:
        return None
    with _refusing_what_does_not_fit(statistic):
        return _as_recorded(statistic, arguments).p_value(arrays, limit)


def _as_recorded(statistic: str, arguments: Arguments) -> Statistic:
    """The statistic of a record; one from before its `rule` was recorded was judged by the first."""
    kind = STATISTICS[statistic]
    first = {"rule": 1} if "rule" in {one.name for one in dataclasses.fields(kind)} else {}  # type: ignore[arg-type]
    return kind(**first | dict(arguments))


@contextlib.contextmanager
def _refusing_what_does_not_fit(statistic: str) -> Iterator[None]:
    if statistic not in STATISTICS:
        raise UsageError(f"`statistic` must be one of {', '.join(STATISTICS)}, got {statistic!r}.")
    try:
        yield
    except (KeyError, TypeError) as error:
        raise UsageError(f"The arrays or arguments of {statistic} do not fit it: {error}.") from error
