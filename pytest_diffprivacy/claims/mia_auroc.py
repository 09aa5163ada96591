"""The claim "an attack tells members from others no better than allowed": AUROC below a limit, perhaps in few looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pytest_diffprivacy.audit import Auditor, Claim, Findings, current_auditor
from pytest_diffprivacy.claims.claim import assertion, conclude, of, refuse_idle
from pytest_diffprivacy.claims.two_groups import Groups
from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.methods import MethodLike
from pytest_diffprivacy.sources import Scores, Source, Vector, Wanted, scores_of
from pytest_diffprivacy.sources.black_box import asks_again
from pytest_diffprivacy.sources.controls import negative_controls
from pytest_diffprivacy.sources.recognised import note_looked, note_recognised
from pytest_diffprivacy.sources.score_figures import WorkingPoint
from pytest_diffprivacy.sources.source import is_array, made_elsewhere
from pytest_diffprivacy.sources.subjects import NAMES, CountedUnit, by_unit, images_of
from pytest_diffprivacy.statistics import Measured, Verdict, decide, pair_order
from pytest_diffprivacy.statistics.arguments import check_count, check_fraction
from pytest_diffprivacy.statistics.auroc import AurocStatistic
from pytest_diffprivacy.statistics.group_sequential import GroupSequentialAuroc, group_sequential_auroc

HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "The attack tells members from other images no better than allowed.",
    Verdict.FAIL: "The attack tells members from other images better than allowed.",
    Verdict.INCONCLUSIVE: "These probes do not decide how well members can be told from other images.",
    Verdict.ERROR: "Membership could not be judged.",
}
WORKING_FPR = 0.01


@assertion
def assert_mia_auroc_below(
    model: object,
    probes: object,
    *,
    attack: MethodLike = "secmi",
    limit: float,
    unit: CountedUnit = "image",
    sequential: bool = False,
    own_generations: int = 0,
    confidence: float | None = None,
    parameters: Mapping[str, Any] | None = None,
    auditor: Auditor | None = None,
) -> records.Claim:
    """Assert that an attack ranks a random member above a random other image with probability at most `limit`.

    With `sequential`, members and as many non-members are scored in an order that the seed fixed before anything was
    scored, and the audit stops at the first of a few looks, fixed as well, whose bounds decide, in either direction.
    These bounds hold at all looks at once, so that stopping costs no confidence; but a run that goes to its end decides
    less than one that looks only once.

    Args:
        model: a model with grey-box access; a ScoreTable; or the members' scores, an array (members,).
        probes: the ProbeSet; or the non-members' scores, an array (non-members,), higher = more likely member.
        attack: name of an attack, an Attack, or a callable (model, images) -> scores, higher = more likely member; a
            column of the ScoreTable. Left out where scores are given as arrays.
        limit: allowed AUROC, at least 0.5: 0.5 is what no leak gives.
        unit: what the area and its bounds count: "image", or "subject": all images of one person are one probe, whose
            score is their mean (`ProbeSet(..., subjects=...)`).
        sequential: whether to stop as soon as the scores so far decide.
        own_generations: images of the model's own, scored as if they were members, as a control against likelihood: an
            attack that takes them for members measures how likely an image is, and the record says so.
        confidence: of each one-sided bound; the session's by default.
        parameters: arguments of the attack that differ from its defaults.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record, with `.verdict`, `.value`, `.low` and `.high`.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: neither bound decides.
        UsageError: a bad argument, a split with shared images, or a model without the access needed.
        AuditError: the model returns NaN, all scores are equal, a control failed, or an attack that ranks members last
            would pass.

    Source: AUROC by DeLong et al. 1988 (METHODS 7.3); looks by Lan and DeMets 1983 (METHODS 7.9).
    """
    auditor = auditor or current_auditor()
    level = auditor.confidence(confidence)
    allowed = check_fraction("limit", limit)
    if allowed < 0.5:
        raise UsageError(f"`limit` must be at least 0.5, got {limit!r}. 0.5 is what no leak gives.")
    if made_elsewhere(model):
        asked = {"parameters": parameters, "own_generations": own_generations}
        refuse_idle(assert_mia_auroc_below, asked | ({"attack": attack} if is_array(model) else {}))
    wanted = Wanted(
        kind="membership", attack=attack, default="secmi", parameters=parameters, purpose="Membership inference",
        confidence=level, own_generations=check_count("own_generations", own_generations, least=0),
    )  # fmt: skip
    source = by_unit(scores_of(auditor, model, probes, wanted), unit, probes)
    if sequential and unit != "image":
        raise UsageError(f"`sequential` must be False where subjects are counted, got unit {unit!r}.")
    if len(source.titles) > 1:
        raise UsageError("`attack` must be one attack here, got a family. Use assert_mia_tpr_below for families.")
    how, more = ", judged in few looks" if sequential else "", own_generations > 0 or asks_again(source)
    claim = Claim(
        kind="membership",
        name="mia_auroc_below",
        slug=f"auroc-{source.slug}" + ("-sequential" if sequential else ""),
        sentence=of(f"AUROC is at most {allowed:.4g}", source.title + how),
        limit=allowed,
        headlines=HEADLINES,
        confidence=level,
    )
    if sequential:
        # Counts at least 2: with fewer, the plan says that they are too few.
        in_groups = group_sequential_auroc(allowed, max(2, min(source.counts)), confidence=level)
        return conclude(
            auditor, claim, source, in_groups,
            lambda findings: _in_groups(findings, source, claim, auditor.seed),
            units=2 * min(source.counts), at_least=more,
        )  # fmt: skip
    once = AurocStatistic(confidence=level)
    return conclude(
        auditor, claim, source, once,
        lambda findings: _at_once(findings, source, once, claim, Groups(names=NAMES[unit]), auditor.seed),
        units=images_of(probes, source.counts), at_least=more,
    )  # fmt: skip


def _at_once(
    findings: Findings, source: Source, statistic: AurocStatistic, claim: Claim, groups: Groups, seed: int
) -> Measured:
    """All probes, one look."""
    source.describe(findings)
    ((name, pair),) = source.scores(findings).items()
    _show(findings, source, {name: pair}, claim, groups, seed)
    note_recognised(findings, source, {name: pair})
    if source.split is not None:
        source.split.compare(findings, "", *pair)
    arrays = {"members": {"member_scores": pair[0]}, "nonmembers": {"nonmember_scores": pair[1]}}
    return findings.measure(statistic, arrays, claim.limit)


def _in_groups(findings: Findings, source: Source, claim: Claim, seed: int) -> Measured:
    """As many members as non-members in an order fixed by the seed, look by look until one decides."""
    source.describe(findings)
    orders = source.orders
    order = pair_order(*map(len, orders), seed=seed)
    pairs = len(order.members)
    if pairs < 2:
        raise InsufficientProbes(f"Cannot bound AUROC from {pairs} member and non-member: add probes.", needed=2)
    statistic = group_sequential_auroc(claim.limit, pairs, confidence=findings.level(claim.confidence))
    # By digest, so that the order does not depend on that of the files.
    queues = orders[0][order.members], orders[1][order.nonmembers]
    scores: list[Vector] = [np.empty(0), np.empty(0)]
    for look in statistic.looks:
        for side, queue in enumerate(queues):
            part = queue[len(scores[side]) : look.pairs].tolist()
            scores[side] = np.concatenate([scores[side], source.side(findings, side, part)])
        if statistic.decided({"members": [scores[0]], "nonmembers": [scores[1]]}, claim.limit):
            break
    members, nonmembers = scores
    ((name, _),) = source.titles.items()
    note_looked(findings, source, {name: (members, nonmembers)}, queues)
    _show(findings, source, {name: (members, nonmembers)}, claim, Groups(), seed)
    arrays = {"members": {"member_scores": members}, "nonmembers": {"nonmember_scores": nonmembers}}
    measured = findings.measure(statistic, arrays, claim.limit)
    found = statistic.trajectory({"members": [members], "nonmembers": [nonmembers]})
    findings.charts.append(_interim(found, claim.limit, statistic.confidence))
    decided = decide(measured, claim.limit).verdict in (Verdict.PASS, Verdict.FAIL)
    said = f"{len(members)} of {pairs} of each decided" if decided else f"all {pairs} of each did not decide"
    findings.notes.append(
        f"Members and as many non-members were scored in an order that the seed fixed beforehand: {said}, at look "
        f"{len(found)} of {len(statistic.looks)}. The bounds hold at all looks at once."
    )
    return measured


def _show(findings: Findings, source: Source, scores: Scores, claim: Claim, groups: Groups, seed: int) -> None:
    """What a reader sees of the scores, whichever way they are judged; their coherence and the negative control."""
    ((name, pair),) = scores.items()
    title = source.titles[name]
    groups.check_order(findings, pair, title, source.remedy)
    negative_controls({name: pair}, {name: title}, seed, findings)
    groups.add_histogram(findings, pair)
    groups.add_roc(findings, pair, WorkingPoint(WORKING_FPR, claim.limit, claim.confidence))


def _interim(found: list[GroupSequentialAuroc], limit: float, confidence: float) -> records.Chart:
    """The bounds at each look."""
    x = tuple(float(f.pairs) for f in found)
    return records.Chart(
        title="AUROC at every look",
        x_label="members scored, and as many non-members",
        y_label="AUROC",
        series=(
            records.Series(
                name="AUROC so far; bounds hold at all looks at once",
                x=x,
                y=tuple(f.value for f in found),
                low=tuple(f.low for f in found),
                high=tuple(f.high for f in found),
            ),
            records.Series(name="limit", x=(x[0], x[-1]), y=(limit, limit)),
        ),
        confidence=confidence,
    )
