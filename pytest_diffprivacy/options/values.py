"""Values of options: every parser raises ValueError for a text that does not fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

COMPARE_CHOICES: Final = ("never", "worse", "undecided")


def whole_from(least: int) -> Callable[[str], int]:
    """A parser of whole numbers from this one on."""

    def parse(value: str) -> int:
        if int(value) < least:
            raise ValueError("too small")
        return int(value)

    return parse


def fraction(value: str) -> float:
    """A number above 0.5 and below 1."""
    number = float(value)
    if not 0.5 < number < 1.0:
        raise ValueError("not in (0.5, 1)")
    return number


def switch(value: str) -> bool:
    """Yes or no."""
    lowered = value.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("not a switch")


def captions(value: str) -> bool | str:
    """Yes, no or a column."""
    try:
        return switch(value)
    except ValueError:
        return value.strip()


def resize(value: str) -> str:
    """A size, and perhaps a filter: "512:bicubic"."""
    if not re.fullmatch("[1-9][0-9]*(:[a-z]+)?", value):
        raise ValueError("no size")
    return value


@dataclass(frozen=True, slots=True)
class CompareRule:
    """Which outcomes of a comparison with the last release fail a test.

    Attributes:
        on: "never"; "worse": shown to be worse; "undecided": not shown to be no worse.
        margin: increase that counts as not worse.
    """

    on: str = "never"
    margin: float = 0.0

    def __str__(self) -> str:
        return f"{self.on}:{self.margin:g}" if self.margin else self.on

    def fails_on(self, outcome: str) -> bool:
        """Whether the outcome fails a test."""
        return outcome == "worse" if self.on == "worse" else self.on == "undecided" and outcome != "not worse"


def compare_rule(value: str) -> CompareRule:
    """An outcome, and perhaps a margin: "worse:0.02"."""
    on, colon, text = value.partition(":")
    margin = float(text) if colon else 0.0
    if on not in COMPARE_CHOICES or not 0.0 <= margin < 1.0:
        raise ValueError("unknown outcome or margin")
    return CompareRule(on, margin)


def report_extensions() -> tuple[str, ...]:
    """What the formats that there are end in."""
    from pytest_diffprivacy.report.formats import formats

    return tuple(formats())


def report_path(value: str) -> str:
    """A path whose extension is a format."""
    if not value.lower().endswith(report_extensions()):
        raise ValueError("unknown extension")
    return value


SIZE_UNITS: Final = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
TIME_UNITS: Final = {"S": 1.0, "M": 60.0, "H": 3600.0}


def size(value: str) -> int:
    """Bytes of a size such as "500MB" or "20GB"; a unit is a power of 1000."""
    return int(_quantity(value, SIZE_UNITS))


def duration(value: str) -> float:
    """Seconds of a time such as "90s", "30m" or "2h"; not 0."""
    seconds = _quantity(value, TIME_UNITS)
    if seconds == 0.0:
        raise ValueError("no time at all")
    return seconds


def _quantity(value: str, units: Mapping[str, float]) -> float:
    found = re.fullmatch(rf"(\d+(?:\.\d+)?)\s*({'|'.join(units)})", value.strip().upper())
    if found is None:
        raise ValueError("no number with a unit")
    return float(found[1]) * units[found[2]]


def engine(value: str) -> str:
    """Where work runs: "local", "ray", or the address of a Ray cluster."""
    if value not in ("local", "ray") and not re.fullmatch(r"ray://[^/\s]+:\d+", value):
        raise ValueError("unknown engine")
    return value
