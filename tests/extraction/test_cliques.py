"""A clique is found wherever it hides, and a search that gives up says so."""

import networkx as nx
import numpy as np
import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.extraction.cliques import NONE, CliqueOutcome, find_cliques


def distances_of(graph, near=0.1, far=0.9):
    adjacency = nx.to_numpy_array(graph, nodelist=sorted(graph)) > 0
    distances = np.where(adjacency, near, far)
    np.fill_diagonal(distances, 0.0)
    return distances


def find_clique(distances, **arguments):
    """The largest clique, or that there is none, or that the search gave up."""
    return (find_cliques(distances, **arguments) or [NONE])[0]


def test_a_clique_of_10_beside_a_star_of_12_is_found():
    """T11 of METHODS: the star has the highest degree, and a search from there finds nothing."""
    star, clique = nx.star_graph(11), nx.complete_graph(10)
    graph = nx.disjoint_union(star, clique)
    found = find_clique(distances_of(graph), edge_threshold=0.15, size=10)
    assert found.outcome is CliqueOutcome.FOUND
    assert sorted(found.nodes.tolist()) == list(range(12, 22))
    assert found.mean_distance == pytest.approx(0.1)
    assert find_clique(distances_of(star), edge_threshold=0.15, size=10).outcome is CliqueOutcome.NONE


def test_a_clique_joined_to_a_star_is_found():
    graph = nx.disjoint_union(nx.star_graph(11), nx.complete_graph(10))
    graph.add_edges_from((0, node) for node in range(12, 16))
    assert find_clique(distances_of(graph), edge_threshold=0.15, size=10).outcome is CliqueOutcome.FOUND


def test_a_dense_graph_without_the_clique_is_no():
    """12 groups of 9, everything near but within the groups: cliques of one a group, and none larger."""
    graph = nx.complete_multipartite_graph(*[3] * 9)
    assert find_clique(distances_of(graph), edge_threshold=0.15, size=10).outcome is CliqueOutcome.NONE
    assert find_clique(distances_of(graph), edge_threshold=0.15, size=9).outcome is CliqueOutcome.FOUND


def test_a_search_that_is_given_up_is_undecided_and_never_no():
    graph = nx.complete_multipartite_graph(*[3] * 9)
    found = find_clique(distances_of(graph), edge_threshold=0.15, size=10, tried=50)
    assert found.outcome is CliqueOutcome.UNDECIDED
    assert len(found.nodes) == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_decision_is_that_of_the_largest_clique(seed):
    graph = nx.gnp_random_graph(40, 0.4, seed=seed)
    largest = max(map(len, nx.find_cliques(graph)))
    distances = distances_of(graph)
    assert find_clique(distances, edge_threshold=0.15, size=largest).outcome is CliqueOutcome.FOUND
    assert find_clique(distances, edge_threshold=0.15, size=largest + 1).outcome is CliqueOutcome.NONE


@pytest.mark.parametrize("seed", range(5))
def test_the_clique_that_is_found_is_the_largest(seed):
    graph = nx.gnp_random_graph(40, 0.4, seed=seed)
    largest = max(map(len, nx.find_cliques(graph)))
    assert len(find_clique(distances_of(graph), edge_threshold=0.15, size=3).nodes) == largest


def test_each_component_gives_its_clique_the_largest_first():
    graph = nx.disjoint_union_all([nx.complete_graph(10), nx.star_graph(11), nx.complete_graph(20)])
    first, second = find_cliques(distances_of(graph), edge_threshold=0.15, size=10)
    assert (first.nodes.tolist(), second.nodes.tolist()) == (list(range(22, 42)), list(range(10)))
    assert find_cliques(distances_of(nx.star_graph(11)), edge_threshold=0.15, size=10) == []


def test_a_component_that_is_given_up_is_said_beside_the_clique_of_another():
    graph = nx.disjoint_union(nx.complete_multipartite_graph(*[3] * 9), nx.complete_graph(12))
    for joined in (graph, nx.disjoint_union(nx.complete_graph(12), nx.complete_multipartite_graph(*[3] * 9))):
        found = find_cliques(distances_of(joined), edge_threshold=0.15, size=10, tried=50)
        assert found[-1].outcome is CliqueOutcome.UNDECIDED
    assert [len(clique.nodes) for clique in found] == [12, 0]


def test_the_most_central_generation_comes_first():
    places = np.array([0.0, 0.04, 0.05, 0.06, 0.1, 5.0])
    found = find_clique(np.abs(places[:, None] - places), edge_threshold=0.2, size=3)
    assert found.medoid == 2
    assert sorted(found.nodes.tolist()) == [0, 1, 2, 3, 4]


def test_equal_generations_are_one_clique():
    found = find_clique(np.zeros((200, 200)), edge_threshold=0.05, size=10)
    assert len(found.nodes) == 200
    assert found.mean_distance == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"size": 1}, "`size` must be at least 2"), ({"distances": np.zeros((2, 3))}, r"must be \(n, n\)")],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        find_clique(**({"distances": np.zeros((3, 3)), "edge_threshold": 0.1} | arguments))
