import numpy as np
import pytest
import torch

from pytest_diffprivacy.distances import Embedding
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.mitigation import DetectorSimilarity, PixelDistance

TRAINING = np.stack([np.zeros((1, 2, 2)), np.full((1, 2, 2), 0.8)]).astype(np.float32)
IMAGES = np.stack([np.full((1, 2, 2), 0.1), np.full((1, 2, 2), 0.5)]).astype(np.float32)


def test_pixels_are_compared_with_the_nearest_training_image():
    measure = PixelDistance(delta=0.2)
    found = measure.measure(IMAGES, TRAINING)
    np.testing.assert_allclose(found, [0.1, 0.3], atol=1e-6)
    assert measure.copies(found).tolist() == [True, False]
    assert PixelDistance(delta=0.1000001).copies(np.array([0.1, 0.11])).tolist() == [True, False]


def test_a_copy_detector_counts_the_most_similar_training_image():
    embedding = Embedding.of(
        lambda x: torch.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], 1), name="mean", version="1"
    )
    measure = DetectorSimilarity(embedding, limit=0.9)
    found = measure.measure(IMAGES, TRAINING)
    unit = {m: np.array([m, 1 - m]) / np.hypot(m, 1 - m) for m in (0.0, 0.1, 0.5, 0.8)}
    expected = [max(unit[m] @ unit[t] for t in (0.0, 0.8)) for m in (0.1, 0.5)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert measure.copies(np.array([0.9, 0.89])).tolist() == [True, False]
    assert embedding.digest[:12] in measure.name


@pytest.mark.parametrize("delta", [0.0, 1.5])
def test_a_limit_that_is_no_distance_is_refused(delta):
    with pytest.raises(UsageError, match="`delta` must be an RMS distance in"):
        PixelDistance(delta=delta)
