"""Exact or partial: pictures whose common part is known."""

import numpy as np
import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.memorization.kind import Kind, bright_area, prompt_kinds


def generations(common_rows, count=4, side=16, seed=0):
    """Pictures that are equal in their first rows and random below."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    images[:, :, :common_rows] = images[:1, :, :common_rows]
    return images


@pytest.mark.parametrize(
    ("common_rows", "kind", "agreement"),
    [
        (16, Kind.EXACT, 1.0),
        (12, Kind.EXACT, 0.75),
        (8, Kind.PARTIAL, 0.5),
        (4, Kind.PARTIAL, 0.25),
        (0, Kind.UNCLEAR, 0.0),
    ],
)
def test_the_kind_follows_from_the_share_of_common_tiles(common_rows, kind, agreement):
    (result,) = prompt_kinds(generations(common_rows)[None])
    assert result.kind is kind
    assert result.agreement == pytest.approx(agreement)
    assert result.bright_area is None


def test_small_differences_do_not_part_two_tiles():
    images = generations(16)
    noisy = np.clip(images.astype(int) + np.random.default_rng(1).integers(-20, 21, images.shape), 0, 255).astype(
        np.uint8
    )
    assert prompt_kinds(noisy[None])[0].kind is Kind.EXACT


def test_the_bright_area_is_the_share_above_the_mean():
    mask = np.zeros((1, 4, 4))
    mask[0, :, :1] = 1.0
    assert bright_area(mask) == 0.25
    assert bright_area(np.ones((2, 4, 4))) == 1.0
    assert prompt_kinds(generations(16)[None], mask[None])[0].bright_area == 0.25


def test_one_image_has_no_pairs():
    with pytest.raises(UsageError, match=r"`images` must be \(prompts, images >= 2"):
        prompt_kinds(generations(16, count=1)[None])
