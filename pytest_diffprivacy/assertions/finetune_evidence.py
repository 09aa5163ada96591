"""What does a reader see of a fine-tune's leak? Both models, both ROC curves, the increases and who stands out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.evidence import histogram_record, roc_record
from pytest_diffprivacy.audit import Findings, estimate
from pytest_diffprivacy.errors import InsufficientProbes
from pytest_diffprivacy.evidence.records import Table
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.statistics import (
    auroc,
    auroc_difference,
    exceedance_p_values,
    mean_difference,
    tpr_at_fpr,
)

LISTED = 20

Scores = tuple[NDArray[np.float64], NDArray[np.float64]]


def model_table(models: Mapping[str, Denoiser]) -> Table:
    """The models that were compared, by what each is to the claim."""
    rows = [
        (role, m.identity.name, m.identity.family, _adapters(m), m.identity.digest, m.identity.dtype)
        for role, m in models.items()
    ]
    columns = ("role", "name", "family", "adapters", "digest (sha256)", "precision")
    return Table(caption="Models that were compared", columns=columns, rows=tuple(rows))


def _adapters(model: Denoiser) -> str:
    """Each adapter with its scale and the beginning of its digest."""
    found = [
        f"{a.kind} {a.name}{f' at {a.scale}' if a.scale else ''} ({a.digest[:12]})" for a in model.identity.adapters
    ]
    return ", ".join(found) or "none"


def show_increase(
    findings: Findings,
    scores: Scores,
    before: Scores,
    gains: Scores,
    *,
    max_fpr: float,
    limit: float,
    confidence: float,
) -> None:
    """Put everything but the judged number into the findings.

    Args:
        findings: the claim's.
        scores: of members and non-members by the fine-tuned model.
        before: the same by the base.
        gains: the one minus the other.
        max_fpr: false positive rate of the claim.
        limit: allowed excess over it.
        confidence: of each bound.
    """
    findings.arrays |= {"member_scores": scores[0], "nonmember_scores": scores[1]}
    findings.arrays |= {"base_member_scores": before[0], "base_nonmember_scores": before[1]}
    members, nonmembers = len(gains[0]), len(gains[1])
    counts = f"{members} members, {nonmembers} non-members"
    if min(members, nonmembers) > 1:
        change = auroc_difference(scores, before, confidence=confidence)
        findings.also_measured += [
            estimate("AUROC of the increase", auroc(*gains, confidence=confidence), counts),
            estimate("AUROC of the fine-tuned model minus that of the base", change, f"{counts}, paired"),
        ]
    for name, side in (("fine-tuned model", scores), ("base", before)):
        alone = tpr_at_fpr(*side, max_fpr=max_fpr, confidence=confidence)
        findings.also_measured.append(estimate(f"TPR at FPR <= {max_fpr:.4g}: {name} alone", alone, counts))
    try:
        mean = mean_difference(*gains, confidence=confidence)
    except InsufficientProbes:
        findings.notes.append("The mean increase is not compared: fewer than 10 images a side.")
    else:
        findings.also_measured.append(estimate("Mean increase of members minus that of non-members", mean, counts))
    label = "fine-tuned minus base (higher = more likely member)"
    findings.histograms.append(histogram_record("Increase of the score", label, *gains))
    for title, side in (("ROC of the increase", gains), ("ROC of the fine-tuned model alone", scores)):
        findings.curves.append(roc_record(title, *side, max_fpr, limit + max_fpr, confidence))


def recognised_table(members: ImageSet, gain: NDArray[np.float64], others: NDArray[np.float64]) -> Table:
    """The members whose score rose most, each with the chance of a non-member rising as far."""
    p_values, ids = exceedance_p_values(gain, others), members.ids()
    first = np.argsort(-gain, kind="stable")[:LISTED]
    more = f", the first {LISTED} of {len(gain)}" if len(gain) > LISTED else ""
    rows = tuple((ids[i], f"{gain[i]:.4g}", f"{p_values[i]:.2g}") for i in first.tolist())
    return Table(
        caption=f"Fine-tuning images by what the fine-tune learned of them{more}",
        columns=("image", "increase of the score", "p-value among non-members"),
        rows=rows,
    )
