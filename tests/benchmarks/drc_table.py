"""What do restored images tell beside the metric attacks, by how many tasks agree, and by how much is hidden?

DRC-style restoration on `digits-leaky`: 9 tasks (the four halves; random patches of 0.1 to 0.5 of the image), 3
restorations of 10 steps each; 200 members against 200 non-members, on which the loss, SecMI, PIA and SimA run as well.
400 other non-members set the thresholds of the tasks and choose how many must agree. About 3 minutes on a quiet core.

Expected (Fu et al. 2024; no code, split or score is public): an AUROC above SecMI's with about its TPR at 1 % FPR;
precision grows and recall falls with the number of tasks that agree; the ratio of the mask matters.

    python -m tests.benchmarks.drc_table --json tests/benchmarks/results/drc_table.json
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from digits_probes import digits_probes
from numpy.typing import NDArray

from pytest_diffprivacy import load_model
from pytest_diffprivacy.membership import ATTACKS
from pytest_diffprivacy.membership.drc import calibrate_vote, control_scores, drc_task_scores
from pytest_diffprivacy.statistics import auroc, auroc_difference, rate, tpr_at_fpr
from pytest_diffprivacy.statistics.roc import roc_curve
from tests.benchmarks import ROOT
from tests.benchmarks.table import arguments, bounds, conclude

HALVES = ("left", "right", "top", "bottom")
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5)
TASKS = (*HALVES, *(f"random:{ratio:g}" for ratio in RATIOS))
SETTINGS = {"restorations": 3, "steps": 10}
METRICS = ("loss", "secmi", "pia", "sima")
SIDE, TASK_FPR, MAX_FPR = 200, 0.2, 0.05
DRC, POINTS = "DRC-style, four halves", 60


def chosen_images(count: int) -> dict[str, torch.Tensor]:
    """Members, and non-members in three parts: scored, for the thresholds, for the vote."""
    probes, order = digits_probes("digits-leaky"), np.random.default_rng(11)
    members = order.permutation(len(probes.members))[:count].tolist()
    others = order.permutation(len(probes.nonmembers))[: 3 * count].tolist()
    parts = {
        "scored": others[:count],
        "thresholds": others[count : 2 * count],
        "vote": others[2 * count :],
    }
    return {"members": torch.from_numpy(probes.members.load(members))} | {
        name: torch.from_numpy(probes.nonmembers.load(part)) for name, part in parts.items()
    }


def row(attack: str, members: NDArray[np.float64], others: NDArray[np.float64]) -> dict[str, Any]:
    """One attack with its curve."""
    area, one = auroc(members, others), tpr_at_fpr(members, others, max_fpr=0.01)
    curve = roc_curve(members, others).thinned(POINTS)
    return {
        "attack": attack,
        "AUROC": bounds(area.value, area.low, area.high),
        "TPR at 1 %": bounds(one.value, one.low, one.high),
        "fpr": curve.fpr.round(4).tolist(),
        "tpr": curve.tpr.round(4).tolist(),
    }


def agreement(tasks: dict[str, NDArray[np.float64]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Precision and recall by how many tasks must agree, and the number that the package would take."""
    vote = calibrate_vote(tasks["thresholds"], tasks["vote"], max_fpr=MAX_FPR, task_fpr=TASK_FPR)
    inside, outside = vote.votes(tasks["members"]), vote.votes(tasks["scored"])
    lines = []
    for needed in range(1, len(TASKS) + 1):
        right, wrong = int((inside >= needed).sum()), int((outside >= needed).sum())
        recall = rate(right, len(inside))
        line: dict[str, Any] = {"agree": needed, "recall": bounds(recall.value, recall.low, recall.high)}
        if right + wrong:
            precise = rate(right, right + wrong)
            line["precision"] = bounds(precise.value, precise.low, precise.high)
        lines.append(line | {"members called": right, "others called": wrong})
    return lines, {"needed": vote.needed, "bound of the FPR": round(vote.fpr_upper, 4), "largest FPR": MAX_FPR}


def main() -> int:
    """Print the table."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--images", type=int, default=SIDE, help="images a side, for a trial")
    given = parser.parse_args()
    model, images = load_model(ROOT / "example_audits" / "digits-leaky"), chosen_images(given.images)
    tasks = {}
    for name, side in images.items():
        tasks[name] = drc_task_scores(model, side, masks=TASKS, batch_size=256, **SETTINGS)
        print(f"restored: {name}", file=sys.stderr, flush=True)
    inside, outside = tasks["members"], tasks["scored"]
    halves = len(HALVES)
    rows = [row(DRC, inside[:, :halves].mean(1), outside[:, :halves].mean(1))]
    rows.append(row("DRC-style, all nine tasks", inside.mean(1), outside.mean(1)))
    ours, more = (inside[:, :halves].mean(1), outside[:, :halves].mean(1)), {}
    for name in METRICS:
        attack = ATTACKS[name]
        scores = [attack.scores(model, images[side], **attack.defaults) for side in ("members", "scored")]
        rows.append(row(attack.title, *scores))
        gap = auroc_difference(ours, (scores[0], scores[1]))
        more[attack.title] = bounds(gap.value, gap.low, gap.high)
    free = [control_scores(images[side], HALVES) for side in ("members", "scored")]
    rows.append(row("the same halves without a model (harmonic fill)", *free))
    ratios = [
        {"ratio": ratio, **row(f"random:{ratio:g}", inside[:, halves + i], outside[:, halves + i])}
        for i, ratio in enumerate(RATIOS)
    ]
    agreed, vote = agreement(tasks)
    facts = {"settings": {**SETTINGS, "images a side": given.images, "task FPR": TASK_FPR}, "vote": vote}
    facts |= {"agreement": agreed, "mask ratios": ratios, "AUROC of DRC minus that of": more}
    for line in agreed:
        print(line)
    for line in ratios:
        print(line["ratio"], line["AUROC"], line["TPR at 1 %"])
    targets = {"DRC separates, lower bound above 0.5": float(rows[0]["AUROC"].split("[")[1].split(",")[0]) > 0.5}
    return conclude(__doc__ or "", ("attack", "AUROC", "TPR at 1 %"), rows, targets, json_path=given.json, facts=facts)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
