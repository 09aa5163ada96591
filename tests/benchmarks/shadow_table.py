"""What do shadow models add to the loss?

Digits: LiRA on 16 models, half of 1,797 images members of each, and GSA on 4 models, half of 400. MNIST: LiRA and GSA
on the same 6 models, half of 800 images each (`mnist_shadows.py` states their recipe). Each model is the target once
with the others as its shadow models; mean over the targets and its standard error. Training takes long only once.

Strong LiRA averages 20 noise draws; averaging the training's augmentations as well would be the published form, but
these models were trained without any, and the digits' row with mirror images shows what it costs to pretend otherwise.

Target: strong LiRA beats plain LiRA beats the loss at 1 % FPR (digits); strong LiRA beats the loss (MNIST).

    python -m tests.benchmarks.shadow_table digits --json tests/benchmarks/results/shadow_table.json
    python -m tests.benchmarks.shadow_table mnist --json tests/benchmarks/results/shadow_table_mnist.json
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.membership.gsa import GsaClassifier
from pytest_diffprivacy.membership.lira import leave_one_out
from pytest_diffprivacy.membership.shadow import ShadowScores
from pytest_diffprivacy.statistics import auroc, tpr_at_fpr
from tests.benchmarks.digits_shadows import gsa_shadows, lira_shadows
from tests.benchmarks.mnist_shadows import mnist_shadows
from tests.benchmarks.table import arguments, conclude

COLUMNS = ("attack", "targets", "AUROC", "TPR at 1 %", "evaluations")


def of_targets(scores: NDArray[np.float64], shadows: ShadowScores, attack: str) -> dict[str, Any]:
    """Mean over targets, with the standard error of the mean: each model is the target once."""
    pairs = [(own[inside], own[~inside]) for own, inside in zip(scores, shadows.membership, strict=True)]
    areas = [auroc(*pair).value for pair in pairs]
    line: dict[str, Any] = {"attack": attack, "targets": len(pairs), "AUROC": _mean(areas)}
    line["TPR at 1 %"] = _mean([tpr_at_fpr(*pair, max_fpr=0.01).value for pair in pairs])
    return line


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.3f}"


def lira_rows(plain: ShadowScores, strong: ShadowScores) -> list[dict[str, Any]]:
    """The loss and LiRA with one draw and with 20."""
    rest = len(plain) - 1
    return [
        of_targets(-plain.losses, plain, "Denoising loss, 1 draw") | {"evaluations": 1},
        of_targets(-strong.losses, strong, "Denoising loss, 20 draws") | {"evaluations": 20},
        of_targets(leave_one_out(plain), plain, f"LiRA, {rest} shadow models") | {"evaluations": 1},
        of_targets(leave_one_out(strong), strong, f"Strong LiRA, {rest} shadow models") | {"evaluations": 20},
    ]


def gsa_row(shadows: ShadowScores) -> dict[str, Any]:
    """GSA with the other models as shadow models."""
    scores = []
    for target in range(len(shadows)):
        rest = shadows.without(target)
        features = rest.features.reshape(-1, rest.features.shape[2])
        classifier = GsaClassifier.fit(features, rest.membership.reshape(-1))
        scores.append(classifier.scores(shadows.features[target]))
    line = of_targets(np.stack(scores), shadows, f"GSA1, {len(shadows) - 1} shadow models")
    return line | {"evaluations": shadows.asked.evaluations}


def main() -> int:
    """Print the table."""
    parser = arguments(__doc__ or "")
    parser.add_argument("model", choices=("digits", "mnist"))
    given = parser.parse_args()
    if given.model == "digits":
        plain, strong, mirrored = lira_shadows()
        rows = lira_rows(plain, strong)
        more = of_targets(leave_one_out(mirrored), mirrored, "Strong LiRA with mirror images") | {"evaluations": 40}
        rows += [more, gsa_row(gsa_shadows())]
    else:
        plain, strong, gradients = mnist_shadows()
        rows = [*lira_rows(plain, strong), gsa_row(gradients)]
    loss, averaged, lira, best = (float(line["TPR at 1 %"].split()[0]) for line in rows[:4])
    targets = {"strong LiRA > loss of 20 draws at 1 % FPR": best > averaged}
    if given.model == "digits":
        targets |= {"strong LiRA > LiRA at 1 % FPR": best > lira, "LiRA > loss at 1 % FPR": lira > loss}
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json)


if __name__ == "__main__":
    sys.exit(main())
