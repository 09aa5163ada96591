"""How is a ratio measured? Both sides take turns in one process, in processor time, and the median of the pairs counts.

Processor time, because other work of the machine is none of ours; so one thread, set by the script. A pair lasts
two seconds a side: what a cache or a clock does to a call, a tenth and more, would else decide the ratio.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

PAIRS = 5
SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Compared:
    """Seconds of a call of both sides and the ratio; medians over the pairs, each on its own.

    Attributes:
        bare: seconds of what must be done.
        work: seconds of what is done.
        ratio: median of work over bare.
    """

    bare: float
    work: float
    ratio: float


def compared(bare: Callable[[], object], work: Callable[[], object], pairs: int = PAIRS) -> Compared:
    """Time both sides, call by call in turn, until each has run for two seconds a pair."""
    bare(), work()  # first calls compile and allocate
    taken = [_in_turn(bare, work) for _ in range(pairs)]
    return Compared(median(b for b, _ in taken), median(w for _, w in taken), median(w / b for b, w in taken))


def _in_turn(bare: Callable[[], object], work: Callable[[], object]) -> tuple[float, float]:
    """Mean seconds of a call of both sides; each goes first in every second turn."""
    one, other, turns = 0.0, 0.0, 0
    while turns % 2 or not turns or min(one, other) < SECONDS:
        if turns % 2:
            one, other = one + seconds(bare), other + seconds(work)
        else:
            other, one = other + seconds(work), one + seconds(bare)
        turns += 1
    return one / turns, other / turns


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started
