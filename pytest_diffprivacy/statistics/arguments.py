"""Are the arguments of a statistic usable?

Every public function of this room checks its input here first, so that the formulas below it never see a NaN,
an empty array or a significance where a confidence was meant. What is wrong raises `UsageError`, which names
the argument, the value and the cure.
"""

from __future__ import annotations

import math
import operator
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_diffprivacy.errors import UsageError

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
Interval: TypeAlias = Literal["one-sided", "two-sided"]


def check_scores(name: str, values: ArrayLike) -> FloatArray:
    """Return finite float64 numbers in one dimension.

    Args:
        name: how the caller calls the argument.
        values: one number an image, shape (n,), n >= 1.

    Returns:
        The numbers as a float64 array; a view where that is possible.

    Raises:
        UsageError: not numbers, not one-dimensional, empty, NaN or infinite.

    Source: ours.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise UsageError(f"`{name}` must be real numbers, got dtype {array.dtype}. Give one float an image.")
    if array.ndim != 1:
        raise UsageError(f"`{name}` must be one-dimensional, got shape {array.shape}. Give one number an image.")
    if array.size == 0:
        raise UsageError(f"`{name}` must be non-empty, got 0 numbers. Give at least one.")
    numbers = array.astype(np.float64, copy=False)
    finite = np.isfinite(numbers)
    if not finite.all():
        first = int(np.argmin(finite))
        raise UsageError(
            f"`{name}` must be finite, got {numbers[first]!s} at index {first} "
            f"({int((~finite).sum())} of {numbers.size} are not finite). "
            "Find out why the attack could not score it."
        )
    return numbers


def check_count(name: str, value: int, *, least: int) -> int:
    """Return a whole number that is at least `least`.

    Raises:
        UsageError: not a whole number (a bool is none), or too small.

    Source: ours.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise UsageError(f"`{name}` must be a whole number of at least {least}, got {value!r}. Count again.")
    return number


def check_fraction(name: str, value: float, *, zero: bool = False) -> float:
    """Return a number strictly between 0 and 1; with `zero`, 0 is allowed as well.

    Raises:
        UsageError: outside that range, NaN, or not a number.

    Source: ours.
    """
    number = as_number(name, value)
    if not (0.0 < number < 1.0 or (zero and number == 0.0)):
        allowed = "at least 0 and below 1" if zero else "strictly between 0 and 1"
        raise UsageError(f"`{name}` must be {allowed}, got {value!r}. Write 1 % as 0.01.")
    return number


def as_number(name: str, value: float) -> float:
    """Return `value` as a Python float, NaN and infinity included.

    Raises:
        UsageError: not a real number.

    Source: ours.
    """
    try:
        return math.nan if isinstance(value, (str, bytes, bool)) else float(value)
    except (TypeError, ValueError):
        raise UsageError(f"`{name}` must be a real number, got {value!r}. Give one float.") from None


def check_finite(name: str, value: float) -> float:
    """Return a finite number.

    Raises:
        UsageError: NaN, infinite, or not a real number (a text that holds one is none).

    Source: ours.
    """
    number = as_number(name, value)
    if not math.isfinite(number):
        raise UsageError(f"`{name}` must be a finite number, got {value!r}. Give one float.")
    return number


def check_significance(confidence: float, interval: Interval = "one-sided") -> float:
    """Return the significance of each of the two bounds.

    `"one-sided"` gives each bound the whole 1 - confidence, `"two-sided"` half of it. A confidence of at most
    0.5 is
    refused: the two bounds would cross, and it is nearly always a significance passed by mistake.

    Raises:
        UsageError: `confidence` is not in (0.5, 1), or `interval` is unknown.

    Source: METHODS 7, verdict rule.
    """
    number = as_number("confidence", confidence)
    if not 0.5 < number < 1.0:
        raise UsageError(
            f"`confidence` must be above 0.5 and below 1, got {confidence!r}. "
            "Give the confidence (0.95), not the significance (0.05)."
        )
    if interval not in ("one-sided", "two-sided"):
        raise UsageError(f"`interval` must be 'one-sided' or 'two-sided', got {interval!r}. Choose one of them.")
    return (1.0 - number) if interval == "one-sided" else (1.0 - number) / 2.0
