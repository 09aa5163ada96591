"""Replication metrics: naive twins, duplicates that hide nothing, and the known direction on copies."""

import numpy as np
import pytest

from pytest_diffprivacy import ProbeSet
from pytest_diffprivacy.distances import Embedding, rms
from pytest_diffprivacy.errors import ProbeError, UsageError
from pytest_diffprivacy.extraction import equal_sides, measure_replication
from pytest_diffprivacy.extraction.replication import Cells
from pytest_diffprivacy.extraction.space import Space, distance_to_others
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.statistics import data_copying


def pictures(count, seed, side=5):
    """Smooth random images of three kinds."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / (side - 1)
    waves = np.stack([np.cos(np.pi * a * y) * np.cos(np.pi * b * x) for a in range(3) for b in range(3)])[1:]
    kind = rng.integers(0, 3, count)
    weights = 0.08 * rng.normal(size=(count, len(waves)))
    weights[np.arange(count), kind] += 0.2
    return (0.5 + weights @ waves.reshape(len(waves), -1)).clip(0, 1).astype(np.float32).reshape(count, 1, side, side)


TRAINING, HOLDOUT = pictures(60, 1), pictures(60, 2)


def sets(training=TRAINING, holdout=HOLDOUT):
    return ImageSet.of(training, "member"), ImageSet.of(holdout, "non-member")


@pytest.fixture(scope="module")
def fresh():
    return pictures(80, 3)


@pytest.fixture(scope="module")
def found(fresh):
    return measure_replication([fresh[:50], fresh[50:]], *sets(), seed=1)


def pairwise(a, b):
    return rms(a[:, None], b[None])


def test_distances_are_those_of_brute_force_to_both_sets(found, fresh):
    to_training, to_holdout = pairwise(fresh, TRAINING), pairwise(fresh, HOLDOUT)
    np.testing.assert_allclose(found.generations.distances, to_training.min(1), rtol=1e-6)
    assert np.array_equal(found.generations.nearest, to_training.argmin(1))
    np.testing.assert_allclose(found.holdout_distances, to_holdout.min(1), rtol=1e-6)
    assert np.array_equal(found.nearest_holdout, to_holdout.argmin(1))
    np.testing.assert_allclose(found.unseen.distances, pairwise(HOLDOUT, TRAINING).min(1), rtol=1e-6)


def test_authenticity_agrees_with_a_naive_twin(found, fresh):
    inside = pairwise(TRAINING, TRAINING) + np.where(np.eye(60, dtype=bool), np.inf, 0.0)
    to_training = pairwise(fresh, TRAINING)
    expected = to_training.min(1) > inside[to_training.argmin(1)].min(1)
    assert 0 < expected.sum() < 80
    assert np.array_equal(found.generations.authentic, expected)


def test_similarities_are_cosines_of_the_pixels(found, fresh):
    def unit(images):
        flat = images.reshape(len(images), -1).astype(np.float64) + 1e-3
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    np.testing.assert_allclose(found.generations.similarities, (unit(fresh) @ unit(TRAINING).T).max(1), atol=1e-6)
    among = unit(TRAINING) @ unit(TRAINING).T - 2.0 * np.eye(60)
    np.testing.assert_allclose(found.background, among.max(1), atol=1e-6)
    assert found.similarity == "pixels at 32x32 1"


def test_a_duplicated_training_image_does_not_make_its_copies_authentic():
    twin = TRAINING[:1] + np.float32(0.001)
    training, holdout = sets(np.concatenate([TRAINING[:59], twin]))
    copies = TRAINING[:1] + np.float32(0.0003) * np.random.default_rng(1).normal(size=(4, 1, 5, 5)).astype(np.float32)
    assert not measure_replication([copies], training, holdout).generations.authentic.any()
    space = Space(training)
    (near,) = distance_to_others(space, training, np.array([0]), duplicate_distance=0.0)
    (far,) = distance_to_others(space, training, np.array([0]), duplicate_distance=0.02)
    assert near == pytest.approx(0.001, rel=0.01)
    assert far > 0.02


def test_training_images_that_are_all_duplicates_have_no_neighbours():
    flat = np.stack([np.full((1, 4, 4), 0.5 + 0.0001 * i, dtype=np.float32) for i in range(12)])
    training = ImageSet.of(flat, "member")
    with pytest.raises(UsageError, match=r"All 12 training images are within 0\.02 of each other"):
        distance_to_others(Space(training), training, np.arange(3), duplicate_distance=0.02)


def test_cells_are_those_of_their_own_training_images():
    training, _ = sets()
    cells = Cells(Space(training), training, cells=3, components=8, seed=0)
    labels, distances = cells.place(TRAINING)
    assert np.unique(labels).tolist() == [0, 1, 2]
    np.testing.assert_allclose(distances, 0.0, atol=1e-6)
    again, _ = Cells(Space(training), training, cells=3, components=8, seed=0).place(TRAINING)
    assert np.array_equal(labels, again)
    with pytest.raises(UsageError, match="`cells` must be fewer than the 60 training images, got 60"):
        Cells(Space(training), training, cells=60, components=8, seed=0)


def test_blurred_copies_are_conspicuous_in_every_metric_and_fresh_images_in_none(found):
    copies = np.concatenate([TRAINING, TRAINING])
    copies = copies + 0.004 * np.random.default_rng(4).normal(size=copies.shape).astype(np.float32)
    copied = measure_replication([copies], *sets(), seed=1)

    def meehan(r):
        both = (r.generations.cell_distances, r.generations.cells, r.unseen.cell_distances, r.unseen.cells)
        return data_copying(*both, cells=3, min_share=0.0)

    assert meehan(copied).value > 3.0 > abs(meehan(found).value)
    assert copied.generations.authentic.mean() < 0.05 < found.generations.authentic.mean()
    assert (copied.generations.distances < copied.holdout_distances).mean() > 0.95
    assert 0.3 < (found.generations.distances < found.holdout_distances).mean() < 0.7
    assert np.median(copied.generations.ratios) < 0.5 * np.median(found.generations.ratios)
    assert copied.generations.similarities.min() > np.quantile(found.unseen.similarities, 0.5)


def test_an_embedding_decides_in_its_own_space():
    mirrored = TRAINING[:, :, :, ::-1].copy()
    blind = Embedding.of(lambda x: (x + x.flip(-1)).flatten(1), name="mirror-blind", version="1")
    plain, seen = (measure_replication([mirrored], *sets(), embedding=e) for e in (None, blind))
    assert seen.generations.distances.max() < 1e-6 < plain.generations.distances.max()
    assert seen.generations.similarities.min() == pytest.approx(1.0, abs=1e-6)
    assert not seen.generations.authentic.any()
    assert (seen.space, seen.similarity) == ("mirror-blind 1", "mirror-blind 1")
    assert plain.space == "pixels"


def test_blocks_change_nothing(fresh):
    whole, pieces = (measure_replication(b, *sets(), seed=1) for b in ([fresh], np.split(fresh, 8)))
    for name in ("distances", "nearest", "authentic", "ratios", "cells"):
        assert np.array_equal(getattr(whole.generations, name), getattr(pieces.generations, name)), name


def test_the_larger_side_is_thinned_at_random():
    training, holdout = equal_sides(ProbeSet(TRAINING, HOLDOUT[:25]), seed=3)
    assert (len(training), len(holdout)) == (25, 25)
    again, _ = equal_sides(ProbeSet(TRAINING, HOLDOUT[:25]), seed=3)
    other, _ = equal_sides(ProbeSet(TRAINING, HOLDOUT[:25]), seed=4)
    assert training.digests == again.digests != other.digests
    with pytest.raises(ProbeError, match="at least 10 members and non-members, got 9"):
        equal_sides(ProbeSet(TRAINING, HOLDOUT[:9]), seed=0)
    with pytest.raises(ProbeError, match="`holdout` must hold as many images"):
        measure_replication([TRAINING], *sets(holdout=HOLDOUT[:30]))
