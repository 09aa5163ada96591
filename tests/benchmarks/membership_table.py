"""How well does each grey-box membership attack do, and at what price?

Every attack on `digits-leaky` and on the MNIST model, with one-sided 95 % bounds; of a TPR they include its threshold's
error. A TPR at 0.1 % FPR is given from 1,000 non-members on (below 3,688 its lower bound is 0). CLiD needs prompts,
which these models do not take, and is not in the table; attacks with shadow models have a table of their own.

Target: the loss and SecMI separate members from non-members on both models.

    python -m tests.benchmarks.membership_table --json tests/benchmarks/results/membership_table.json
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from build_mnist import mnist_images
from digits_probes import digits_probes
from numpy.typing import NDArray

from pytest_diffprivacy import ProbeSet, load_model
from pytest_diffprivacy.membership import ATTACKS, Attack, quantile_attack
from pytest_diffprivacy.methods.shared_predictions import SharedPredictions
from pytest_diffprivacy.statistics import auroc, tpr_at_fpr
from tests.benchmarks import ROOT
from tests.benchmarks.table import arguments, bounds, conclude

COLUMNS = ("model", "attack", "members", "others", "AUROC", "TPR at 1 %", "TPR at 0.1 %", "evaluations", "ms/image")
DRC_IMAGES = 200
DRC = {"restorations": 5, "steps": 20}
BATCH = 64


def mnist_probes() -> ProbeSet:
    """2,500 members and 2,500 non-members."""
    images = (mnist_images() + 1.0) / 2.0
    split = json.loads((ROOT / "example_audits" / "mnist_splits.json").read_text())["mnist"]
    return ProbeSet(images[split["members"]], images[split["non_members"]])


def row(
    model: str, attack: str, members: NDArray[np.float64], others: NDArray[np.float64], **more: Any
) -> dict[str, Any]:
    """One line of the table from scores."""
    area, one = auroc(members, others), tpr_at_fpr(members, others, max_fpr=0.01)
    line = {"model": model, "attack": attack, "members": len(members), "others": len(others), "low": area.low}
    line |= {"AUROC": bounds(area.value, area.low, area.high), "TPR at 1 %": bounds(one.value, one.low, one.high)}
    if len(others) >= 1000:
        tenth = tpr_at_fpr(members, others, max_fpr=0.001)
        line["TPR at 0.1 %"] = bounds(tenth.value, tenth.low, tenth.high)
    return line | more


def grey_box(name: str, folder: Path, probes: ProbeSet) -> list[dict[str, Any]]:
    """Every attack that takes one image and a grey-box model."""
    model = load_model(folder)
    # In random order: the data sets are sorted by digit or writer, and some attacks take a part only.
    order = np.random.default_rng(0)
    members = torch.from_numpy(probes.members.load(order.permutation(len(probes.members)).tolist()))
    others = torch.from_numpy(probes.nonmembers.load(order.permutation(len(probes.nonmembers)).tolist()))
    rows = []
    attacks: list[tuple[Attack, Mapping[str, Any], torch.Tensor, torch.Tensor]] = [
        (attack, {}, members, others)
        for attack in ATTACKS.values()
        if not attack.needs_prompts and attack.name != "drc"
    ]
    half = len(others) // 2
    attacks.append((quantile_attack(others[half:], fpr=0.01), {}, members, others[:half]))
    attacks.append((ATTACKS["drc"], DRC, members[:DRC_IMAGES], others[:DRC_IMAGES]))
    for attack, parameters, inside, outside in attacks:
        started, counted = time.perf_counter(), 0
        scores = []
        for images in (inside, outside):
            parts = []
            for batch in images.split(BATCH):
                shared = SharedPredictions(model, remembered=1)  # counts what the attack really asks
                parts.append(attack.scores(shared, batch, batch_size=BATCH, **{**attack.defaults, **parameters}))
                counted += shared.evaluations
            scores.append(np.concatenate(parts))
        count = len(inside) + len(outside)
        milliseconds = 1000.0 * (time.perf_counter() - started) / count
        cost = {"evaluations": round(counted / count, 1), "ms/image": round(milliseconds, 2)}
        title = attack.title + "".join(f", {key} {value}" for key, value in parameters.items())
        rows.append(row(name, title, *scores, **cost))
        print(f"{name}: {title}", file=sys.stderr, flush=True)
    return rows


def main() -> int:
    """Print the table."""
    parser = arguments(__doc__ or "")
    given = parser.parse_args()
    rows = grey_box("digits-leaky", ROOT / "example_audits" / "digits-leaky", digits_probes("digits-leaky"))
    rows += grey_box("mnist", ROOT / "example_audits" / "mnist" / "step-4000", mnist_probes())
    lows: dict[str, list[float]] = {}
    for line in rows:
        if line["attack"] in (ATTACKS["loss"].title, ATTACKS["secmi"].title):
            lows.setdefault(line["model"], []).append(line["low"])
    targets = {f"{model}: AUROC of loss and SecMI above 0.5": min(values) > 0.5 for model, values in lows.items()}
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json)


if __name__ == "__main__":
    sys.exit(main())
