"""The claim "training images cannot be recognised": TPR at a small FPR stays below a limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Auditor, Claim, Findings, current_auditor, estimate
from pytest_diffprivacy.claims.claim import assertion, conclude, of, refuse_idle
from pytest_diffprivacy.claims.two_groups import SIGN, Groups
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.membership.combine import cross_fitted_scores
from pytest_diffprivacy.methods import MethodLike
from pytest_diffprivacy.sources import Pair, Scores, Source, Wanted, scores_of
from pytest_diffprivacy.sources.black_box import asks_again
from pytest_diffprivacy.sources.controls import negative_controls
from pytest_diffprivacy.sources.recognised import note_looked, note_recognised
from pytest_diffprivacy.sources.score_figures import WorkingPoint
from pytest_diffprivacy.sources.source import is_array, made_elsewhere
from pytest_diffprivacy.sources.subjects import NAMES, CountedUnit, by_unit, images_of
from pytest_diffprivacy.statistics import (
    FamilyTpr,
    Measured,
    Verdict,
    check_coherence,
    epsilon_lower_bound,
    nonmembers_needed,
)
from pytest_diffprivacy.statistics.arguments import check_count, check_fraction
from pytest_diffprivacy.statistics.family import FamilyTprStatistic
from pytest_diffprivacy.statistics.two_looks import TwoLooksTpr, TwoLooksTprStatistic, two_looks_tpr

HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "Members are recognised no more often than allowed.",
    Verdict.FAIL: "Members can be recognised more often than allowed.",
    Verdict.INCONCLUSIVE: "These probes do not decide how often members can be recognised.",
    Verdict.ERROR: "Membership could not be judged.",
}
MANY_TIES = 0.5
COMBINED: Final = "combined"


@assertion
def assert_mia_tpr_below(
    model: object,
    probes: object,
    *,
    attack: MethodLike | Sequence[MethodLike] = "secmi",
    combine: bool = False,
    max_fpr: float = 0.01,
    limit: float,
    unit: CountedUnit = "image",
    sequential: bool = False,
    own_generations: int = 0,
    confidence: float | None = None,
    parameters: Mapping[str, Any] | None = None,
    auditor: Auditor | None = None,
) -> records.Claim:
    """Assert that an attacker recognises at most `limit` of the members while accusing `max_fpr` of the others.

    The verdict compares bounds of the TPR at FPR <= max_fpr that include the error of the threshold: PASS iff the upper
    bound is at most the limit, FAIL iff the lower one is above it. With several attacks, PASS needs every attack's
    upper bound, and FAIL a lower bound that is corrected for their number.

    Args:
        model: a model with grey-box access (see models.load_model); a ScoreTable, whose columns are the attacks; or the
            members' scores, an array (members,).
        probes: the ProbeSet; or the non-members' scores, an array (non-members,), higher = more likely member.
        attack: name of an attack in membership.ATTACKS, an Attack (e.g. `lira_attack(shadows)`), a callable (model,
            images in [0, 1]) -> scores, higher = more likely member; a list of them, judged as one family; or "all",
            which runs what the model's access and the probes allow and notes what it left out. Left alone where scores
            are given.
        combine: judge as one more of the family a score learned from those of the attacks, cross-fitted: no image is
            scored by a model that saw its label. An attack may find alone what a combination hides, so each counts.
        max_fpr: allowed share of non-members taken for members.
        limit: allowed share of members recognised.
        unit: what TPR, FPR and every bound count: "image", or "subject": all images of one person are one probe, whose
            score is their mean (`ProbeSet(..., subjects=...)`).
        sequential: whether to score a part of the probes first, in an order drawn by the seed, and the rest only if it
            does not decide; the looks share one significance. For one attack and images as units. Where a part would
            seldom decide, all are judged at one look.
        own_generations: images of the model's own, scored as if they were members, as a control against likelihood: an
            attack that takes them for members measures how likely an image is, and the record says so.
        confidence: of each one-sided bound; the session's by default.
        parameters: arguments of the attack that differ from its defaults, e.g. {"timestep": 100}; by attack for
            several, e.g. {"secmi": {"timestep": 100}}. A list, e.g. {"timestep": [50, 100]}, makes a family of them.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record, with `.verdict`, `.value`, `.low` and `.high`.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: neither bound decides, there are too few non-members for this FPR, or members and non-members
            differ without the model (the split is confounded).
        UsageError: a bad argument, a split with shared images, or a model without the access that the attack needs.
        AuditError: the model returns NaN, all scores of an attack are equal, a control failed, or an attack that ranks
            members last would pass.

    Source: TPR at low FPR as in Carlini et al. 2022 (LiRA), section 3; interval of METHODS 7.2, families of 7.8.
    """
    auditor = auditor or current_auditor()
    level = auditor.confidence(confidence)
    max_fpr, limit = check_fraction("max_fpr", max_fpr), check_fraction("limit", limit, zero=True)
    if made_elsewhere(model):
        asked = {"parameters": parameters, "own_generations": own_generations}
        refuse_idle(assert_mia_tpr_below, asked | ({"attack": attack} if is_array(model) else {}))
    wanted = Wanted(
        kind="membership", attack=attack, default="secmi", parameters=parameters, purpose="Membership inference",
        confidence=level, own_generations=check_count("own_generations", own_generations, least=0),
    )  # fmt: skip
    source, groups = by_unit(scores_of(auditor, model, probes, wanted), unit, probes), Groups(names=NAMES[unit])
    names, more = tuple(source.titles), own_generations > 0 or asks_again(source)
    if combine and len(names) < 2:
        raise UsageError("`combine` must be left out for one attack. Name at least two attacks to combine.")
    if sequential and (len(names) > 1 or unit != "image"):
        raise UsageError("`sequential` must be False for a family of attacks, and where subjects are counted.")
    claim = Claim(
        kind="membership",
        name="mia_tpr_below",
        slug=f"mia-{source.slug}" + ("-sequential" if sequential else ""),
        sentence=of(
            f"TPR at FPR <= {max_fpr:.4g} is at most {limit:.4g}",
            source.title + (", combined" if combine else "") + (", judged in two looks" if sequential else ""),
        ),
        limit=limit,
        headlines=HEADLINES,
        confidence=level,
        terms={"max_fpr": max_fpr},
    )

    if sequential:
        looks = two_looks_tpr(*source.counts, max_fpr=max_fpr, limit=limit, confidence=level)
        return conclude(
            auditor, claim, source, looks, lambda findings: _in_looks(findings, source, looks, claim, auditor.seed),
            at_least=more,
        )  # fmt: skip
    attacks = (*names, COMBINED) if combine else names
    statistic = FamilyTprStatistic(
        max_fpr=max_fpr, confidence=level, limit=limit, attacks=attacks, sides=groups.sides
    )  # fmt: skip

    def measure(findings: Findings) -> Measured:
        source.describe(findings)
        scores = source.scores(findings)
        if combine:
            scores = scores | _combined(scores, auditor.seed, findings)
        return _measured(findings, scores, source, statistic, claim, groups, auditor.seed)

    units = images_of(probes, source.counts)
    return conclude(auditor, claim, source, statistic, measure, units=units, at_least=more)


def _in_looks(
    findings: Findings, source: Source, planned: TwoLooksTprStatistic, claim: Claim, seed: int
) -> TwoLooksTpr:
    """A part of both sides in an order drawn by the seed, and the rest where it does not decide."""
    source.describe(findings)
    sizes = [len(order) for order in source.orders]
    level = findings.level(claim.confidence)
    statistic = two_looks_tpr(*sizes, max_fpr=planned.max_fpr, limit=claim.limit, confidence=level)
    # By digest, so that the order does not depend on that of the files.
    stream = np.random.default_rng([seed, 5, *sizes])
    queues = [order[stream.permutation(len(order))] for order in source.orders]
    scores: list[NDArray[np.float64]] = [np.empty(0), np.empty(0)]
    for look in statistic.looks:
        for side, (queue, size) in enumerate(zip(queues, (look.members, look.nonmembers), strict=True)):
            part = queue[len(scores[side]) : size].tolist()
            scores[side] = np.concatenate([scores[side], source.side(findings, side, part)])
        if statistic.decided({"members": [scores[0]], "nonmembers": [scores[1]]}):
            break
    ((name, title),) = source.titles.items()
    pair, groups = (scores[0], scores[1]), Groups()
    note_looked(findings, source, {name: pair}, (queues[0], queues[1]))
    _check(findings, {name: pair}, {name: title}, seed)
    groups.add_auroc(findings, pair, claim.confidence)
    groups.add_histogram(findings, pair)
    groups.add_roc(findings, pair, WorkingPoint(statistic.max_fpr, claim.limit, claim.confidence))
    findings.notes.append(
        f"Scored were {len(pair[0])} of {sizes[0]} members and {len(pair[1])} of {sizes[1]} non-members, in an order "
        f"that the seed fixed beforehand, in {len(statistic.looks)} look(s) at the most. The bounds hold at all looks "
        "at once."
    )
    arrays = {"members": {"member_scores": pair[0]}, "nonmembers": {"nonmember_scores": pair[1]}}
    measured = findings.measure(statistic, arrays, claim.limit)
    assert isinstance(measured, TwoLooksTpr)
    return measured


def _combined(scores: Scores, seed: int, findings: Findings) -> Scores:
    """The attacks' scores as one, by logistic regression cross-fitted over the images."""
    members, nonmembers = (np.stack([pair[side] for pair in scores.values()], axis=1) for side in (0, 1))
    findings.notes.append(
        "The attacks' scores were combined by cross-fitted logistic regression: labels train the combination, but no "
        "image is scored by a model that saw its label. The interval is approximate."
    )
    return {COMBINED: cross_fitted_scores(members, nonmembers, seed=seed)}


def _measured(
    findings: Findings,
    scores: Scores,
    source: Source,
    statistic: FamilyTprStatistic,
    claim: Claim,
    groups: Groups,
    seed: int,
) -> FamilyTpr:
    """Scores to the TPR with its bounds; everything else that a reader wants goes into the findings."""
    several, titles = len(scores) > 1, source.titles
    _check(findings, scores, titles, seed)
    working = WorkingPoint(statistic.max_fpr, claim.limit, statistic.confidence)
    for name, pair in scores.items():
        of_one = f": {titles.get(name, name)}" if several else ""
        groups.add_auroc(findings, pair, statistic.confidence, of=of_one)
        groups.add_histogram(findings, pair, of=of_one)
        groups.add_roc(findings, pair, working, of=of_one)
    if source.split is not None:
        for name, pair in scores.items():
            source.split.compare(findings, f" ({titles.get(name, name)})" if several else "", *pair)
    arrays = {
        role: {f"{key} {name}" if several else key: pair[side] for name, pair in scores.items()}
        for side, (role, key) in enumerate((("members", "member_scores"), ("nonmembers", "nonmember_scores")))
    }
    note_recognised(findings, source, scores)
    measured = findings.measure(statistic, arrays, claim.limit)
    assert isinstance(measured, FamilyTpr)
    if several:
        _note_family(findings, measured, scores, titles, statistic, groups)
    _note_edges(findings, scores[measured.worst], statistic, len(scores), seed)
    return measured


def _check(findings: Findings, scores: Scores, titles: Mapping[str, str], seed: int) -> None:
    """Coherence of all scores and the negative controls; attacks that all rank members last may not pass."""
    found = {name: check_coherence(*pair, title=titles.get(name, name)) for name, pair in scores.items()}
    negative_controls(scores, titles, seed, findings)
    last = [titles.get(name, name) for name, coherence in found.items() if coherence.ranked_last]
    if last:
        text = f"{', '.join(last)} ranks members last beyond chance: its reverse recognises them. {SIGN}"
        findings.notes.append(f"{text}; this attack's low TPR shows nothing.")
        if len(last) == len(scores):
            findings.cannot_pass = f"{text}, so a low TPR proves nothing. Judge by another attack."
    tied = max(coherence.tied for coherence in found.values())
    if tied > MANY_TIES:
        findings.notes.append(f"{tied:.0%} of the scores are tied with another: bounds are wider than they need be.")


def _note_family(
    findings: Findings,
    measured: FamilyTpr,
    scores: Scores,
    titles: Mapping[str, str],
    statistic: FamilyTprStatistic,
    groups: Groups,
) -> None:
    """Each attack's own TPR, and how they make one verdict."""
    counts = groups.sizes(scores[measured.worst])
    findings.also_measured += [
        estimate(f"TPR at FPR <= {statistic.max_fpr:.4g}: {titles.get(name, name)}", own, counts)
        for name, own in measured.attacks.items()
    ]
    findings.notes.append(
        f"One family of {len(scores)} attacks: the upper bound is the largest of theirs; the lower bound is the "
        f"largest at confidence {_corrected(statistic, len(scores)):.4g} each."
    )


def _note_edges(findings: Findings, pair: Pair, statistic: FamilyTprStatistic, attacks: int, seed: int) -> None:
    """What the scores say of epsilon, and whether there are enough non-members for a FAIL."""
    if min(map(len, pair)) > 1:
        bound = epsilon_lower_bound(*pair, confidence=statistic.confidence, seed=seed)
        findings.notes.append(
            f"Empirical epsilon of this split, from TPR and FPR at a threshold chosen on one half: at least "
            f"{bound.value:.3g}. It describes this model on these images. Members are no independent trials of the "
            "training, so it is no bound of a training procedure; that takes canaries (plant_canaries)."
        )
    least = nonmembers_needed(statistic.max_fpr, _corrected(statistic, attacks))
    if len(pair[1]) < least:
        findings.notes.append(
            f"With {len(pair[1])} non-members no lower bound above 0 exists at this FPR: the claim can PASS but "
            f"never FAIL. At least {least} non-members are needed for that."
        )


def _corrected(statistic: FamilyTprStatistic, attacks: int) -> float:
    """A FAIL is judged at the family's corrected confidence, a PASS at the plain one."""
    return 1.0 - (1.0 - statistic.confidence) / attacks
