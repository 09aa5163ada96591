"""Are the generations of the two digit models nearer to their training sets than to as many unseen digits?

1,024 generations each (50 DDIM steps). The DCR share with one-sided 95 % bounds from effective counts and its p-value
by permutation, beside the plain binomial p-value, which is invalid where generations share nearest records; Meehan's
C_T; the share of generations that are not authentic and that of unseen digits; AUROC of minus the kNN ratio; the share
above the floor of similarity that real digits set (1 %).

Targets: on `digits-leaky` the lower bound of the share is above 0.5; on `digits-release` the interval includes 0.5.

    python -m tests.benchmarks.replication --json tests/benchmarks/results/replication.json
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from digits_probes import digits_probes
from scipy import stats

from pytest_diffprivacy import load_model
from pytest_diffprivacy.extraction import equal_sides, measure_replication
from pytest_diffprivacy.statistics import auroc, data_copying, dcr_share, false_match_threshold, rate
from tests.benchmarks import ROOT
from tests.benchmarks.table import arguments, bounds, conclude

GENERATIONS = 1024
BATCH = 256
COLUMNS = ("model", "metric", "generations", "unseen digits", "note")


def rows_of(name: str) -> list[dict[str, Any]]:
    """Every metric of one model, the share first."""
    model, probes = load_model(ROOT / "example_audits" / name), digits_probes(name)
    seeds = [list(range(start, start + BATCH)) for start in range(0, GENERATIONS, BATCH)]
    blocks = [(model.generate(part) * 255.0).round().numpy().astype(np.float32) / np.float32(255.0) for part in seeds]
    print(f"{name}: generated", file=sys.stderr, flush=True)
    training, holdout = equal_sides(probes, seed=0)
    found = measure_replication(blocks, training, holdout)
    ours, unseen = found.generations, found.unseen
    share = dcr_share(
        ours.distances, found.holdout_distances, ours.nearest, found.nearest_holdout, records=found.records
    )
    binomial = stats.binomtest(round(share.nearer), share.generations, alternative="greater").pvalue
    copying = data_copying(
        ours.cell_distances, ours.cells, unseen.cell_distances, unseen.cells,
        cells=found.cells, min_share=20 / GENERATIONS,
    )  # fmt: skip
    ours_inauthentic, unseen_inauthentic = (rate(int((~a.authentic).sum()), len(a.authentic)) for a in (ours, unseen))
    ratio = auroc(-ours.ratios, -unseen.ratios)
    floor = false_match_threshold((1.0 - unseen.similarities).clip(min=0.0), max_false_match_rate=0.01, ceiling=2.0)
    above = rate(int((1.0 - ours.similarities <= floor.threshold).sum()), GENERATIONS)

    def line(metric: str, value: str, other: str = "", note: str = "") -> dict[str, Any]:
        return {"model": name, "metric": metric, "generations": value, "unseen digits": other, "note": note}

    def shown(e: Any) -> str:
        return bounds(e.value, e.low, e.high)

    note = f"p = {share.p_value:.3g} by permutation, {binomial:.3g} by the binomial test; m_eff = {share.effective:.0f}"
    return [
        line("DCR share", shown(share), "0.5 without copying", note) | {"low": share.low, "high": share.high},
        line("C_T", f"{copying.c_t:.2f}", "0 without copying", f"p = {copying.p_value:.3g}, {len(copying.z)} cells"),
        line("not authentic", shown(ours_inauthentic), shown(unseen_inauthentic)),
        line("AUROC of minus the kNN ratio", shown(ratio), "0.5 without copying"),
        line("above the floor of similarity", shown(above), "at most 0.01", f"floor {1.0 - floor.threshold:.4f}"),
        line(
            "largest similarity, median", f"{np.median(ours.similarities):.4f}", f"{np.median(unseen.similarities):.4f}"
        ),
    ]


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    leaky, release = rows_of("digits-leaky"), rows_of("digits-release")
    targets = {
        "digits-leaky: lower bound of the share above 0.5": leaky[0]["low"] > 0.5,
        "digits-release: the interval includes 0.5": release[0]["low"] <= 0.5 <= release[0]["high"],
    }
    return conclude(__doc__ or "", COLUMNS, [*leaky, *release], targets, json_path=given.json)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
