"""The claim "the fine-tune adds no leak": what it changed in its base gives no training image away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pytest_diffprivacy.audit import Auditor, Claim, Findings, current_auditor, estimate
from pytest_diffprivacy.claims.claim import assertion, conclude, of, refuse_idle
from pytest_diffprivacy.claims.two_groups import Groups
from pytest_diffprivacy.errors import AuditError, InsufficientProbes, UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.methods import MethodLike
from pytest_diffprivacy.probes import ImageSet, ScoreTable
from pytest_diffprivacy.sources import Pair, Vector, require_probes
from pytest_diffprivacy.sources.controls import control_finetune, negative_controls
from pytest_diffprivacy.sources.finetune import FINETUNED, FinetuneScores, finetune_scores
from pytest_diffprivacy.sources.score_figures import WorkingPoint
from pytest_diffprivacy.statistics import (
    Measured,
    Verdict,
    auroc_difference,
    check_coherence,
    exceedance_p_values,
    mean_difference,
    tpr_at_fpr,
)
from pytest_diffprivacy.statistics.arguments import check_fraction
from pytest_diffprivacy.statistics.excess_tpr import ExcessTprStatistic

HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "What the fine-tune changed gives its training images away no more often than allowed.",
    Verdict.FAIL: "What the fine-tune changed gives its training images away more often than allowed.",
    Verdict.INCONCLUSIVE: "These probes do not decide whether the fine-tune gives its training images away.",
    Verdict.ERROR: "What the fine-tune memorized could not be judged.",
}
GROUPS = Groups(scores="Increase of the score", axis="fine-tuned minus base (higher = more likely member)")
LISTED = 20


@assertion
def assert_finetune_adds_no_leak(
    base: object,
    finetuned: object,
    probes: object,
    *,
    attack: MethodLike = "loss",
    max_fpr: float = 0.01,
    limit: float,
    control: object | None = None,
    confidence: float | None = None,
    parameters: Mapping[str, Any] | None = None,
    auditor: Auditor | None = None,
) -> records.Claim:
    """Assert that comparing a fine-tuned model with its base recognises at most `limit` more members than chance does.

    The attacker holds both models, as everyone does who downloads an adapter. Every probe is scored by both with the
    same noise, and its increase, the fine-tuned model's score minus the base's, is what is judged: the difficulty of
    the image itself and whatever the base knew already cancel. The claim is about the TPR of the increase at FPR <=
    `max_fpr`, minus `max_fpr`, which chance gives; 0 is no leak. PASS iff the upper bound is at most the limit, FAIL
    iff the lower one is above it. It fits LoRA and textual inversion as well as a full fine-tune.

    Args:
        base: grey-box access to the model that was fine-tuned; or a ScoreTable of its scores.
        finetuned: grey-box access to the result, e.g. the same pipeline with an adapter, loaded on its own; or a
            ScoreTable. Columns of one file are `table.select("base")` and `table.select("fine-tuned")`.
        probes: members are the images of the fine-tuning set, non-members images of the same kind in neither training
            set.
        attack: name of an attack in membership.ATTACKS, an Attack, or a callable (model, images) -> scores, higher =
            more likely member. Of ScoreTables the column that all have; left out where each has only one.
        max_fpr: allowed share of non-members taken for members.
        limit: allowed share of members recognised beyond `max_fpr`.
        control: grey-box access to the same base fine-tuned on other images of the same kind, neither members nor
            non-members: its increase must not tell the two apart, or the claim is an ERROR. A ScoreTable where the
            others are.
        confidence: of each one-sided bound; the session's by default.
        parameters: arguments of the attack that differ from its defaults.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record, with `.verdict`, `.value`, `.low` and `.high`.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: neither bound decides, there are too few non-members for this FPR, or the split is confounded.
        UsageError: a bad argument, models of different shapes or with the same weights, a split with shared images, or
            a table that does not match the probes one to one.
        AuditError: a model returns NaN, both models give the same scores, a control failed, or the increase ranks
            members last and would pass.

    Source: Follows Watson et al. 2022 (difficulty calibration by a reference model), the reference being the base and
    the noise being common (METHODS 0.7, 7.7); interval of METHODS 7.2.
    """
    auditor = auditor or current_auditor()
    level = auditor.confidence(confidence)
    max_fpr, allowed = check_fraction("max_fpr", max_fpr), check_fraction("limit", limit, zero=True)
    if allowed + max_fpr >= 1.0:
        raise UsageError(f"`limit` must be below 1 - max_fpr, got {limit!r}. No share of members would refute it.")
    if isinstance(finetuned, ScoreTable):
        refuse_idle(assert_finetune_adds_no_leak, {"parameters": parameters})
    models = {"base": base, FINETUNED: finetuned} | ({} if control is None else {"control": control})
    source = finetune_scores(auditor, models, require_probes(probes), attack, dict(parameters or {}))
    statistic = ExcessTprStatistic(max_fpr=max_fpr, confidence=level, limit=allowed)
    claim = Claim(
        kind="membership",
        name="finetune_adds_no_leak",
        slug=f"finetune-{source.slug}",
        sentence=of(f"TPR of the increase at FPR <= {max_fpr:.4g} is at most {allowed:.4g} above chance", source.title),
        limit=allowed,
        headlines=HEADLINES,
        confidence=level,
        terms={"max_fpr": max_fpr},
    )
    return conclude(
        auditor, claim, source, statistic, lambda findings: _measured(findings, source, statistic, claim, auditor.seed)
    )


def _measured(
    findings: Findings, source: FinetuneScores, statistic: ExcessTprStatistic, claim: Claim, seed: int
) -> Measured:
    """The excess of the increase; controls, pictures and the recipe go into the findings."""
    source.describe(findings)
    before, scores = (source.pair(role, findings) for role in ("base", FINETUNED))
    gains = _minus(scores, before)
    findings.arrays |= {"member_increase": gains[0], "nonmember_increase": gains[1]}
    if not any(side.any() for side in gains):
        raise AuditError(source.equal)
    if source.control is not None:
        others = _minus(source.pair("control", findings), before)
        control_finetune(source.title, source.control, *others, findings)
    negative_controls({source.slug: gains}, {source.slug: source.title}, seed, findings)
    if check_coherence(*gains, title=findings.methods[0].title).ranked_last:
        text = "The fine-tune makes its own training images less likely than others beyond chance"
        findings.notes.append(f"{text}: a low TPR shows nothing here.")
        findings.cannot_pass = f"{text}, so a low TPR proves nothing. Are members and non-members swapped?"
    _show(findings, scores, before, gains, WorkingPoint(statistic.max_fpr, claim.limit, claim.confidence))
    source.split.compare(findings, " of the increase", *gains)
    findings.tables.append(_recognised(source.split.probes.members, *gains))
    arrays = {"members": {"member_increase": gains[0]}, "nonmembers": {"nonmember_increase": gains[1]}}
    return findings.measure(statistic, arrays, claim.limit)


def _minus(scores: Pair, others: Pair) -> Pair:
    return scores[0] - others[0], scores[1] - others[1]


def _show(findings: Findings, scores: Pair, before: Pair, gains: Pair, working: WorkingPoint) -> None:
    """Both models, both ROC curves and the increases beside the judged number."""
    confidence, counts = working.confidence, GROUPS.sizes(gains)
    findings.arrays |= {"member_scores": scores[0], "nonmember_scores": scores[1]}
    findings.arrays |= {"base_member_scores": before[0], "base_nonmember_scores": before[1]}
    if min(map(len, gains)) > 1:
        GROUPS.add_auroc(findings, gains, confidence, of=" of the increase")
        change = auroc_difference(scores, before, confidence=confidence)
        name = "AUROC of the fine-tuned model minus that of the base"
        findings.also_measured.append(estimate(name, change, f"{counts}, paired"))
    for name, side in (("fine-tuned model", scores), ("base", before)):
        alone = tpr_at_fpr(*side, max_fpr=working.fpr, confidence=confidence)
        findings.also_measured.append(estimate(f"TPR at FPR <= {working.fpr:.4g}: {name} alone", alone, counts))
    try:
        mean = mean_difference(*gains, confidence=confidence)
    except InsufficientProbes:
        findings.notes.append("The mean increase is not compared: fewer than 10 images a side.")
    else:
        findings.also_measured.append(estimate("Mean increase of members minus that of non-members", mean, counts))
    GROUPS.add_histogram(findings, gains)
    judged = replace(working, limit=working.limit + working.fpr)
    for title, side in ((" of the increase", gains), (" of the fine-tuned model alone", scores)):
        GROUPS.add_roc(findings, side, judged, of=title)


def _recognised(members: ImageSet, gain: Vector, others: Vector) -> records.Table:
    """The members whose score rose most, each with the chance of a non-member rising as far."""
    p_values, ids = exceedance_p_values(gain, others), members.ids()
    first = np.argsort(-gain, kind="stable")[:LISTED]
    more = f", the first {LISTED} of {len(gain)}" if len(gain) > LISTED else ""
    rows = tuple((ids[i], f"{gain[i]:.4g}", f"{p_values[i]:.2g}") for i in first.tolist())
    return records.Table(
        caption=f"Fine-tuning images by what the fine-tune learned of them{more}",
        columns=("image", "increase of the score", "p-value among non-members"),
        rows=rows,
    )
