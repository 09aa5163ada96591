"""How well does each membership attack do, and at what price?

All grey-box attacks on `digits-leaky` and on the MNIST model; LiRA and GSA on 16 and 4 models of the digits, each the
target once with the others as its shadow models. One-sided 95 % bounds; of a TPR they include its threshold's error.
A TPR at 0.1 % FPR is given from 1,000 non-members on (below 3,688 its lower bound is 0). CLiD needs prompts, which
these models do not take, and is not in the table.

Target: on the digits strong LiRA beats plain LiRA beats the loss at 1 % FPR (mean over the 16 targets).

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
from numpy.typing import NDArray

from pytest_diffprivacy import ProbeSet, load_model
from pytest_diffprivacy.membership import (
    ATTACKS,
    Attack,
    GsaClassifier,
    ShadowScores,
    leave_one_out,
    quantile_attack,
)
from pytest_diffprivacy.membership.shared import SharedPredictions
from pytest_diffprivacy.statistics import auroc, tpr_at_fpr
from tests.benchmarks.digits_shadows import ROOT, gsa_shadows, lira_shadows
from tests.benchmarks.table import arguments, bounds, conclude

sys.path.insert(0, str(ROOT / "example_audits"))

from build_mnist import mnist_images  # a script, not a package
from digits_probes import digits_probes

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
    line = {"model": model, "attack": attack, "members": len(members), "others": len(others)}
    line |= {"AUROC": bounds(area.value, area.low, area.high), "TPR at 1 %": bounds(one.value, one.low, one.high)}
    if len(others) >= 1000:
        tenth = tpr_at_fpr(members, others, max_fpr=0.001)
        line["TPR at 0.1 %"] = bounds(tenth.value, tenth.low, tenth.high)
    return line | more


def grey_box(name: str, folder: Path, probes: ProbeSet) -> list[dict[str, Any]]:
    """Every attack that takes one image and a grey-box model."""
    model = load_model(folder)
    members = torch.from_numpy(probes.members.load(range(len(probes.members))))
    others = torch.from_numpy(probes.nonmembers.load(range(len(probes.nonmembers))))
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


def of_targets(scores: NDArray[np.float64], shadows: ShadowScores, attack: str) -> dict[str, Any]:
    """Mean over targets, with the standard error of the mean: each model is the target once."""
    pairs = [(own[inside], own[~inside]) for own, inside in zip(scores, shadows.membership, strict=True)]
    areas = [auroc(*pair).value for pair in pairs]
    line: dict[str, Any] = {"model": f"digits, {len(pairs)} targets", "attack": attack}
    line |= {"members": len(pairs[0][0]), "others": len(pairs[0][1]), "AUROC": _mean(areas)}
    line["TPR at 1 %"] = _mean([tpr_at_fpr(*pair, max_fpr=0.01).value for pair in pairs])
    return line


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.3f}"


def gsa_rows() -> list[dict[str, Any]]:
    """GSA with the other models as shadow models."""
    shadows = gsa_shadows()
    scores = []
    for target in range(len(shadows)):
        rest = shadows.without(target)
        features = rest.features.reshape(-1, rest.features.shape[2])
        classifier = GsaClassifier.fit(features, rest.membership.reshape(-1))
        scores.append(classifier.scores(shadows.features[target]))
    line = of_targets(np.stack(scores), shadows, f"GSA1, {len(shadows) - 1} shadow models")
    return [line | {"evaluations": shadows.asked.evaluations}]


def main() -> int:
    """Print the table."""
    parser = arguments(__doc__ or "")
    given = parser.parse_args()
    rows = grey_box("digits-leaky", ROOT / "example_audits" / "digits-leaky", digits_probes("digits-leaky"))
    rows += grey_box("mnist", ROOT / "example_audits" / "mnist" / "step-4000", mnist_probes())
    plain, strong = lira_shadows()
    ladder = [
        of_targets(-plain.losses, plain, "Denoising loss, 1 draw") | {"evaluations": 1},
        of_targets(-strong.losses, strong, "Denoising loss, 20 draws, flips") | {"evaluations": 40},
        of_targets(leave_one_out(plain), plain, "LiRA, 15 shadow models") | {"evaluations": 1},
        of_targets(leave_one_out(strong), strong, "Strong LiRA, 15 shadow models") | {"evaluations": 40},
    ]
    tpr = {line["attack"]: float(line["TPR at 1 %"].split()[0]) for line in ladder}
    rows += ladder + gsa_rows()
    targets = {
        "strong LiRA > LiRA at 1 % FPR": tpr["Strong LiRA, 15 shadow models"] > tpr["LiRA, 15 shadow models"],
        "LiRA > loss at 1 % FPR": tpr["LiRA, 15 shadow models"] > tpr["Denoising loss, 1 draw"],
    }
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json)


if __name__ == "__main__":
    sys.exit(main())
