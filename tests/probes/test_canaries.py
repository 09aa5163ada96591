from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytest_diffprivacy.errors import EvidenceError, ProbeError, UsageError
from pytest_diffprivacy.evidence.arrays import write_arrays
from pytest_diffprivacy.probes import CanarySet, plant_canaries

IMAGES = np.random.default_rng(91).random((160, 4, 4)).astype(np.float32)
TRAINING, CANARIES = IMAGES[:60], IMAGES[60:]


def test_about_half_of_the_canaries_are_planted_by_their_coins() -> None:
    planted = plant_canaries(TRAINING, CANARIES, seed=5)
    coins = np.random.default_rng(5).random(100) < 0.5
    np.testing.assert_array_equal(planted.canaries.included, coins)
    assert planted.images.shape == (60 + coins.sum(), 1, 4, 4)
    np.testing.assert_array_equal(planted.images[:60, 0], TRAINING)
    np.testing.assert_array_equal(planted.images[60:, 0], CANARIES[coins])


def test_coins_are_fair_and_independent_and_not_exactly_half() -> None:
    included = np.array([plant_canaries(TRAINING[:1], CANARIES[:20], seed=s).canaries.included for s in range(400)])
    assert abs(included.mean() - 0.5) < 0.02
    assert included.sum(1).std() == pytest.approx(np.sqrt(20 / 4), rel=0.15)
    assert np.abs(np.corrcoef(included.T)[~np.eye(20, dtype=bool)]).max() < 0.2


def test_a_stored_set_is_read_back_with_its_coins_tossed_again(tmp_path: Path) -> None:
    canaries = plant_canaries(TRAINING, CANARIES, seed=2**62).canaries
    canaries.save(tmp_path / "canaries.safetensors")
    again = CanarySet.load(tmp_path / "canaries.safetensors")
    assert (again.seed, len(again)) == (2**62, 100)
    np.testing.assert_array_equal(again.included, canaries.included)
    np.testing.assert_array_equal(again.images, canaries.images)


@pytest.mark.parametrize("chosen", ["one coin turned", "exactly half", "another seed"])
def test_an_assignment_that_is_not_that_of_its_seed_is_refused(tmp_path: Path, chosen: str) -> None:
    canaries = plant_canaries(TRAINING, CANARIES, seed=5).canaries
    included, seed = canaries.included.copy(), 5
    if chosen == "one coin turned":
        included[17] = ~included[17]
    elif chosen == "exactly half":
        included[:] = np.arange(100) < 50
    else:
        seed = 6
    with pytest.raises(ProbeError, match=r"`included` must be the fair coins of seed \d, got \d+ of 100 that differ"):
        CanarySet(canaries.images, included, seed)
    path = tmp_path / "forged.safetensors"
    write_arrays(path, {"images": canaries.images, "included": included, "seed": np.array([seed])}, {})
    with pytest.raises(ProbeError, match="plant_canaries and train again"):
        CanarySet.load(path)


@pytest.mark.parametrize(
    ("training", "canaries", "seed", "error", "message"),
    [
        (TRAINING, np.concatenate([CANARIES, CANARIES[:1]]), 1, ProbeError, "`images` must all differ"),
        (TRAINING, TRAINING[:3], 1, ProbeError, "already, got 3 of 3 that are"),
        (TRAINING, IMAGES[:9, :3], 1, ProbeError, r"must have the training images' shape \(1, 4, 4\)"),
        (TRAINING, CANARIES, -1, UsageError, "`seed` must be a whole number"),
        (TRAINING, CANARIES, True, UsageError, "`seed` must be a whole number"),
    ],
)
def test_canaries_that_are_no_canaries_are_refused(training, canaries, seed, error, message) -> None:
    with pytest.raises(error, match=message):
        plant_canaries(training, canaries, seed=seed)


def test_another_file_is_no_canary_set(tmp_path: Path) -> None:
    write_arrays(tmp_path / "other.safetensors", {"scores": np.zeros(3)}, {})
    with pytest.raises(EvidenceError, match="holds no canaries"):
        CanarySet.load(tmp_path / "other.safetensors")
