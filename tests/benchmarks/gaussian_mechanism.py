"""Is a lower bound of epsilon below the truth, and how far? On a mechanism whose epsilon is known.

1,000 canaries, each included by a fair coin; a canary's score is Gaussian with deviation 1 and shifted by mu if it is
in: the Gaussian mechanism of sensitivity mu, whose epsilon at delta 1e-5 is known in closed form. Four bounds at 95
%: rates and Gaussian route with the threshold chosen on one half, the Gaussian route at threshold mu / 2 fixed
beforehand, and the one-run bound with 200 of the canaries guessed.

Targets: every bound is below the truth in at least 95 % of 400 runs (within three standard errors of the simulation);
the Gaussian route at a fixed threshold is above half of the truth (median) for every mu. The other bounds make no
assumption about the mechanism and prove less: they are shown.

    python -m tests.benchmarks.gaussian_mechanism --json tests/benchmarks/results/gaussian_mechanism.json
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.statistics import correct_guesses, epsilon_lower_bound, gaussian_epsilon, one_run_epsilon
from tests.benchmarks.table import arguments, conclude

CANARIES, RUNS, DELTA = 1000, 400, 1e-5
SHIFTS = (0.5, 1.0, 2.0, 3.0)
GUESSED = 100
COLUMNS = ("bound", "mu", "epsilon", "median", "share of truth", "below the truth")
FIXED = "Gaussian route, fixed threshold"

Scores = NDArray[np.float64]
Coins = NDArray[np.bool_]


def bounds(mu: float) -> dict[str, Callable[[Scores, Coins, int], float]]:
    """Name -> (scores, coins, run) -> lower bound."""

    def one_run(scores: Scores, coins: Coins, run: int) -> float:
        right = correct_guesses(scores, coins, guess_in=GUESSED, guess_out=GUESSED)
        return one_run_epsilon(CANARIES, 2 * GUESSED, right, delta=DELTA).value

    return {
        "rates, split": lambda s, c, run: epsilon_lower_bound(s[c], s[~c], delta=DELTA, seed=run).value,
        "Gaussian route, split": lambda s, c, run: (
            epsilon_lower_bound(s[c], s[~c], delta=DELTA, route="gaussian", seed=run).value
        ),
        FIXED: lambda s, c, run: (
            epsilon_lower_bound(s[c], s[~c], delta=DELTA, route="gaussian", threshold=mu / 2.0).value
        ),
        f"one run, {2 * GUESSED} guesses": one_run,
    }


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    rows: list[dict[str, Any]] = []
    for mu in SHIFTS:
        epsilon, stream = gaussian_epsilon(mu, DELTA), np.random.default_rng([37, round(10 * mu)])
        found: dict[str, list[float]] = {name: [] for name in bounds(mu)}
        for run in range(RUNS):
            coins = stream.random(CANARIES) < 0.5
            scores = stream.normal(size=CANARIES) + mu * coins
            for name, bound in bounds(mu).items():
                found[name].append(bound(scores, coins, run))
        for name, values in found.items():
            below, median = float(np.mean(np.array(values) <= epsilon)), float(np.median(values))
            line = {"bound": name, "mu": mu, "epsilon": epsilon, "median": median, "share of truth": median / epsilon}
            rows.append(line | {"below the truth": below})
    slack = 3.0 * math.sqrt(0.05 * 0.95 / RUNS)
    least = min(line["below the truth"] for line in rows)
    shares = [line["share of truth"] for line in rows if line["bound"] == FIXED]
    targets = {
        f"every bound is below the truth in at least 95 % of the runs (least {least:.1%})": least >= 0.95 - slack,
        f"the Gaussian route is above half of the truth (least {min(shares):.2f})": min(shares) > 0.5,
    }
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json)


if __name__ == "__main__":
    sys.exit(main())
