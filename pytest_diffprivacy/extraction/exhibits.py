"""Which generations are worth showing? The most conspicuous ones, one for each training image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.extraction.adaptive import AdaptiveMatches


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A generation to show: its number, its nearest member, how conspicuous it is, and its image."""

    index: int
    nearest: int
    adaptive: float
    copy: bool
    image: NDArray[np.float32]


def candidates(
    block: NDArray[np.float32], matches: AdaptiveMatches, copies: NDArray[np.bool_], offset: int
) -> list[Exhibit]:
    """Every generation of a block, of which the first has the number `offset`."""
    return [
        Exhibit(offset + i, int(matches.nearest[i]), float(matches.adaptive[i]), bool(copies[i]), block[i])
        for i in range(len(block))
    ]


def most_conspicuous(found: list[Exhibit], count: int) -> list[Exhibit]:
    """Copies before others, closer before farther, one for each nearest member."""
    best: dict[int, Exhibit] = {}
    for exhibit in sorted(found, key=lambda e: (not e.copy, e.adaptive, e.index)):
        best.setdefault(exhibit.nearest, exhibit)
    return [
        Exhibit(e.index, e.nearest, e.adaptive, e.copy, e.image.copy())  # so that its block can go
        for e in list(best.values())[:count]
    ]
