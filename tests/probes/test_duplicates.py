"""Duplicates: planted copies are found and counted, in one set and across two, and nothing else is called a copy."""

import networkx
import numpy as np
import pytest

from pytest_diffprivacy.distances import Embedding, pixel_embedding, rms
from pytest_diffprivacy.errors import ProbeError, UsageError
from pytest_diffprivacy.probes import ImageSet, find_duplicates


def pictures(count, seed, *, side=16):
    return np.random.default_rng(seed).random((count, 1, side, side), dtype=np.float32)


def noised(images, size, seed):
    """Images at an RMS distance of about `size`."""
    noise = np.random.default_rng(seed).standard_normal(images.shape).astype(np.float32)
    return (images + size * noise).clip(0.0, 1.0)


def image_set(array, role="member"):
    return ImageSet.of(array, role)


BASE = pictures(40, 1)


def test_exact_and_near_copies_are_clusters_with_counts():
    near = noised(BASE[:2], 0.01, 2)
    training = np.concatenate([BASE, BASE[3:4].repeat(4, axis=0), BASE[:1].repeat(2, axis=0), near])
    found = find_duplicates(image_set(training))
    assert found.exact == 6
    assert [cluster.total for cluster in found.clusters] == [5, 4, 2]
    five, four, two = found.clusters
    assert five.places == ((0, 3),)
    assert four.places == ((0, 0), (0, 40))  # three exact copies of image 0, and a near one
    assert two.places == ((0, 1), (0, 41))
    assert four.ids == tuple(image_set(training).ids()[i] for i in (0, 40))
    assert found.distinct == 40
    assert not found.across
    assert found.rule == "RMS pixel difference at most 0.02"


def test_images_linked_by_a_chain_are_one_cluster():
    step = np.full((1, 1, 16, 16), 0.015, dtype=np.float32)
    chain = np.concatenate([0.5 * BASE[:1] + i * step for i in range(6)])
    assert rms(chain[0], chain[5]) > 0.02
    found = find_duplicates(image_set(np.concatenate([chain, BASE[5:9]])))
    assert [len(cluster.places) for cluster in found.clusters] == [6]
    assert found.labels[0].tolist() == [0] * 6 + [1, 2, 3, 4]


def test_the_clusters_are_the_connected_components_of_all_near_pairs():
    images = np.random.default_rng(3).random((60, 1, 1, 2), dtype=np.float32)
    graph = networkx.Graph()
    graph.add_nodes_from(range(60))
    graph.add_edges_from((i, j) for i in range(60) for j in range(i) if rms(images[i], images[j]) <= 0.05)
    expected = {tuple(sorted(c)) for c in networkx.connected_components(graph) if len(c) > 1}
    assert len(expected) > 3
    found = find_duplicates(image_set(images), max_distance=0.05)
    assert {tuple(position for _, position in cluster.places) for cluster in found.clusters} == expected


def test_copies_across_members_and_non_members_are_told_apart_from_copies_inside():
    members = np.concatenate([BASE[:20], noised(BASE[:1], 0.01, 4), BASE[5:6]])
    others = np.concatenate([BASE[20:], noised(BASE[7:8], 0.01, 5), BASE[30:31]])
    found = find_duplicates(image_set(members), image_set(others, "non-member"))
    assert [cluster.counts for cluster in found.clusters] == [(2, 0), (2, 0), (1, 1), (0, 2)]
    (leaked,) = found.across
    assert leaked.places == ((0, 7), (1, 20))
    assert leaked.ids[1].startswith("non-member ")
    assert found.labels[0][7] == found.labels[1][20]
    assert found.distinct == 40


def test_an_equal_image_on_both_sides_is_a_cluster_across():
    found = find_duplicates(image_set(BASE[:5]), image_set(BASE[4:9], "non-member"), max_distance=0.0)
    assert [cluster.places for cluster in found.across] == [((0, 4), (1, 0))]


def test_nothing_is_found_where_nothing_is():
    found = find_duplicates(image_set(BASE))
    assert found.clusters == ()
    assert found.exact == 0
    assert found.distinct == 40


def test_constant_images_are_near_copies_by_their_brightness():
    flat = np.stack([np.full((1, 8, 8), value, dtype=np.float32) for value in (0.0, 0.01, 0.5)])
    assert [c.places for c in find_duplicates(image_set(flat)).clusters] == [((0, 0), (0, 1))]


def test_hashes_sort_out_pairs_but_never_call_a_copy():
    images = pictures(30, 6, side=64)
    copies = noised(images[:4], 0.01, 7)
    same_hash = images[10:11] * 0.5 + 0.25  # the same picture with less contrast: hash near, pixels far
    both = image_set(np.concatenate([images, copies, same_hash]))
    plain, filtered = find_duplicates(both), find_duplicates(both, hash_bits=12)
    assert [c.places for c in filtered.clusters] == [c.places for c in plain.clusters]
    assert len(plain.clusters) == 4
    assert filtered.rule.endswith("among pairs whose perceptual hashes differ in at most 12 of 63 bits")


def test_an_embedding_decides_by_its_own_threshold_and_is_recorded():
    mirrored = BASE[:3, :, :, ::-1]
    symmetric = Embedding.of(lambda x: (x + x.flip(-1)).flatten(1) - 1.0, name="mirror-blind", version="1")
    both = image_set(np.concatenate([BASE, mirrored]))
    assert find_duplicates(both).clusters == ()
    found = find_duplicates(both, embedding=symmetric, min_similarity=1.0)
    assert [c.places for c in found.clusters] == [((0, i), (0, 40 + i)) for i in range(3)]
    assert (found.embedding, found.embedding_digest) == ("mirror-blind 1", symmetric.digest)
    assert found.rule == "cosine of mirror-blind 1 at least 1"
    assert find_duplicates(both, embedding=symmetric, min_similarity=1.0, hash_bits=2).clusters == ()


def test_an_embedding_compares_sets_of_different_sizes():
    large = BASE[:2].repeat(2, axis=2).repeat(2, axis=3)
    found = find_duplicates(
        image_set(BASE), image_set(large, "non-member"), embedding=pixel_embedding(16), min_similarity=0.95
    )
    assert [c.places for c in found.across] == [((0, 0), (1, 0)), ((0, 1), (1, 1))]
    with pytest.raises(ProbeError, match="Sets must have one image size"):
        find_duplicates(image_set(BASE), image_set(large, "non-member"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_distance": 1.5}, r"`max_distance` must be an RMS distance in \[0, 1\], got 1.5"),
        ({"max_distance": float("nan")}, "got nan"),
        ({"embedding": pixel_embedding()}, "`embedding` and `min_similarity` must be given together"),
        ({"min_similarity": 0.5}, "must be given together"),
        ({"embedding": pixel_embedding(), "min_similarity": 1.1}, r"`min_similarity` must be a cosine in \(0, 1\]"),
        ({"hash_bits": 63}, "`hash_bits` must be between 0 and 62 and whole, got 63"),
        ({"hash_bits": -1}, "got -1"),
        ({"hash_bits": 1.5}, "got 1.5"),
        ({"hash_bits": "6"}, "`hash_bits` must be a number, got '6'"),
        ({"max_distance": "near"}, "`max_distance` must be a number, got 'near'"),
        ({"embedding": len, "min_similarity": 0.9}, "`embedding` must be an Embedding, got builtin_function_or_method"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        find_duplicates(image_set(BASE), **arguments)


@pytest.mark.parametrize("source", ["data/train", BASE])
def test_a_source_that_was_not_read_is_refused_with_the_call_that_reads_it(source):
    with pytest.raises(UsageError, match=r"Read it by ImageSet.of\(source"):
        find_duplicates(source)


def test_nothing_to_search_is_refused():
    with pytest.raises(UsageError, match="`sets` must hold at least one ImageSet"):
        find_duplicates()
