"""Which images does membership inference find easily, and which hardly? Outliers and duplicates, by LiRA on digits.

400 digits: 340 of them, and 30 pairs that differ in one pixel by one of its 16 levels. 8 models are trained on halves
of them; each is the target once, with the others as shadow models. How easy an image is: its mean LiRA score over the
models that saw it minus that over those that did not. How much of an outlier: its mean RMS distance to the 20 nearest
of the others (to its twin no distance is taken). About 6 minutes on one quiet core; a killed run continues.

Targets: among the hardest tenth are more duplicates than in the pool, and the easiest tenth are outliers: means with
one-sided 95 % bounds (Carlini et al. 2023, Figure 20).

    python -m tests.benchmarks.easy_and_hard --json tests/benchmarks/results/easy_and_hard.json
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from build_digits import Recipe, Split, digit_images, make_scheduler, train
from numpy.typing import NDArray
from scipy import stats

from pytest_diffprivacy.membership import ShadowScores, loss_measure, train_shadows
from pytest_diffprivacy.membership.lira import leave_one_out
from pytest_diffprivacy.models import PixelDiffusion
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.statistics import mean_difference, rate
from tests.benchmarks.digits_shadows import SHADOW, engine
from tests.benchmarks.table import arguments, bounds, conclude

MODELS, STEPS = 8, 500
SINGLE, PAIRS = 340, 30
NEAREST, TENTH, SHOWN = 20, 40, 8
DESCRIPTION = {"recipe": "build_digits.train", "version": 1, "steps": STEPS, "pool": [SINGLE, PAIRS]}


def pool() -> NDArray[np.float32]:
    """Float32 (400, 1, 8, 8) in [-1, 1]: the single images, then the first and then the second of each pair."""
    images = digit_images()[np.random.default_rng(20).permutation(1797)[: SINGLE + PAIRS]]
    twins = images[SINGLE:].copy()
    pixel = twins[:, 0, 4, 4]
    twins[:, 0, 4, 4] = np.where(pixel > 0.0, pixel - 0.125, pixel + 0.125)  # one of 16 levels
    return np.concatenate([images, twins])


def outlying(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean RMS distance, on [0, 1], to the nearest images that are no twins: float64 (images,)."""
    flat = images.reshape(len(images), -1).astype(np.float64) / 2.0
    squared = ((flat[:, None] - flat[None]) ** 2).mean(2)
    np.fill_diagonal(squared, np.inf)
    first, second = np.arange(SINGLE, SINGLE + PAIRS), np.arange(SINGLE + PAIRS, SINGLE + 2 * PAIRS)
    squared[first, second] = squared[second, first] = np.inf
    return np.asarray(np.sqrt(np.sort(squared, axis=1)[:, :NEAREST]).mean(1))


def shadows(images: NDArray[np.float32]) -> ShadowScores:
    """Losses of 20 draws of every image, by every model."""

    def trained(indices: NDArray[np.int64], seed: int) -> PixelDiffusion:
        recipe = Recipe(**{**vars(SHADOW), "train_seed": seed, "steps": STEPS})
        split = Split(indices.tolist(), [1] * len(indices), [])
        return PixelDiffusion(train(images, split, recipe), make_scheduler(), name=f"digits-easy-{seed}")

    measures = [loss_measure(draws=20, flip=False)]
    given = ImageSet.of((images + 1.0) / 2.0, "digit")
    return train_shadows(given, trained, measures, recipe=DESCRIPTION, models=MODELS, seed=20, engine=engine())[0]


def ease(found: ShadowScores) -> NDArray[np.float64]:
    """Mean LiRA score of each image where it was trained on, minus that where it was not."""
    scores, inside = leave_one_out(found), found.membership
    return np.asarray([own[saw].mean() - own[~saw].mean() for own, saw in zip(scores.T, inside.T, strict=True)])


def rows_of(easy: NDArray[np.float64], far: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Duplicates and outliers among the hardest and the easiest, and over all."""
    twin = np.arange(len(easy)) >= SINGLE
    order = np.argsort(easy)
    rows = []
    for name, chosen in (("hardest tenth", order[:TENTH]), ("easiest tenth", order[-TENTH:]), ("all", order)):
        share = rate(int(twin[chosen].sum()), len(chosen))
        rest = np.setdiff1d(order, chosen)
        line: dict[str, Any] = {"images": name, "duplicates": bounds(share.value, share.low, share.high)}
        line |= {"outlying": float(far[chosen].mean()), "ease": float(easy[chosen].mean()), "low": share.low}
        if len(rest):
            more = mean_difference(far[chosen], far[rest])
            line |= {"outlying, more than the rest": bounds(more.value, more.low, more.high), "more, low": more.low}
        rows.append(line)
    return rows


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    images = pool()
    easy, far = ease(shadows(images)), outlying(images)
    rows = rows_of(easy, far)
    twin = np.arange(len(easy)) >= SINGLE
    together = stats.spearmanr(easy[~twin], far[~twin])
    apart = mean_difference(easy[~twin], easy[twin])
    facts = {
        "models": MODELS,
        "Spearman correlation of ease and outlying, single images": round(float(together.statistic), 3),
        "its p-value": float(together.pvalue),
        "ease, single images minus duplicates": bounds(apart.value, apart.low, apart.high),
        "ease": [round(float(value), 3) for value in easy],
        "outlying": [round(float(value), 4) for value in far],
        "single images": SINGLE,
        "pictures": {
            name: [np.rint((images[i, 0] + 1.0) * 8.0).astype(int).reshape(-1).tolist() for i in places]
            for name, places in (("hardest", np.argsort(easy)[:SHOWN]), ("easiest", np.argsort(-easy)[:SHOWN]))
        },
    }
    targets = {
        "more duplicates among the hardest tenth than in the pool": rows[0]["low"] > 2 * PAIRS / len(easy),
        "the easiest tenth lie farther out than the rest": rows[1]["more, low"] > 0.0,
    }
    columns = ("images", "duplicates", "outlying", "outlying, more than the rest", "ease")
    return conclude(__doc__ or "", columns, rows, targets, json_path=given.json, facts=facts)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
