"""Does stopping early keep the promised error, and how many items does it save?

2,000 simulated streams at each limit, looked at after every item up to the budget: first with a true rate equal to the
limit, where every FAIL is a false alarm; then with leaks, where the median number of items to a FAIL stands beside the
number of trials that the fixed-sample test needs with power 0.8: "informed" if its size was chosen for exactly this
leak, which nobody knows beforehand, and "planned" if it was chosen for the smallest leak of interest, as one must:
twice a small limit, 0.6 against 0.5. The last rows are streams without a leak, which may PASS early.

Targets: false alarms of every sequential test below 5 % in 2,000 streams, while the fixed-sample bounds looked at as
often exceed 5 %; every leak larger than the smallest of interest is found with fewer items, in the median, than the
planned fixed sample has.

    python -m tests.benchmarks.sequential --json tests/benchmarks/results/sequential.json
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pytest_diffprivacy.statistics import SequentialTest, Verdict, decide, trials_needed
from pytest_diffprivacy.statistics.sequential import Process
from tests.benchmarks.table import arguments, conclude

COLUMNS = ("limit", "true rate", "test", "streams", "FAIL", "PASS", "median items", "90 % items", "informed", "planned")
STREAMS = 2_000
BUDGET = 2_000
EARLY = 150
NULLS = (0.01, 0.05, 0.5)
LEAKS = ((0.01, 0.05), (0.01, 0.1), (0.01, 0.3), (0.5, 0.6), (0.5, 0.7), (0.5, 0.8))
SMALLEST = {0.01: 0.02, 0.5: 0.6}
CLEAN = ((0.01, 0.0), (0.5, 0.4))
PROCESSES: tuple[Process, ...] = ("betting", "mixture")
CONFIDENCE = 0.95


def streams(rate: float, seed: int) -> NDArray[np.float64]:
    """float64 (STREAMS, BUDGET): successes and failures."""
    return (np.random.default_rng([20, seed]).random((STREAMS, BUDGET)) < rate).astype(np.float64)


def sequential_row(limit: float, rate: float, process: Process, drawn: NDArray[np.float64]) -> dict[str, Any]:
    """How the sequential test fared: verdicts, and items until they were reached."""
    verdicts, items = [], []
    for values in drawn:
        test = SequentialTest(limit, confidence=CONFIDENCE, process=process)
        if test.feed(values[:EARLY]) or test.feed(values[EARLY:]):  # in two parts only to save time
            verdicts.append(decide(test.measured(), limit).verdict)
            items.append(test.items)
    line = _line(limit, rate, f"sequential, {process}", verdicts)
    if rate != limit:
        stops = np.concatenate([items, np.full(STREAMS - len(items), np.inf)])
        median, late = (float(np.quantile(stops, q, method="inverted_cdf")) for q in (0.5, 0.9))
        line |= {"median items": _items(median), "90 % items": _items(late)}
        line["informed"] = trials_needed(rate, limit, confidence=CONFIDENCE)
        if rate > limit:
            line["planned"] = trials_needed(SMALLEST[limit], limit, confidence=CONFIDENCE)
    return line


def repeated_looks_row(limit: float, drawn: NDArray[np.float64]) -> dict[str, Any]:
    """The fixed-sample bounds looked at after every item, as they must not be: stops at the first that decides."""
    n = np.arange(1, BUDGET + 1)
    k = np.cumsum(drawn, axis=1)
    a = 1.0 - CONFIDENCE
    low = np.where(k > 0, special.betaincinv(np.maximum(k, 1), n - k + 1, a), 0.0)
    high = np.where(k < n, special.betaincinv(k + 1, np.maximum(n - k, 1), 1.0 - a), 1.0)
    fail, passed = low > limit, high <= limit
    first = [np.where(x.any(axis=1), x.argmax(axis=1), BUDGET) for x in (fail, passed)]
    verdicts = [Verdict.FAIL] * int((first[0] < first[1]).sum()) + [Verdict.PASS] * int((first[1] < first[0]).sum())
    return _line(limit, limit, "fixed-sample, looked at as often", verdicts)


def _line(limit: float, rate: float, test: str, verdicts: list[Verdict]) -> dict[str, Any]:
    shares = {v.value: f"{verdicts.count(v) / STREAMS:.2%}" for v in (Verdict.FAIL, Verdict.PASS)}
    return {"limit": limit, "true rate": rate, "test": test, "streams": STREAMS, **shares}


def _items(number: float) -> int | str:
    return int(number) if np.isfinite(number) else f"> {BUDGET}"


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    rows: list[dict[str, Any]] = []
    targets: dict[str, bool] = {}
    for place, limit in enumerate(NULLS):
        drawn = streams(limit, place)
        for process in PROCESSES:
            rows.append(sequential_row(limit, limit, process, drawn))
            targets[f"{process}: false FAIL below 5 % at limit {limit}"] = float(rows[-1]["FAIL"][:-1]) < 5.0
        rows.append(repeated_looks_row(limit, drawn))
        targets[f"looking at fixed-sample bounds exceeds 5 % at limit {limit}"] = float(rows[-1]["FAIL"][:-1]) > 5.0
    for place, (limit, rate) in enumerate(LEAKS + CLEAN):
        drawn = streams(rate, 100 + place)
        for process in PROCESSES:
            line = sequential_row(limit, rate, process, drawn)
            rows.append(line)
            if rate > SMALLEST[limit]:
                sooner = line["median items"] < line["planned"]
                targets[f"{process}: {rate} against {limit} found sooner than by the planned fixed sample"] = sooner
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json)


if __name__ == "__main__":
    sys.exit(main())
