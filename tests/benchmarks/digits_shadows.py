"""What do 16 models of the digits say, each trained on its own random half? The shadow models of the membership table.

Training and measuring them takes about half an hour on one core; results are stored and a killed run continues.

    python -m tests.benchmarks.digits_shadows
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from build_digits import Recipe, Split, digit_images, make_scheduler, train
from numpy.typing import NDArray

from pytest_diffprivacy.engine import Engine
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.membership import Measure, ShadowScores, gsa_measure, loss_measure, train_shadows
from pytest_diffprivacy.models import PixelDiffusion
from pytest_diffprivacy.probes import ImageSet
from tests.benchmarks import ROOT

LIRA_MODELS = 16
GSA_MODELS = 4
GSA_IMAGES = 400
GSA_STEPS = 500
SHADOW = Recipe(
    name="digits-shadow",
    ladder={},
    steps=1500,
    dropout=0.0,
    augment=False,
    split_seed=0,
    train_seed=0,
    channels=(16, 32),
)
DESCRIPTION = {"recipe": "build_digits.train", "version": 1, "steps": SHADOW.steps, "channels": list(SHADOW.channels)}


def digit_pool() -> ImageSet:
    """All digits as one pool of probes."""
    return ImageSet.of((digit_images() + 1.0) / 2.0, "digit")


def train_digits(indices: NDArray[np.int64], seed: int) -> PixelDiffusion:
    """One model of some of the digits."""
    recipe = Recipe(**{**vars(SHADOW), "train_seed": seed})
    split = Split(indices.tolist(), [1] * len(indices), [])
    return PixelDiffusion(train(digit_images(), split, recipe), make_scheduler(), name=f"digits-shadow-{seed}")


def measured(measures: list[Measure], models: int) -> tuple[ShadowScores, ...]:
    """The measures of shadow models, from the store where they are there."""
    return train_shadows(
        digit_pool(), train_digits, measures, recipe=DESCRIPTION, models=models, seed=0, engine=engine()
    )


def engine() -> Engine:
    """Where results are kept."""
    return Engine(Store(ROOT / ".diffprivacy"), batch_size=256, progress=sys.stderr)


def lira_shadows() -> tuple[ShadowScores, ShadowScores, ShadowScores]:
    """One noise draw; 20 draws; 20 draws of the image and of its mirror image, which no model was trained on."""
    measures = [loss_measure(draws=1, flip=False), loss_measure(draws=20, flip=False), loss_measure(draws=20)]
    plain, strong, mirrored = measured(measures, LIRA_MODELS)
    return plain, strong, mirrored


def gsa_shadows() -> ShadowScores:
    """GSA1 features, ten backward passes an image: of fewer models, trained on halves of fewer digits."""
    images = digit_images()[np.random.default_rng(0).permutation(1797)[:GSA_IMAGES]]

    def train_few(indices: NDArray[np.int64], seed: int) -> PixelDiffusion:
        recipe = Recipe(**{**vars(SHADOW), "train_seed": seed, "steps": GSA_STEPS})
        split = Split(indices.tolist(), [1] * len(indices), [])
        return PixelDiffusion(train(images, split, recipe), make_scheduler(), name=f"digits-gsa-{seed}")

    description = {**DESCRIPTION, "steps": GSA_STEPS, "images": GSA_IMAGES}
    pool = ImageSet.of((images + 1.0) / 2.0, "digit")
    return train_shadows(
        pool, train_few, [gsa_measure(variant=1)], recipe=description, models=GSA_MODELS, seed=0, engine=engine()
    )[0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    lira_shadows()
    gsa_shadows()
