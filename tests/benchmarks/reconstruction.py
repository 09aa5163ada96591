"""Do hidden halves of training images come back, and only from the model that memorizes?

`digits-leaky` and `digits-release`, 150 members and 150 non-members each, left half hidden, 30 restorations of 20 steps
an image; the attacker keeps the 5 of the lowest model loss. Errors are RMS on hidden pixels; the difference is the
non-members' minus the members', with one-sided 95 % bounds. "Closest" needs the answer: an upper bound and no attack.

Targets: on `digits-leaky` the lower bound of the difference is above 0; on `digits-release` the interval includes 0, or
its upper bound is at most 0.03.

    python -m tests.benchmarks.reconstruction --json tests/benchmarks/results/reconstruction.json
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from digits_probes import digits_probes
from numpy.typing import NDArray

from pytest_diffprivacy import load_model
from pytest_diffprivacy.extraction import fill_errors, reconstruction_errors
from pytest_diffprivacy.restoration.plan import FILLS
from pytest_diffprivacy.statistics import auroc, mean_difference
from tests.benchmarks import ROOT
from tests.benchmarks.table import arguments, bounds, conclude

IMAGES = 150
SETTINGS = {"mask": "left", "draws": 30, "keep": 5, "steps": 20, "loss_draws": 20}
LIMIT = 0.03
COLUMNS = ("model", "restoration", "members", "non-members", "difference", "AUROC")


def sides(name: str) -> list[torch.Tensor]:
    """As many members and non-members, drawn at random."""
    probes, order = digits_probes(name), np.random.default_rng(0)
    images = (probes.members, probes.nonmembers)
    return [torch.from_numpy(side.load(order.permutation(len(side))[:IMAGES].tolist())) for side in images]


def row(model: str, restoration: str, errors: list[NDArray[np.float64]]) -> dict[str, Any]:
    """One line: errors of both sides."""
    members, others = errors
    difference, area = mean_difference(-members, -others), auroc(-members, -others)
    return {
        "model": model,
        "restoration": restoration,
        "members": round(float(members.mean()), 4),
        "non-members": round(float(others.mean()), 4),
        "difference": bounds(difference.value, difference.low, difference.high),
        "AUROC": bounds(area.value, area.low, area.high),
        "low": difference.low,
        "high": difference.high,
    }


def rows_of(name: str, folder: Path) -> list[dict[str, Any]]:
    """The attack, the best and the mean of all tries, and the smoothest surface without any model."""
    model, images = load_model(folder), sides(name)
    errors = []
    for side in images:
        parts = []
        for part in side.split(50):
            parts.append(reconstruction_errors(model, part, batch_size=50, **SETTINGS))
            print(f"{name}: {sum(map(len, parts))} images", file=sys.stderr, flush=True)
        errors.append(np.concatenate(parts))
    labels = ("model's own choice", "closest of all (upper bound, needs the answer)", "mean of all")
    lines = [row(name, label, [side[:, i] for side in errors]) for i, label in enumerate(labels)]
    free = [fill_errors(side, mask="left")[:, FILLS.index("harmonic")] for side in images]
    return [*lines, row(name, "without a model (harmonic fill)", free)]


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    leaky = rows_of("digits-leaky", ROOT / "example_audits" / "digits-leaky")
    release = rows_of("digits-release", ROOT / "example_audits" / "digits-release")
    includes_zero = release[0]["low"] <= 0.0 <= release[0]["high"]
    targets = {
        "digits-leaky: members are restored better, interval above 0": leaky[0]["low"] > 0.0,
        f"digits-release: the interval includes 0, or its upper bound is at most {LIMIT}": includes_zero
        or release[0]["high"] <= LIMIT,
    }
    facts = {"settings": {**SETTINGS, "images a side": IMAGES}}
    return conclude(__doc__ or "", COLUMNS, [*leaky, *release], targets, json_path=given.json, facts=facts)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
