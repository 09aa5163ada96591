"""How is a ratio measured? Both sides alternate in one process, in processor time, and the median of the pairs counts.

Processor time, because other work of the machine is none of ours; so one thread, set by the script.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

PAIRS = 5


@dataclass(frozen=True, slots=True)
class Compared:
    """Seconds of both sides and the ratio; medians over the pairs, each on its own.

    Attributes:
        bare: seconds of what must be done.
        work: seconds of what is done.
        ratio: median of work over bare.
    """

    bare: float
    work: float
    ratio: float


def compared(bare: Callable[[], object], work: Callable[[], object], pairs: int = PAIRS) -> Compared:
    """Time both sides in turn, each first in every second pair."""
    bare(), work()  # first calls compile and allocate
    taken = []
    for pair in range(pairs):
        if pair % 2:
            one, other = seconds(bare), seconds(work)
        else:
            other, one = seconds(work), seconds(bare)
        taken.append((one, other))
    return Compared(median(b for b, _ in taken), median(w for _, w in taken), median(w / b for b, w in taken))


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started
