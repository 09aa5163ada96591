"""What does averaging over draws buy? For each attack, the probes a side that one more network evaluation saves.

An attack that draws noise can draw more of it: scores get less noisy and fewer probes decide, at more evaluations an
image. Here every grey-box attack is asked about the leak dial (METHODS 8.4; 32 dimensions, leak 0.03, 200 + 200 points,
20 seeds) with 1, 2, 4, ... of what it draws. Its AUROC, averaged over the seeds, is taken for the truth: "probes" are
the members, and as many non-members, with which a FAIL against AUROC 0.5 has probability 0.9, "saved" how many fewer
that are for one more evaluation an image, and "evaluations" what the whole audit takes. The cheapest setting of an
attack is the one with the fewest evaluations in all. All draws come from the images' own streams, the same for every
setting (common random numbers, METHODS 0.7): the first draw of four is the one of one.

PFAMI draws one noise for all of its timesteps, of which fewer are asked here.

Target: more draws of an attack never need more than 1.1 times the probes of fewer.

    python -m tests.benchmarks.draws_and_probes --json tests/benchmarks/results/draws_and_probes.json
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from scipy import special

from pytest_diffprivacy.membership import ATTACKS
from pytest_diffprivacy.membership.pfami import TIMESTEPS
from pytest_diffprivacy.statistics import auroc, probes_needed_for_auroc
from tests.benchmarks.table import arguments, conclude
from tests.membership.test_leak_dial import SIDE, leaking

COLUMNS = ("attack", "setting", "evaluations an image", "AUROC", "probes", "saved", "evaluations", "cheapest")
LEAK, SEEDS = 0.03, range(20)
DRAWN: Final[Mapping[str, tuple[dict[str, Any], ...]]] = {
    "loss": tuple({"draws": n} for n in (1, 2, 4, 8, 16)),
    "rediffuse": tuple({"draws": n} for n in (1, 2, 4, 8, 16)),
    "pfami": tuple({"timesteps": TIMESTEPS[2::stride]} for stride in (8, 4, 2, 1)),
    "secmi": ({},),
    "pia": ({},),
    "pian": ({},),
    "sima": ({},),
}
"""Attack -> the settings to try; those without a draw have nothing to average."""


def measured(name: str, setting: Mapping[str, Any]) -> dict[str, Any]:
    """A row, without what it saves."""
    method, areas = ATTACKS[name], []
    for seed in SEEDS:
        model, images = leaking(seed, LEAK)
        scores = method.scores(model, images, **setting)
        areas.append(auroc(scores[:SIDE], scores[SIDE:]))
    area = float(special.expit(np.mean([special.logit(np.clip(one.value, 1e-4, 1 - 1e-4)) for one in areas])))
    truth = replace(areas[0], value=area, variance=float(np.mean([one.variance for one in areas])), low=area, high=1.0)
    probes = probes_needed_for_auroc(truth, 0.5, power=0.9) if area > 0.5 else None
    each = method.evaluations(method.defaults | dict(setting)) if method.evaluations else None
    return {
        "attack": name,
        "setting": ", ".join(_words(k, v) for k, v in setting.items()) or "nothing drawn",
        "evaluations an image": each,
        "AUROC": round(area, 3),
        "probes": probes or "none decides",
        "saved": "",
        "evaluations": None if None in (each, probes) else 2 * probes * each,
        "cheapest": "",
    }


def _words(name: str, value: Any) -> str:
    return f"{len(value)} {name}" if isinstance(value, (list, tuple)) else f"{value} {name}"


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    rows, targets = list[dict[str, Any]](), dict[str, bool]()
    for name, settings in DRAWN.items():
        own = [measured(name, setting) for setting in settings]
        for before, after in itertools.pairwise(own):
            more = after["evaluations an image"] - before["evaluations an image"]
            after["saved"] = round((before["probes"] - after["probes"]) / more, 2)
        deciding = [row for row in own if row["evaluations"]]
        if deciding:
            min(deciding, key=lambda row: row["evaluations"])["cheapest"] = "yes"
        if "draws" in settings[0]:
            targets[f"{name}: more draws never need more probes"] = all(
                after["probes"] <= 1.1 * before["probes"] for before, after in itertools.pairwise(own)
            )
        rows += own
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json)


if __name__ == "__main__":
    sys.exit(main())
