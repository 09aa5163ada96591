"""Cliques: generations of a prompt that are one image again and again, found exactly or declared undecided."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.errors import UsageError

CLIQUES_TRIED = 100_000
LARGER_TRIED = 1_000


class CliqueOutcome(StrEnum):
    """What the search for a clique ended with."""

    FOUND = "There is a clique of this size."
    NONE = "There is no clique of this size."
    UNDECIDED = "The search was given up before it could tell."


@dataclass(frozen=True, slots=True)
class Clique:
    """A set of generations that are all near to each other, or the proof that there is none.

    Attributes:
        outcome: whether there is one.
        nodes: int64 (size,), the generations in it, most central first; empty unless found. The largest clique, as
            far as the search went.
        mean_distance: mean distance of its pairs; infinite unless found. Lower = closer.
    """

    outcome: CliqueOutcome
    nodes: NDArray[np.int64]
    mean_distance: float

    @property
    def medoid(self) -> int:
        """The generation that stands for the clique: the one nearest to all others in it."""
        return int(self.nodes[0])


NONE: Final = Clique(CliqueOutcome.NONE, np.empty(0, dtype=np.int64), np.inf)
UNDECIDED: Final = Clique(CliqueOutcome.UNDECIDED, np.empty(0, dtype=np.int64), np.inf)


def find_cliques(
    distances: NDArray[np.float64], *, edge_threshold: float, size: int = 10, tried: int = CLIQUES_TRIED
) -> list[Clique]:
    """Find where at least `size` generations are pairwise within `edge_threshold`: the images that come back.

    Only the (size - 1)-core can hold such a clique; in each of its connected components maximal cliques are enumerated,
    and the largest counts. A search that starts from the generation with most neighbours only would be wrong: a star
    has the highest degree and no clique. So would be one that ends at the first component: a prompt may bring back
    several images, one of them a training image.

    Args:
        distances: (n, n), symmetric; usually tiled l2.
        edge_threshold: largest distance of two generations that count as the same image.
        size: generations that make a clique worth reporting, at least 2.
        tried: maximal cliques after which the search is given up. Once a component has one of `size`, 1,000 more are
            tried for a larger one.

    Returns:
        One clique for each component that holds one, the largest first; then one that is UNDECIDED if the search of a
        component was given up. Empty: there is none, for certain.

    Raises:
        UsageError: an argument is out of range.

    Source: Follows Carlini et al. 2023, section 4.2, exactly instead of greedily (METHODS 1.2).
    """
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1]:
        raise UsageError(f"`distances` must be (n, n), got shape {distances.shape}.")
    if size < 2:
        raise UsageError(f"`size` must be at least 2, got {size!r}.")
    near = distances <= edge_threshold
    np.fill_diagonal(near, False)
    graph = nx.k_core(nx.from_numpy_array(near), size - 1)
    found, left, given_up = [], tried, False
    for component in nx.connected_components(graph):
        if len(component) < size:
            continue
        nodes, count = _largest(graph.subgraph(component), size, left)
        left -= count
        if nodes:
            found.append(_clique(distances, np.sort(np.asarray(nodes, dtype=np.int64))))
        given_up = given_up or (not nodes and left <= 0)
    found.sort(key=lambda clique: (-len(clique.nodes), clique.mean_distance))
    return [*found, UNDECIDED] if given_up else found


def _largest(graph: nx.Graph, size: int, tried: int) -> tuple[list[int], int]:
    """The largest of the maximal cliques tried that has at least `size` nodes, and how many were tried."""
    best: list[int] = []
    count, last = 0, tried
    for count, nodes in enumerate(islice(nx.find_cliques(graph), tried), start=1):
        if len(nodes) >= size and not best:
            last = count + LARGER_TRIED
        if len(nodes) >= size and len(nodes) > len(best):
            best = nodes
        if count >= last:
            break
    return best, count


def _clique(distances: NDArray[np.float64], nodes: NDArray[np.int64]) -> Clique:
    inside = distances[np.ix_(nodes, nodes)]
    order = np.argsort(inside.sum(1), kind="stable")
    pairs = len(nodes) * (len(nodes) - 1)
    return Clique(CliqueOutcome.FOUND, nodes[order], float(inside.sum() / pairs))
