"""Which small models do the cases of `newer_attacks` need? Networks of the 8x8 digits, each of some of the digits.

Pool of the ratio attack and the usage share: 400 suspects and 400 others. A reference model is trained on a half of the
suspects and as many of the others; a target on a share of the suspects, filled up by others to the same size.
"""

from __future__ import annotations

import sys
from functools import lru_cache

import numpy as np
import torch
from build_digits import Recipe, Split, digit_images, make_scheduler, train
from numpy.typing import NDArray

from pytest_diffprivacy.engine import Engine
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.membership import Measure, ShadowScores, loss_measure, train_shadows
from pytest_diffprivacy.models import PixelDiffusion
from pytest_diffprivacy.probes import ImageSet
from tests.benchmarks import ROOT
from tests.benchmarks.newer_cases import Scores, kept

SUSPECTS, SIZE = 400, 400
PAIRS = 9
SHARES = (0.0, 0.1, 0.5, 1.0)
TARGETS = 2
STEPS = 600
POOL_SEED, SHADOW_SEED, TARGET_SEED = 1801, 1802, 1803
MEASURE: Measure = loss_measure(draws=20, flip=False)

Rows = NDArray[np.int64]


def small_network(
    images: NDArray[np.float32], repetitions: NDArray[np.int64], *, steps: int, seed: int, name: str
) -> PixelDiffusion:
    """A network of 16 and 32 channels trained on images (n, 1, 8, 8) in [-1, 1], each as often as it is repeated."""
    recipe = Recipe(
        name=name, ladder={}, steps=steps, dropout=0.0, augment=False, split_seed=0, train_seed=seed, channels=(16, 32)
    )
    split = Split(list(range(len(images))), repetitions.tolist(), [])
    return PixelDiffusion(train(images, split, recipe), make_scheduler(), name=name)


def digits_of(rows: Rows, *, seed: int, name: str, steps: int = STEPS) -> PixelDiffusion:
    """A network of these digits, each once."""
    return small_network(digit_images()[rows], np.ones(len(rows), dtype=np.int64), steps=steps, seed=seed, name=name)


@lru_cache(maxsize=1)
def pool() -> tuple[Rows, Rows]:
    """Rows of the suspects and of the others."""
    order = np.random.default_rng(POOL_SEED).permutation(len(digit_images()))
    return order[:SUSPECTS], order[SUSPECTS : SUSPECTS + SIZE]


def pixels(rows: Rows) -> NDArray[np.float32]:
    """Digits (n, 1, 8, 8) in [0, 1]."""
    return np.asarray((digit_images()[rows] + 1.0) / 2.0, dtype=np.float32)


def filled(indices: Rows, seed: int) -> PixelDiffusion:
    """A model of some of the suspects and of others, SIZE in all."""
    suspects, others = pool()
    more = np.random.default_rng([seed, 7]).permutation(others)[: SIZE - len(indices)]
    return digits_of(np.concatenate([suspects[indices], more]), seed=seed, name=f"digits-pool-{seed}")


def references() -> ShadowScores:
    """What 9 pairs of models measure on the suspects, of which one saw exactly those that the other did not."""
    suspects = ImageSet.of(pixels(pool()[0]), "suspect")
    description = {"recipe": "newer_models.filled", "version": 1, "steps": STEPS}
    engine = Engine(Store(ROOT / ".diffprivacy"), batch_size=400, progress=sys.stderr)
    return train_shadows(
        suspects, filled, [MEASURE], recipe=description, models=2 * PAIRS, seed=SHADOW_SEED, engine=engine
    )[0]


def target_losses(share: float, number: int) -> Scores:
    """Losses of the suspects by a model that was trained on a share of them."""
    place = SHARES.index(share)

    def compute() -> Scores:
        rng = np.random.default_rng([TARGET_SEED, place, number])
        model = filled(rng.permutation(SUSPECTS)[: round(share * SUSPECTS)], int(rng.integers(2**31)))
        images = torch.from_numpy(pixels(pool()[0]))
        return np.asarray(MEASURE.function(model, images, batch_size=400, **MEASURE.parameters), dtype=np.float64)

    return kept(f"usage-{share:g}-{number}", compute)
