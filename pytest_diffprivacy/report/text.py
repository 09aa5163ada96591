"""Values written for people: the same under every locale and time zone, with nothing hidden in them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from pytest_diffprivacy.visible import visible

NOTHING: Final = "–"


def one_line(text: str, longest: int) -> str:
    """Foreign text for a place of fixed width: visible, without line breaks, cut with an ellipsis."""
    flat = " ".join(visible(text).split())
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"


def number(value: float | None, *others: float | None) -> str:
    """A number with as few digits (at least 3) as tell it from the others; a dash for None.

    Args:
        value: what to write.
        others: what it is read against, e.g. the limit: 0.0501 beside a limit of 0.05 is not shown as 0.05.
    """
    if value is None:
        return NOTHING
    different = [other for other in others if other is not None and other != value]
    for digits in range(3, 17):
        text = f"{value:.{digits}g}"
        if all(text != f"{other:.{digits}g}" for other in different):
            return _plain(text)
    return _plain(repr(value))


def _plain(text: str) -> str:
    return text.replace("-", "−", 1) if text.startswith("-") else text


def percent(fraction: float) -> str:
    """A confidence as a percentage: 0.95 is "95%"."""
    return f"{100.0 * fraction:.6g}%"


def whole(count: int) -> str:
    """A count with its thousands separated: 1234567 is "1,234,567"."""
    return f"{count:,}"


def plural(count: int, one: str, many: str = "") -> str:
    """A count with its noun: "1 claim", "2 claims"."""
    return f"{whole(count)} {one if count == 1 else many or one + 's'}"


def utc(time: datetime) -> str:
    """A time as "2025-03-14 09:26:53 UTC"; one without a zone is taken as UTC, never as local time."""
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return aware.replace(tzinfo=None).isoformat(sep=" ", timespec="seconds") + " UTC"


def duration(seconds: float) -> str:
    """A span of time as "0.8 s", "42 s", "3 min 20 s" or "2 h 5 min"."""
    if seconds < 10.0:
        return f"{seconds:.1f} s"
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    minutes, rest = divmod(total, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
