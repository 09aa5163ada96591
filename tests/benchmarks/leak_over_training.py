"""How does membership leakage grow while a model is trained, and what becomes of its samples?

Checkpoints of one of the example models: TPR at 1 % FPR of the loss, SecMI, PIA and SimA with one-sided 95 % bounds,
beside the Fréchet distance of 500 samples to the non-members in the 32 leading principal components of the members'
pixels (lower = better; the members' own distance is the floor). Follows Carlini et al. 2023, Figure 11, whose quality
measure is the FID; there is no Inception network here.

The builders write the checkpoints (about 8 and 23 minutes):
    python example_audits/build_digits.py --out DIR --only digits-leaky --keep 250 500 1000 2000 4000 6000
    python example_audits/build_mnist.py --out DIR

Target: at least 5 checkpoints, and for `digits-leaky` a loss whose last lower bound exceeds its first upper bound.

    python -m tests.benchmarks.leak_over_training digits-leaky DIR --json tests/benchmarks/results/leak_digits.json
    python -m tests.benchmarks.leak_over_training mnist DIR --json tests/benchmarks/results/leak_mnist.json
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from digits_probes import digits_probes
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from sklearn.decomposition import PCA

from pytest_diffprivacy import load_model
from pytest_diffprivacy.membership import ATTACKS
from pytest_diffprivacy.statistics import TprAtFpr, tpr_at_fpr
from tests.benchmarks.membership_table import mnist_probes
from tests.benchmarks.table import arguments, bounds, conclude

NAMES = ("loss", "secmi", "pia", "sima")
SAMPLES = 500
COMPONENTS = 32


def frechet(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Fréchet distance of two Gaussians fitted to rows of features."""
    root = np.real(sqrtm(np.cov(a.T) @ np.cov(b.T)))
    difference = a.mean(0) - b.mean(0)
    return float(difference @ difference + np.trace(np.cov(a.T) + np.cov(b.T) - 2.0 * root))


def main() -> int:
    """Print the table."""
    parser = arguments(__doc__ or "")
    parser.add_argument("model", choices=("digits-leaky", "mnist"))
    parser.add_argument("folder", type=Path, help="what the builder was given as --out")
    given = parser.parse_args()
    probes = mnist_probes() if given.model == "mnist" else digits_probes(given.model)
    members = probes.members.load(range(len(probes.members)))
    others = probes.nonmembers.load(range(len(probes.nonmembers)))
    pca = PCA(COMPONENTS, random_state=0).fit(members.reshape(len(members), -1))

    def features(images: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(pca.transform(images.reshape(len(images), -1)), dtype=np.float64)

    rows: list[dict[str, Any]] = []
    loss: list[TprAtFpr] = []
    for folder in sorted((given.folder / given.model).glob("step-*")):
        model = load_model(folder)
        row: dict[str, Any] = {"steps": int(folder.name.removeprefix("step-"))}
        for name in NAMES:
            attack = ATTACKS[name]
            inside = attack.scores(model, torch.from_numpy(members), **attack.defaults)
            outside = attack.scores(model, torch.from_numpy(others), **attack.defaults)
            tpr = tpr_at_fpr(inside, outside, max_fpr=0.01)
            row[name] = bounds(tpr.value, tpr.low, tpr.high)
            if name == "loss":
                loss.append(tpr)
        samples = model.generate(list(range(SAMPLES)), steps=50).numpy()
        row["Fréchet distance"] = round(frechet(features(samples), features(others)), 3)
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    floor = frechet(features(members[:SAMPLES]), features(others))
    targets = {"at least 5 checkpoints": len(rows) >= 5}
    if given.model == "digits-leaky":
        targets["the loss's TPR grows beyond its bounds"] = loss[-1].low > loss[0].high
    facts = {"floor: members' own Fréchet distance": round(floor, 3)}
    print(f"{SAMPLES} members' own Fréchet distance: {floor:.3f}")
    return conclude(
        __doc__ or "", ("steps", *NAMES, "Fréchet distance"), rows, targets, json_path=given.json, facts=facts
    )


if __name__ == "__main__":
    sys.exit(main())
