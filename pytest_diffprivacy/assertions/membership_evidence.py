"""What do scores of members and non-members show? The judged TPR, and all that a reader wants beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.controls import (
    negative_controls,
)
from pytest_diffprivacy.assertions.evidence import histogram_record, roc_record, tpr_recipe
from pytest_diffprivacy.assertions.split import JudgedSplit
from pytest_diffprivacy.audit import Findings, estimate
from pytest_diffprivacy.membership.combine import cross_fitted_scores
from pytest_diffprivacy.statistics import (
    FamilyTpr,
    auroc,
    check_coherence,
    epsilon_lower_bound,
    family_tpr,
    nonmembers_needed,
    probes_needed_for_tpr,
    tpr_pass_needs,
)

MANY_TIES = 0.5

Vector: TypeAlias = NDArray[np.float64]
Scores: TypeAlias = dict[str, tuple[Vector, Vector]]


def combined_scores(scores: Scores, seed: int, findings: Findings) -> Scores:
    """The attacks' scores as one, by logistic regression cross-fitted over the images."""
    for name, (members, nonmembers) in scores.items():
        findings.arrays |= {f"member_scores {name}": members, f"nonmember_scores {name}": nonmembers}
    members = np.stack([both[0] for both in scores.values()], axis=1)
    nonmembers = np.stack([both[1] for both in scores.values()], axis=1)
    findings.notes.append(
        "The attacks' scores were combined by cross-fitted logistic regression: labels train the combination, but no "
        "image is scored by a model that saw its label. The interval is approximate."
    )
    return {"combined": cross_fitted_scores(members, nonmembers, seed=seed)}


def measure_scores(
    findings: Findings,
    scores: Scores,
    max_fpr: float,
    limit: float,
    confidence: float,
    seed: int,
    gate: JudgedSplit | None = None,
) -> FamilyTpr:
    """Scores to the TPR with its bounds; everything else that a reader wants goes into the findings."""
    several = len(scores) > 1
    titles = {method.name: method.title for method in findings.methods}
    arrays = {name: (f"member_scores {name}", f"nonmember_scores {name}") for name in scores}
    arrays = arrays if several else dict.fromkeys(scores, ("member_scores", "nonmember_scores"))
    findings.recipe = tpr_recipe(list(arrays.values()), max_fpr, confidence)
    _check(findings, scores, titles, seed)
    for name, (members, nonmembers) in scores.items():
        findings.arrays |= dict(zip(arrays[name], (members, nonmembers), strict=True))
        of = f": {titles.get(name, name)}" if several else ""
        counts = f"{len(members)} members, {len(nonmembers)} non-members"
        area = auroc(members, nonmembers, confidence=confidence)
        findings.also_measured.append(estimate(f"AUROC{of}", area, counts))
        label = "score (higher = more likely member)"
        findings.histograms.append(histogram_record(f"Scores{of}", label, members, nonmembers))
        findings.curves.append(roc_record(f"ROC{of}", members, nonmembers, max_fpr, limit, confidence))
    if gate is not None:
        for name, both in scores.items():
            gate.compare(findings, f" ({titles.get(name, name)})" if several else "", *both)
    # A FAIL is judged at the family's corrected confidence, a PASS at the plain one.
    corrected = 1.0 - (1.0 - confidence) / len(scores)
    measured = family_tpr(scores, max_fpr=max_fpr, confidence=confidence)
    members, nonmembers = scores[measured.worst]
    if several:
        counts = f"{len(members)} members, {len(nonmembers)} non-members"
        for name, own in measured.attacks.items():
            title = f"TPR at FPR <= {max_fpr:.4g}: {titles.get(name, name)}"
            findings.also_measured.append(estimate(title, own, counts))
        findings.notes.append(
            f"One family of {len(scores)} attacks: the upper bound is the largest of theirs; the lower bound is the "
            f"largest at confidence {corrected:.4g} each."
        )
    if min(len(members), len(nonmembers)) > 1:
        bound = epsilon_lower_bound(members, nonmembers, confidence=confidence, seed=seed)
        findings.notes.append(
            f"Empirical epsilon of this split, from TPR and FPR at a threshold chosen on one half: at least "
            f"{bound.value:.3g}. It describes this model on these images. Members are no independent trials of the "
            "training, so it is no bound of a training procedure; that takes canaries (plant_canaries)."
        )
    decisive = corrected if measured.attacks[measured.worst].value > limit else confidence
    findings.needed = lambda: _needed(members, nonmembers, max_fpr, limit, decisive)
    least = nonmembers_needed(max_fpr, corrected)
    if len(nonmembers) < least:
        findings.notes.append(
            f"With {len(nonmembers)} non-members no lower bound above 0 exists at this FPR: the claim can PASS but "
            f"never FAIL. At least {least} non-members are needed for that."
        )
    return measured


def _check(findings: Findings, scores: Scores, titles: Mapping[str, str], seed: int) -> None:
    """Coherence of all scores and the negative controls; an attack that ranks members last may not pass."""
    found = {name: check_coherence(*both, title=titles.get(name, name)) for name, both in scores.items()}
    negative_controls(scores, titles, seed, findings)
    last = [titles.get(name, name) for name, coherence in found.items() if coherence.ranked_last]
    if last:
        text = (
            f"{', '.join(last)} ranks members last beyond chance: its reverse recognises them. The sign was fixed "
            "before labels were seen and is not turned now"
        )
        findings.notes.append(f"{text}; this attack's low TPR shows nothing.")
        if len(last) == len(scores):
            findings.cannot_pass = f"{text}, so a low TPR proves nothing. Judge by another attack."
    tied = max(coherence.tied for coherence in found.values())
    if tied > MANY_TIES:
        findings.notes.append(f"{tied:.0%} of the scores are tied with another: bounds are wider than they need be.")


def _needed(members: Vector, nonmembers: Vector, max_fpr: float, limit: float, confidence: float) -> str:
    decided = probes_needed_for_tpr(members, nonmembers, limit, max_fpr=max_fpr, confidence=confidence)
    if decided is None:
        return (
            f"at the observed rate no number of probes decides; a model without any leak passes with "
            f"{tpr_pass_needs(limit, max_fpr, confidence) or 'no number'} a side"
        )
    return f"about {decided} members and as many non-members would decide at the observed rate"
