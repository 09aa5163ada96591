from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pytest_diffprivacy import UsageError
from pytest_diffprivacy.extraction import similarity_cliques

GOLDEN = Path(__file__).parents[1] / "golden" / "finetune"
INPUTS = load_file(GOLDEN / "inputs.safetensors")
TOLD = json.loads((GOLDEN / "expected.json").read_text())
ENTRIES = INPUTS["cluster_perm"][:1000]


def test_cliques_that_no_order_changes_agree_with_the_authors_code() -> None:
    told = TOLD["cluster_clear"]
    for order in (None, np.random.default_rng(3).permutation(60).tolist()):
        found = similarity_cliques(INPUTS["cluster_features_clear"], TOLD["images"], order, entries=ENTRIES)
        assert [(r.threshold, list(r.sizes)) for r in found.rounds] == [
            (r["threshold"], r["sizes"]) for r in told["rounds"]
        ]
        own = dict(zip(found.cliques, found.representatives, strict=True))
        assert own == {tuple(one["members"]): one["representative"] for one in told["final"]}
        assert found.decided


def test_where_the_order_matters_start_and_largest_cliques_agree_and_the_order_is_kept() -> None:
    told, features = TOLD["cluster"], INPUTS["cluster_features"]
    found = similarity_cliques(features, TOLD["images"], entries=ENTRIES)
    assert found.rounds[0].threshold == told["start_threshold"]
    largest = {r["threshold"]: r["sizes"][0] for r in told["rounds"]}
    assert [r.sizes[0] for r in found.rounds] == [largest.get(r.threshold, r.sizes[0]) for r in found.rounds]
    assert found.decided
    assert found.threshold >= min(TOLD["cluster_reordered_nodes"]["final_thresholds"])
    assert found == similarity_cliques(features, TOLD["images"], list(range(60)), entries=ENTRIES)


@pytest.mark.parametrize("name", ["cluster", "cluster_clear"])
def test_the_start_may_be_taken_from_all_pairs(name: str) -> None:
    features = INPUTS["cluster_features" + name.removeprefix("cluster")]
    found = similarity_cliques(features, TOLD["images"])
    assert found.rounds[0].threshold == TOLD["cluster_start_all_pairs"][name]


def largest(near: np.ndarray) -> tuple[int, ...]:
    """By trying all sets: the first of the largest cliques."""
    nodes = range(len(near))
    for size in range(len(near), 0, -1):
        for clique in combinations(nodes, size):
            if all(near[a, b] for a, b in combinations(clique, 2)):
                return clique
    raise AssertionError


@pytest.mark.parametrize("seed", range(12))
def test_the_first_largest_clique_is_that_of_a_search_of_all_sets(seed: int) -> None:
    features = np.random.default_rng(seed).normal(size=(11, 3))
    found = similarity_cliques(features, 4)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert found.cliques[0] == largest(unit @ unit.T >= found.threshold)
    assert sorted(sum(found.cliques, ())) == list(range(11))


def test_equal_generations_of_each_image_are_its_clique() -> None:
    images = np.eye(5) - 0.2
    found = similarity_cliques(np.repeat(images, 6, axis=0), 5)
    assert sorted(found.cliques) == [tuple(range(6 * i, 6 * i + 6)) for i in range(5)]
    assert [r.sizes for r in found.rounds] == [(30,), (6,) * 5]


def test_a_search_that_was_given_up_says_so() -> None:
    assert not similarity_cliques(np.random.default_rng(2).normal(size=(40, 4)), 8, tried=3).decided


@pytest.mark.parametrize(
    ("features", "images", "order", "message"),
    [
        (np.zeros((4, 3)), 2, None, "`features` must be"),
        (np.ones((4, 3)), 0, None, "`images` must be"),
        (np.ones((4, 3)), 5, None, "`images` must be at most"),
        (np.ones((4, 3)), 2, [0, 1, 1, 2], "`order` must hold"),
    ],
)
def test_what_is_refused(features: np.ndarray, images: int, order: list[int] | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        similarity_cliques(features, images, order)
