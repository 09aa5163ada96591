"""What may an option's text be, and what does it mean? Every parser raises ValueError for a text that does not fit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

COMPARE_CHOICES: Final = ("never", "worse", "undecided")


def seed(value: str) -> int:
    """A whole number >= 0."""
    number = int(value)
    if number < 0:
        raise ValueError("negative")
    return number


def fraction(value: str) -> float:
    """A number above 0.5 and below 1."""
    number = float(value)
    if not 0.5 < number < 1.0:
        raise ValueError("not in (0.5, 1)")
    return number


def positive(value: str) -> int:
    """A whole number >= 1."""
    number = int(value)
    if number < 1:
        raise ValueError("not positive")
    return number


def switch(value: str) -> bool:
    """Yes or no."""
    lowered = value.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("not a switch")


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


SIZE_UNITS: Final = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def size(value: str) -> int:
    """Bytes of a size such as "500MB" or "20GB"; a unit is a power of 1000."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(KB|MB|GB|TB)", value.strip().upper())
    if found is None:
        raise ValueError("no number with a unit")
    return int(float(found[1]) * SIZE_UNITS[found[2]])


TIME_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}


def duration(value: str) -> float:
    """Seconds of a time such as "90s", "30m" or "2h"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", value.strip().lower())
    if found is None or float(found[1]) == 0.0:
        raise ValueError("no number with a unit")
    return float(found[1]) * TIME_UNITS[found[2]]


def engine(value: str) -> str:
    """Where work runs: "local", "ray", or the address of a Ray cluster."""
    if value not in ("local", "ray") and not re.fullmatch(r"ray://[^/\s]+:\d+", value):
        raise ValueError("unknown engine")
    return value
