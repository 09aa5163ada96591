"""Control splits: which images fit a scorer and which are judged by it, in disjoint random parts, several times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pytest_diffprivacy.errors import InsufficientProbes
from pytest_diffprivacy.statistics.arguments import IntArray, check_count, check_fraction
from pytest_diffprivacy.statistics.mean_difference import LEAST

MOST = 10_000_000


@dataclass(frozen=True, slots=True)
class ControlSplit:
    """Positions of one random split: control images fit the scorer, test images are judged."""

    member_control: IntArray
    member_test: IntArray
    nonmember_control: IntArray
    nonmember_test: IntArray


def control_splits(
    members: int, nonmembers: int, *, splits: int, seed: int, control: float = 0.5
) -> tuple[ControlSplit, ...]:
    """Split members and non-members at random into disjoint control and test parts, with sorted positions.

    Args:
        members: number of members.
        nonmembers: number of non-members.
        splits: how many splits; split i depends on the seed and i alone.
        seed: seed of the splits.
        control: share of each side that fits the scorer, rounded down.

    Raises:
        UsageError: an argument out of range.
        InsufficientProbes: fewer than 10 images a side are left for the control or the test part.

    Source: Implements METHODS 3.13: one disjoint control/test split, repeated at random.
    """
    sizes = check_count("members", members, least=1), check_count("nonmembers", nonmembers, least=1)
    count, start = check_count("splits", splits, least=1), check_count("seed", seed, least=0)
    share = check_fraction("control", control)
    if any(min(int(n * share), n - int(n * share)) < LEAST for n in sizes):
        needed = next(n for n in range(2 * LEAST, MOST) if min(int(n * share), n - int(n * share)) >= LEAST)
        raise InsufficientProbes(
            f"Cannot split {sizes[0]} members and {sizes[1]} non-members into control and test parts of at least "
            f"{LEAST} images each: at least {needed} of each are needed. Add probes.",
            needed=needed,
        )

    def halves(stream: np.random.Generator, n: int) -> tuple[IntArray, IntArray]:
        order = stream.permutation(n)
        return np.sort(order[: int(n * share)]), np.sort(order[int(n * share) :])

    drawn = (np.random.default_rng([start, index]) for index in range(count))
    return tuple(ControlSplit(*halves(stream, sizes[0]), *halves(stream, sizes[1])) for stream in drawn)
