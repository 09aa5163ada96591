"""The claim "an attack tells members from others no better than allowed": AUROC below a limit, perhaps pair by pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pytest_diffprivacy.audit import Auditor, Claim, Findings, current_auditor
from pytest_diffprivacy.claims.claim import assertion, conclude, of
from pytest_diffprivacy.claims.two_groups import Groups
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.methods import MethodLike
from pytest_diffprivacy.sources import Scores, Source, Vector, Wanted, scores_of
from pytest_diffprivacy.sources.controls import negative_controls
from pytest_diffprivacy.sources.score_figures import WorkingPoint
from pytest_diffprivacy.sources.subjects import NAMES, CountedUnit, by_unit, images_of
from pytest_diffprivacy.statistics import Measured, SequentialTest, Verdict, pair_order, pair_outcomes, sequential_mean
from pytest_diffprivacy.statistics.arguments import check_fraction
from pytest_diffprivacy.statistics.auroc import AurocStatistic
from pytest_diffprivacy.statistics.sequential import SequentialMeanStatistic

HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "The attack tells members from other images no better than allowed.",
    Verdict.FAIL: "The attack tells members from other images better than allowed.",
    Verdict.INCONCLUSIVE: "These probes do not decide how well members can be told from other images.",
    Verdict.ERROR: "Membership could not be judged.",
}
PAIRS_AT_A_TIME = 64
WORKING_FPR = 0.01
LOOKS_DRAWN = 60


@assertion
def assert_mia_auroc_below(
    model: object,
    probes: object,
    *,
    attack: MethodLike = "secmi",
    limit: float,
    unit: CountedUnit = "image",
    sequential: bool = False,
    confidence: float | None = None,
    parameters: Mapping[str, Any] | None = None,
    auditor: Auditor | None = None,
) -> records.Claim:
    """Assert that an attack ranks a random member above a random other image with probability at most `limit`.

    With `sequential`, disjoint pairs of a member and a non-member are scored in an order that the seed fixed before
    anything was scored, and the audit stops as soon as a bound passes the limit, in either direction. These bounds hold
    at every look at once, so that stopping costs no confidence; but a run that goes to its end decides less than one
    that looks only once.

    Args:
        model: a model with grey-box access; a ScoreTable; or the members' scores, an array (members,).
        probes: the ProbeSet; or the non-members' scores, an array (non-members,), higher = more likely member.
        attack: name of an attack, an Attack, or a callable (model, images) -> scores, higher = more likely member; a
            column of the ScoreTable. Left alone where scores are given.
        limit: allowed AUROC, at least 0.5: 0.5 is what no leak gives.
        unit: what the area and its bounds count: "image", or "subject": all images of one person are one probe, whose
            score is their mean (`ProbeSet(..., subjects=...)`).
        sequential: whether to stop as soon as the pairs so far decide.
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

    Source: AUROC by DeLong et al. 1988 (METHODS 7.3); pairs and stopping by Waudby-Smith and Ramdas 2024 (METHODS 7.9).
    """
    auditor = auditor or current_auditor()
    level = auditor.confidence(confidence)
    allowed = check_fraction("limit", limit)
    if allowed < 0.5:
        raise UsageError(f"`limit` must be at least 0.5, got {limit!r}. 0.5 is what no leak gives.")
    wanted = Wanted(
        kind="membership", attack=attack, default="secmi", parameters=parameters, purpose="Membership inference",
        confidence=level,
    )  # fmt: skip
    source = by_unit(scores_of(auditor, model, probes, wanted), unit, probes)
    if sequential and unit != "image":
        raise UsageError(f"`sequential` must be False where subjects are counted, got unit {unit!r}.")
    if len(source.titles) > 1:
        raise UsageError("`attack` must be one attack here, got a family. Use assert_mia_tpr_below for families.")
    how = ", judged pair by pair" if sequential else ""
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
        pairwise = SequentialMeanStatistic(confidence=level)
        return conclude(
            auditor, claim, source, pairwise,
            lambda findings: _pair_by_pair(findings, source, pairwise, claim, auditor.seed),
            units=2 * min(source.counts),
        )  # fmt: skip
    once = AurocStatistic(confidence=level)
    return conclude(
        auditor, claim, source, once,
        lambda findings: _at_once(findings, source, once, claim, Groups(names=NAMES[unit]), auditor.seed),
        units=images_of(probes, source.counts),
    )  # fmt: skip


def _at_once(
    findings: Findings, source: Source, statistic: AurocStatistic, claim: Claim, groups: Groups, seed: int
) -> Measured:
    """All probes, one look."""
    source.describe(findings)
    ((name, pair),) = source.scores(findings).items()
    _show(findings, source, {name: pair}, claim, groups, seed)
    if source.split is not None:
        source.split.compare(findings, "", *pair)
    arrays = {"members": {"member_scores": pair[0]}, "nonmembers": {"nonmember_scores": pair[1]}}
    return findings.measure(statistic, arrays, claim.limit)


def _pair_by_pair(
    findings: Findings, source: Source, statistic: SequentialMeanStatistic, claim: Claim, seed: int
) -> Measured:
    """Disjoint pairs in an order fixed by the seed, until they decide."""
    source.describe(findings)
    orders = source.orders
    order = pair_order(*map(len, orders), seed=seed)
    # By digest, so that the order does not depend on that of the files.
    queues = orders[0][order.members], orders[1][order.nonmembers]
    test, pairs = SequentialTest(claim.limit, confidence=claim.confidence), len(order.members)
    scored: list[list[Vector]] = [[], []]
    for start in range(0, pairs, PAIRS_AT_A_TIME):
        part = slice(start, start + PAIRS_AT_A_TIME)
        for side, queue in enumerate(queues):
            scored[side].append(source.side(findings, side, queue[part].tolist()))
        if test.feed(pair_outcomes(scored[0][-1], scored[1][-1])):
            break
    members, nonmembers = (np.concatenate(side) for side in scored)
    ((name, _),) = source.titles.items()
    _show(findings, source, {name: (members, nonmembers)}, claim, Groups(), seed)
    findings.arrays |= {"member_scores": members, "nonmember_scores": nonmembers}
    values = pair_outcomes(members, nonmembers)[: test.items]
    findings.charts.append(_interim(values, claim.limit, claim.confidence))
    stopped = f"decided after {test.items} of {pairs} pairs" if test.decided else f"all {pairs} pairs did not decide"
    findings.notes.append(
        f"Pairs of a member and a non-member were scored in an order that the seed fixed beforehand: {stopped}. The "
        "bounds hold at every look at once."
    )
    if test.decided and len(members) < pairs:
        findings.work.incidents.append(f"Stopped early: {len(members)} of {pairs} pairs were scored.")
    return findings.measure(statistic, {"values": {"values": values}}, claim.limit)


def _show(findings: Findings, source: Source, scores: Scores, claim: Claim, groups: Groups, seed: int) -> None:
    """What a reader sees of the scores, whichever way they are judged; their coherence and the negative control."""
    ((name, pair),) = scores.items()
    title = source.titles[name]
    groups.check_order(findings, pair, title, source.remedy)
    negative_controls({name: pair}, {name: title}, seed, findings)
    groups.add_histogram(findings, pair)
    groups.add_roc(findings, pair, WorkingPoint(WORKING_FPR, claim.limit, claim.confidence))


def _interim(values: Vector, limit: float, confidence: float) -> records.Chart:
    """The confidence sequence over the pairs."""
    looks = np.unique(np.linspace(1, len(values), LOOKS_DRAWN).round().astype(int))
    found = [sequential_mean(values[:n], confidence=confidence) for n in looks]
    return records.Chart(
        title="AUROC pair by pair",
        x_label="pairs scored",
        y_label="share of pairs in which the member scores higher",
        series=(
            records.Series(
                name="mean so far, and bounds that hold at all times",
                x=tuple(float(n) for n in looks),
                y=tuple(f.value for f in found),
                low=tuple(f.low for f in found),
                high=tuple(f.high for f in found),
            ),
            records.Series(name="limit", x=(1.0, float(len(values))), y=(limit, limit)),
        ),
        confidence=confidence,
    )
