"""Is a lower bound of epsilon below the truth, and how far? On a mechanism whose epsilon is known.

1,000 canaries, each included by a fair coin; a canary's score is Gaussian with deviation 1 and shifted by mu if it is
in: the Gaussian mechanism of sensitivity mu, chosen so that epsilon at delta 1e-5 is 1, 2, 4 and 8. Four bounds at 95
%: the claim's own where the mechanism is declared Gaussian (two thirds of the canaries guessed), the claim's own where
nothing is assumed (200 guessed), and rates and Gaussian route with the threshold chosen on one half.

Targets: every bound is below the truth in at least 95 % of its runs, 2,000 of the claim's and 200 of the others (within
three standard errors of the simulation: the claim's bound is exact, not conservative, where the mechanism is Gaussian);
the claim's bound of a declared Gaussian mechanism is above half of the truth (median) for every epsilon. The others
are shown: without the assumption the guesses prove less.

    python -m tests.benchmarks.gaussian_mechanism --json tests/benchmarks/results/gaussian_mechanism.json
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.statistics import (
    correct_guesses,
    epsilon_lower_bound,
    gaussian_mu,
    one_run_epsilon,
    one_run_fdp,
)
from tests.benchmarks.table import arguments, conclude

CANARIES, DELTA = 1000, 1e-5
RUNS, RUNS_SPLIT = 2000, 200
EPSILONS = (1.0, 2.0, 4.0, 8.0)
GUESSED = 100
COLUMNS = ("bound", "epsilon", "mu", "median", "share of truth", "runs", "below the truth")
DECLARED = "one run, declared Gaussian, 200 guesses"

Scores = NDArray[np.float64]
Coins = NDArray[np.bool_]


@cache
def gaussian_bound(right: int) -> float:
    """The bound of a declared Gaussian mechanism."""
    return one_run_fdp(CANARIES, 2 * GUESSED, right, delta=DELTA).value


@cache
def free_bound(right: int) -> float:
    """The bound that assumes nothing."""
    return one_run_epsilon(CANARIES, 2 * GUESSED, right, delta=DELTA).value


def bounds() -> dict[str, Callable[[Scores, Coins, int], float]]:
    """Name -> (scores, coins, run) -> lower bound."""

    def one_run(scores: Scores, coins: Coins, run: int) -> float:
        return free_bound(correct_guesses(scores, coins, guess_in=GUESSED, guess_out=GUESSED))

    def declared(scores: Scores, coins: Coins, run: int) -> float:
        return gaussian_bound(correct_guesses(scores, coins, guess_in=GUESSED, guess_out=GUESSED))

    return {
        DECLARED: declared,
        f"one run, {2 * GUESSED} guesses": one_run,
        "rates, split": lambda s, c, run: epsilon_lower_bound(s[c], s[~c], delta=DELTA, seed=run).value,
        "Gaussian route, split": lambda s, c, run: (
            epsilon_lower_bound(s[c], s[~c], delta=DELTA, route="gaussian", seed=run).value
        ),
    }


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    rows: list[dict[str, Any]] = []
    for epsilon in EPSILONS:
        mu, stream = gaussian_mu(epsilon, DELTA), np.random.default_rng([37, round(10 * epsilon)])
        found: dict[str, list[float]] = {name: [] for name in bounds()}
        for run in range(RUNS):
            coins = stream.random(CANARIES) < 0.5
            scores = stream.normal(size=CANARIES) + mu * coins
            for name, bound in bounds().items():
                if run >= RUNS_SPLIT and name.endswith("split"):
                    continue
                found[name].append(bound(scores, coins, run))
        for name, values in found.items():
            below, median = float(np.mean(np.array(values) <= epsilon)), float(np.median(values))
            line = {"bound": name, "mu": mu, "epsilon": epsilon, "median": median, "share of truth": median / epsilon}
            rows.append(line | {"runs": len(values), "below the truth": below})
    least = min(line["below the truth"] for line in rows)
    covered = all(line["below the truth"] >= 0.95 - 3.0 * math.sqrt(0.05 * 0.95 / line["runs"]) for line in rows)
    shares = [line["share of truth"] for line in rows if line["bound"] == DECLARED]
    targets = {
        f"every bound is below the truth in at least 95 % of the runs (least {least:.1%})": covered,
        f"of a declared Gaussian mechanism it is above 0.3 of the truth (least {min(shares):.2f})": min(shares) > 0.3,
    }
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json)


if __name__ == "__main__":
    sys.exit(main())
