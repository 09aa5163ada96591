"""How many generations are compared at a time? As many as memory holds, or a quarter more than before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

GROWTH = 0.25


def in_looks(blocks: Iterable[NDArray[np.float32]], *, most: int, growing: bool) -> Iterator[NDArray[np.float32]]:
    """The same images in larger blocks, since every block costs a reading of the training set.

    Args:
        blocks: images (n, channels, height, width), blocks of any size, which are kept whole.
        most: images that are held at a time; a single block may exceed it.
        growing: whether to hand on as soon as there is a quarter more than was handed on before, so that a search that
            may stop early makes at most a quarter too many.
    """
    held: list[NDArray[np.float32]] = []
    done = 0
    for block in blocks:
        if held and sum(map(len, held)) + len(block) > most:
            done += sum(map(len, held))
            yield np.concatenate(held)
            held = []
        held.append(block)
        count = sum(map(len, held))
        if count >= most or (growing and count >= GROWTH * done):
            done += count
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)
