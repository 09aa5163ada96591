"""Argument checks: each statistic checks its input here first, so that no formula sees a NaN or an empty array.

What is wrong raises `UsageError`, which names the argument, the value and the remedy.
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
    """Finite float64 numbers in one dimension, at least one; a view where that is possible.

    Raises:
        UsageError: not numbers, not one-dimensional, empty, NaN or infinite; `name` is how the caller calls them.
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
    """A whole number of at least `least` (a bool is none), or UsageError."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise UsageError(f"`{name}` must be a whole number of at least {least}, got {value!r}. Count again.")
    return number


def check_fraction(name: str, value: float, *, zero: bool = False) -> float:
    """A number strictly between 0 and 1, with `zero` 0 as well, or UsageError."""
    number = as_number(name, value)
    if not (0.0 < number < 1.0 or (zero and number == 0.0)):
        allowed = "at least 0 and below 1" if zero else "strictly between 0 and 1"
        raise UsageError(f"`{name}` must be {allowed}, got {value!r}. Write 1 % as 0.01.")
    return number


def as_number(name: str, value: float) -> float:
    """A real number as a float, NaN and infinity included, or UsageError; texts and bools become NaN."""
    try:
        return math.nan if isinstance(value, (str, bytes, bool)) else float(value)
    except (TypeError, ValueError):
        raise UsageError(f"`{name}` must be a real number, got {value!r}. Give one float.") from None


def check_finite(name: str, value: float) -> float:
    """A finite number, or UsageError (a text that holds one is none)."""
    number = as_number(name, value)
    if not math.isfinite(number):
        raise UsageError(f"`{name}` must be a finite number, got {value!r}. Give one float.")
    return number


def check_significance(confidence: float, interval: Interval = "one-sided") -> float:
    """The significance of each of two bounds: the whole 1 - confidence (`"one-sided"`) or half of it (`"two-sided"`).

    A confidence of at most 0.5 is refused: the bounds would cross, and it is nearly always a significance by mistake.

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


def check_sides(member_scores: ArrayLike, nonmember_scores: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Scores of members and of non-members, as `check_scores` does."""
    return check_scores("member_scores", member_scores), check_scores("nonmember_scores", nonmember_scores)


def check_rule(rule: int, *, last: int = 2) -> int:
    """The newest one, or one by which older records were judged, from 1 on."""
    if rule not in range(1, last + 1):
        raise UsageError(f"`rule` must be {' or '.join(map(str, range(1, last + 1)))}, got {rule!r}.")
    return rule
