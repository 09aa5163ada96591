"""With how many probes is a checkpoint told from one that was trained for two more epochs?

A small model learns 898 of scikit-learn's digits; its checkpoint after 58 epochs is the last release, the one after 60
epochs the new one. The same attack with the same noise scores the same members and non-members under both. Told apart
means: the lower bound of the paired difference of the AUROCs (DeLong) is above 0, or, without pairing, the lower bound
of the new AUROC is above the upper bound of the old one; all bounds one-sided 95 %. The number of probes is that at
which this happens with probability 0.8, by the normal approximation from the variances of all probes; for the paired
comparison it is checked by drawing subsets of that size, where there are enough digits.

Target: for every attack whose AUROC grew, the paired comparison needs fewer probes; and for the loss it did grow.

    python -m tests.benchmarks.paired_comparison --json tests/benchmarks/results/paired_comparison.json
"""

from __future__ import annotations

import copy
import math
import sys
from typing import Any, TypeAlias

import numpy as np
import torch
from build_digits import LEAKY, Recipe, digit_images, distinct_rows, draw_split, make_scheduler, train
from diffusers import UNet2DModel
from numpy.typing import NDArray
from scipy import special

from pytest_diffprivacy import load_model
from pytest_diffprivacy.membership import ATTACKS
from pytest_diffprivacy.statistics import auroc, auroc_difference
from tests.benchmarks.table import arguments, conclude

Scores: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]

COLUMNS = ("attack", "old AUROC", "new AUROC", "increase", "paired probes", "unpaired probes", "told in subsets")
MEMBERS, BATCH, EPOCHS, MORE = 898, 64, 58, 2
PER_EPOCH = math.ceil(MEMBERS / BATCH)
RECIPE = Recipe(
    name="digits-paired",
    ladder={1: MEMBERS},
    steps=(EPOCHS + MORE) * PER_EPOCH,
    dropout=0.0,
    augment=False,
    split_seed=3,
    train_seed=LEAKY.train_seed,
    batch_size=BATCH,
)
ASKED = {"loss": {"draws": 5}, "sima": {}}
POWER, SUBSETS = 0.8, 300


def checkpoints() -> tuple[dict[int, UNet2DModel], Scores]:
    """Epoch -> model, and the images of members and non-members in [0, 1]."""
    torch.set_num_threads(1)
    images = digit_images()
    split = draw_split(distinct_rows(images), RECIPE.ladder, RECIPE.split_seed)
    kept: dict[int, UNet2DModel] = {}

    def keep(step: int, averaged: UNet2DModel) -> None:
        if step in (EPOCHS * PER_EPOCH, RECIPE.steps):
            kept[step // PER_EPOCH] = copy.deepcopy(averaged)

    train(images, split, RECIPE, at_checkpoint=keep)
    return kept, ((images[split.members] + 1) / 2, (images[split.non_members] + 1) / 2)


def scored(unet: UNet2DModel, images: Scores, name: str) -> Scores:
    """The attack's scores of both sides."""
    attack, model = ATTACKS[name], load_model(unet, scheduler=make_scheduler())
    chosen = {**attack.defaults, **ASKED[name]}
    first, second = (attack.scores(model, torch.from_numpy(side), **chosen) for side in images)
    return first, second


def compared(name: str, old: Scores, new: Scores) -> dict[str, Any]:
    """Probes a side with which each comparison tells the releases apart."""
    paired, before, after = auroc_difference(new, old), auroc(*old), auroc(*new)
    size = min(len(old[0]), len(old[1]))
    spread = math.sqrt(paired.variance)
    apart = math.sqrt(before.variance) + math.sqrt(after.variance)
    alpha, power = float(special.ndtri(0.95)), float(special.ndtri(POWER))

    def needed(width: float) -> int | None:
        return math.ceil(size * ((alpha * width + power * spread) / paired.value) ** 2) if paired.value > 0 else None

    line: dict[str, Any] = {
        "attack": ATTACKS[name].title,
        "old AUROC": before.value,
        "new AUROC": after.value,
        "increase": f"{paired.value:.4f} [{paired.low:.4f}, {paired.high:.4f}]",
        "paired probes": needed(spread),
        "unpaired probes": needed(apart),
    }
    few = line["paired probes"]
    if few is not None and few <= size:
        line["told in subsets"] = f"{told(old, new, few):.2f}"
    return line


def told(old: Scores, new: Scores, size: int) -> float:
    """Share of random subsets of this size in which the paired comparison tells the releases apart."""
    stream, found = np.random.default_rng(31), 0
    for _ in range(SUBSETS):
        i, j = (stream.choice(len(side), size, replace=False) for side in old)
        found += auroc_difference((new[0][i], new[1][j]), (old[0][i], old[1][j])).low > 0.0
    return found / SUBSETS


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    models, images = checkpoints()
    rows = [compared(name, *(scored(models[epoch], images, name) for epoch in sorted(models))) for name in ASKED]
    targets = {"the loss's AUROC grew": rows[0]["paired probes"] is not None}
    for row in rows:
        if row["paired probes"] is not None:
            fewer = row["paired probes"] < row["unpaired probes"]
            targets[f"{row['attack']}: paired needs fewer probes than two intervals"] = fewer
    facts = {"epochs": [EPOCHS, EPOCHS + MORE], "members": len(images[0]), "non-members": len(images[1])}
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json, facts=facts)


if __name__ == "__main__":
    sys.exit(main())
