"""Similarity cliques: generations that are one image again and again, at the similarity where as many appear as wanted.

The authors' clustering is no function of its matrix: equal cliques are resolved by the order of a search. Here the
order is fixed and said, cliques are found exactly, and ties go to the earliest images; or the search is given up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import check_count

STEP: Final = 0.01
TRIED: Final = 200_000
QUANTILE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Round:
    """One threshold: how large its cliques are, the largest first."""

    threshold: float
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SimilarityCliques:
    """Generations in cliques, and the one that stands for each.

    Attributes:
        threshold: of the cliques; two of one clique are at least as similar.
        cliques: places of the generations of each, in increasing order, the largest first.
        representatives: of each the place of that nearest to the mean of its features.
        rounds: all thresholds that were tried.
        decided: whether every search came to its end; where not, cliques may not be the largest.
    """

    threshold: float
    cliques: tuple[tuple[int, ...], ...]
    representatives: tuple[int, ...]
    rounds: tuple[Round, ...]
    decided: bool


def similarity_cliques(
    features: ArrayLike,
    images: int,
    order: Sequence[int] | None = None,
    *,
    entries: ArrayLike | None = None,
    tried: int = TRIED,
) -> SimilarityCliques:
    """Split generations into cliques of similar ones, at the lowest threshold at which there are `images` of them.

    The threshold starts at the 0.25 quantile of the cosines, rounded down to 0.01, and rises by 0.01. At each the
    largest clique is taken out again and again; of several equally large the one with the earliest members.

    Args:
        features: (n, dimensions), of any length.
        images: cliques that are wanted, as many as the fine-tune had images; single generations count as cliques.
        order: of the generations, by which ties are resolved, e.g. that of their digests; None: as they stand.
        entries: places in the flattened (n, n) matrix, whose diagonal is 0, of the entries whose quantile is the
            start, as the authors' code draws 1,000; None: all.
        tried: steps after which the search for a clique is given up.

    Raises:
        UsageError: an argument is out of range, or a feature vector is zero or not finite.

    Source: Follows Wu, Zhang and Wu 2025 (FineXtract), exactly and in a fixed order (METHODS 1.6).
    """
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or len(rows) < 2 or not np.isfinite(rows).all() or not np.linalg.norm(rows, axis=1).all():
        raise UsageError(f"`features` must be (n, dimensions), n >= 2, finite and not zero, got shape {rows.shape}.")
    count = len(rows)
    wanted = check_count("images", images, least=1)
    places = list(range(count)) if order is None else [int(place) for place in order]
    if sorted(places) != list(range(count)):
        raise UsageError(f"`order` must hold every place 0..{count - 1} once, got {len(places)} places.")
    if wanted > count:
        raise UsageError(f"`images` must be at most the {count} generations, got {images!r}. Generate more.")
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    similar = unit @ unit.T
    np.fill_diagonal(similar, 0.0)
    sample = similar.ravel() if entries is None else similar.ravel()[np.asarray(entries)]
    step = math.floor(round(float(np.quantile(sample, QUANTILE)) / STEP, 9))
    ordered = similar[np.ix_(places, places)]
    rounds: list[Round] = []
    decided = True
    while True:
        threshold = round(step * STEP, 10)
        found, complete = _all_cliques(ordered >= threshold, tried)
        decided = decided and complete
        rounds.append(Round(threshold, tuple(map(len, found))))
        if len(found) >= wanted or threshold > 1.0:
            break
        step += 1
    cliques = tuple(tuple(sorted(places[i] for i in clique)) for clique in found)
    chosen = tuple(_representative(rows, clique) for clique in cliques)
    return SimilarityCliques(threshold, cliques, chosen, tuple(rounds), decided)


def _representative(rows: NDArray[np.float64], clique: Sequence[int]) -> int:
    """The one nearest to the mean of the clique's features."""
    own = rows[list(clique)]
    return clique[int(np.argmin(np.linalg.norm(own - own.mean(0), axis=1)))]


def _all_cliques(near: NDArray[np.bool_], tried: int) -> tuple[list[list[int]], bool]:
    """The largest clique, then the largest of what is left, and so on; whether each search came to its end."""
    count = len(near)
    neighbours = [sum(1 << j for j in np.flatnonzero(row).tolist() if j != i) for i, row in enumerate(near)]
    left, found, complete = (1 << count) - 1, list[list[int]](), True
    while left:
        clique, ended = _largest(neighbours, left, tried)
        complete = complete and ended
        found.append(clique)
        for node in clique:
            left &= ~(1 << node)
    return found, complete


def _bits(nodes: int) -> Iterator[int]:
    while nodes:
        lowest = nodes & -nodes
        yield lowest.bit_length() - 1
        nodes ^= lowest


def _largest(neighbours: Sequence[int], among: int, tried: int) -> tuple[list[int], bool]:
    """The first largest clique in lexicographic order of its nodes, by branch and bound with a colouring.

    Source: ours, after the colour bound of Tomita and Seki 2003.
    """
    best: list[int] = []
    spent = 0
    stack: list[tuple[list[int], int]] = [([], among)]
    while stack:
        clique, candidates = stack.pop()
        if not candidates:
            if len(clique) > len(best):
                best = clique
            continue
        room = len(best) - len(clique)
        if room >= 0 and (candidates.bit_count() <= room or not _more_colours(neighbours, candidates, room)):
            continue
        spent += 1
        if spent > tried:
            return best or clique, False
        first = (candidates & -candidates).bit_length() - 1
        stack.append((clique, candidates & ~(1 << first)))  # without the first node: looked at after those with it
        stack.append(([*clique, first], candidates & neighbours[first]))
    return best, True


def _more_colours(neighbours: Sequence[int], candidates: int, room: int) -> bool:
    """Whether a greedy colouring of the candidates needs more than `room` colours: where not, no clique is larger."""
    colours = 0
    while candidates:
        colours += 1
        if colours > room:
            return True
        free = candidates
        while free:
            node = (free & -free).bit_length() - 1
            candidates &= ~(1 << node)
            free &= ~(1 << node)
            free &= ~neighbours[node]
    return False
