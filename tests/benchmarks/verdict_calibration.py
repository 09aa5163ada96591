"""How often are the bounds of a TPR, and the verdicts drawn from them, wrong? Ours beside the two usual recipes.

Scores are Gaussian: members shifted by 0 (no leak) or 1 (a leak), so the true TPR is known. From 100 to 5,000 images
a side, at an FPR of 0.1, 1 and 5 % (as far as the non-members show it). Each recipe bounds the TPR twice, one-sided
at 95 %:

- ours: order statistic of the non-members and Clopper-Pearson, split exactly for the limit (here: the truth);
- plug-in: Clopper-Pearson at the threshold that the non-members' ROC gives, as if it were known;
- bootstrap: 5 and 95 % percentiles of 199 resamples of both sides with the threshold picked again.

A false PASS is an upper bound at or below a limit that the truth just exceeds (by 2 %), a false FAIL a lower bound
above a limit that the truth just meets.

Targets: our bounds cover at least 95 % each, and our false PASS and FAIL rates are at most 5 %, in every case, within
three standard errors of the simulation. The plug-in's failure is shown, not hidden: it misses its nominal rate
somewhere.

    python -m tests.benchmarks.verdict_calibration --json tests/benchmarks/results/verdict_calibration.json
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pytest_diffprivacy.statistics import Verdict, decide
from pytest_diffprivacy.statistics.binomial import lower_bound, upper_bound
from pytest_diffprivacy.statistics.tpr import tpr_bounds
from tests.benchmarks.table import arguments, conclude

SIZES = ((100, 100), (100, 1000), (300, 300), (1000, 1000), (5000, 5000))  # non-members, members
FPRS = (0.001, 0.01, 0.05)
SHIFTS = (0.0, 1.0)
RUNS, RESAMPLED, RESAMPLES = 2000, 200, 199
SIGNIFICANCE = 0.05
MARGIN = 1.02
COLUMNS = (
    "recipe",
    "others",
    "members",
    "FPR",
    "shift",
    "true TPR",
    "low holds",
    "high holds",
    "false FAIL",
    "false PASS",
)

Vector = NDArray[np.float64]


class Bounds:
    """Two bounds as `decide` takes them."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high, self.value, self.confidence = low, high, (low + high) / 2.0, 1.0 - SIGNIFICANCE


def plug_in(members: Vector, others: Vector, x: float) -> Bounds:
    """The usual recipe; `others` highest first."""
    hits = int((members > others[math.floor(x * len(others) + 1e-9)]).sum())
    n = len(members)
    return Bounds(lower_bound(hits, n, SIGNIFICANCE), upper_bound(hits, n, SIGNIFICANCE))


def ours(members: Vector, others: Vector, x: float, limit: float) -> Bounds:
    """What every claim uses."""
    found = tpr_bounds(members, others, x, SIGNIFICANCE, limit=limit)
    return Bounds(found.low, found.high)


def bootstrap(members: Vector, others: Vector, x: float, stream: np.random.Generator) -> Bounds:
    """Percentiles over resamples of both sides."""
    place, found = math.floor(x * len(others) + 1e-9), np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        drawn = others[stream.integers(len(others), size=len(others))]
        threshold = np.partition(drawn, len(drawn) - 1 - place)[len(drawn) - 1 - place]
        found[i] = (members[stream.integers(len(members), size=len(members))] > threshold).mean()
    low, high = np.quantile(found, [SIGNIFICANCE, 1.0 - SIGNIFICANCE])
    return Bounds(float(low), float(high))


def case(others: int, members: int, x: float, shift: float) -> list[dict[str, Any]]:
    """A row for each recipe."""
    truth = float(stats.norm.sf(stats.norm.isf(x) - shift))
    stream = np.random.default_rng([23, others, members, round(1e4 * x), round(shift)])
    found: dict[str, list[Bounds]] = {"ours": [], "plug-in": [], "bootstrap": []}
    for run in range(RUNS):
        inside, outside = stream.normal(shift, 1.0, members), np.sort(stream.normal(size=others))[::-1]
        found["ours"].append(ours(inside, outside, x, truth))
        found["plug-in"].append(plug_in(inside, outside, x))
        if run < RESAMPLED:
            found["bootstrap"].append(bootstrap(inside, outside, x, stream))
    return [
        {
            "recipe": recipe,
            "others": others,
            "members": members,
            "FPR": x,
            "shift": shift,
            "true TPR": truth,
            "runs": len(bounds),
            "low holds": float(np.mean([b.low <= truth for b in bounds])),
            "high holds": float(np.mean([b.high >= truth for b in bounds])),
            "false FAIL": float(np.mean([decide(b, truth * MARGIN).verdict is Verdict.FAIL for b in bounds])),
            "false PASS": float(np.mean([decide(b, truth / MARGIN).verdict is Verdict.PASS for b in bounds])),
        }
        for recipe, bounds in found.items()
    ]


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    rows = [
        row
        for others, members in SIZES
        for x in FPRS
        if x * others >= 1.0
        for shift in SHIFTS
        for row in case(others, members, x, shift)
    ]
    slack = 3.0 * math.sqrt(SIGNIFICANCE * (1.0 - SIGNIFICANCE) / RUNS)
    own, usual = ([r for r in rows if r["recipe"] == recipe] for recipe in ("ours", "plug-in"))
    least = min(min(r["low holds"], r["high holds"]) for r in own)
    most = max(max(r["false FAIL"], r["false PASS"]) for r in own)
    worst = min(min(r["low holds"], r["high holds"]) for r in usual)
    targets = {
        f"our bounds cover at least 95 % everywhere (least {least:.1%})": least >= 1.0 - SIGNIFICANCE - slack,
        f"our false verdicts are at most 5 % everywhere (most {most:.1%})": most <= SIGNIFICANCE + slack,
        f"the plug-in misses its nominal 95 % somewhere (least {worst:.1%})": worst < 1.0 - SIGNIFICANCE - slack,
    }
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json)


if __name__ == "__main__":
    sys.exit(main())
