"""The claim "an attack tells members from others no better than allowed": AUROC below a limit, perhaps pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.attacks import AttackLike, plan_attacks, planned_evaluations
from pytest_diffprivacy.assertions.coherence import check_order
from pytest_diffprivacy.assertions.controls import (
    ELSEWHERE,
    negative_controls,
    no_positive_control,
    positive_controls,
)
from pytest_diffprivacy.assertions.evidence import histogram_record, roc_record, table_method
from pytest_diffprivacy.assertions.plans import Planned, planned_auroc, sides
from pytest_diffprivacy.assertions.split import JudgedSplit, judged_split
from pytest_diffprivacy.audit import Auditor, Findings, Question, current_auditor
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Chart, Claim, Method, Recipe, Series
from pytest_diffprivacy.models.identity import ModelIdentity
from pytest_diffprivacy.models.protocols import require_denoiser
from pytest_diffprivacy.probes import ImageSet, ProbeSet, ScoreTable
from pytest_diffprivacy.statistics import (
    Measured,
    PairOrder,
    SequentialTest,
    Verdict,
    auroc,
    pair_order,
    pair_outcomes,
    probes_needed_for_auroc,
    sequential_mean,
)
from pytest_diffprivacy.statistics.arguments import IntArray, check_fraction

NAME = "mia_auroc_below"
HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "The attack tells members from other images no better than allowed.",
    Verdict.FAIL: "The attack tells members from other images better than allowed.",
    Verdict.INCONCLUSIVE: "These probes do not decide how well members can be told from other images.",
    Verdict.ERROR: "Membership could not be judged.",
}
PAIRS_AT_A_TIME = 64
WORKING_FPR = 0.01
LOOKS_DRAWN = 60

Vector = NDArray[np.float64]


def assert_mia_auroc_below(
    model: object,
    probes: ProbeSet,
    *,
    attack: AttackLike = "secmi",
    limit: float,
    sequential: bool = False,
    confidence: float | None = None,
    parameters: Mapping[str, Any] | None = None,
    auditor: Auditor | None = None,
) -> Claim:
    """Assert that an attack ranks a random member above a random other image with probability at most `limit`.

    With `sequential`, disjoint pairs of a member and a non-member are scored in an order that the seed fixed before
    anything was scored, and the audit stops as soon as a bound passes the limit, in either direction. These bounds hold
    at every look at once, so that stopping costs no confidence; but a run that goes to its end decides less than one
    that looks only once.

    Args:
        model: a model with grey-box access, or a ScoreTable.
        probes: the ProbeSet.
        attack: name of an attack, an Attack, or a callable (model, images) -> scores, higher = more likely member; a
            column of the ScoreTable.
        limit: allowed AUROC, at least 0.5: 0.5 is what no leak gives.
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
    judge = auditor or current_auditor()
    level = judge.confidence(confidence)
    allowed = check_fraction("limit", limit)
    if allowed < 0.5:
        raise UsageError(f"`limit` must be at least 0.5, got {limit!r}. 0.5 is what no leak gives.")
    if not isinstance(probes, ProbeSet):
        raise UsageError(
            f"`probes` must be a ProbeSet, got {type(probes).__name__}. Pass ProbeSet(members, nonmembers)."
        )
    given, how = dict(parameters or {}), ", judged pair by pair" if sequential else ""
    if judge.planning:
        evaluations, title = _planned_scorer(model, attack, given)
        planned = Planned(
            judge=judge, model=model, kind="membership", sentence=f"AUROC is at most {allowed:.4g} ({title}{how})",
            limit=allowed, confidence=level, evaluations=evaluations,
        )  # fmt: skip
        return planned_auroc(planned, sides(probes), sequential=sequential)
    gate = judged_split(judge, probes)
    scorer = (
        _scored_elsewhere(model, probes, gate, attack, given)
        if isinstance(model, ScoreTable)
        else _scored_here(judge, model, gate.probes, attack, given)
    )
    question = Question(
        kind="membership",
        slug=f"auroc-{scorer.name}" + ("-sequential" if sequential else ""),
        sentence=f"AUROC is at most {allowed:.4g} ({scorer.title}{how})",
        limit=allowed,
        headlines=HEADLINES,
        model=scorer.identity,
        probes=gate.probes,
        counts=f"{len(gate.probes.members)} members, {len(gate.probes.nonmembers)} non-members",
        confidence=level,
        name=NAME,
    )
    measure = _pair_by_pair if sequential else _at_once

    def measured(findings: Findings) -> Measured:
        findings.methods, findings.notes = [scorer.method], list(scorer.notes)
        gate.note(findings)
        scorer.controls(findings)
        return measure(findings, scorer, gate, allowed, level, judge.seed)

    return judge.judge(question, measured)


@dataclass(frozen=True, slots=True)
class _Scorer:
    """Where scores come from; `scores(findings, side, images)` gives those of some members (side 0) or non-members."""

    name: str
    title: str
    identity: ModelIdentity | None
    method: Method
    notes: tuple[str, ...]
    controls: Callable[[Findings], None]
    scores: Callable[[Findings, int, Sequence[int]], Vector]


def _scored_here(
    judge: Auditor, model: object, probes: ProbeSet, attack: AttackLike, parameters: Mapping[str, Any]
) -> _Scorer:
    denoiser = require_denoiser(model, "Membership inference")
    planned, notes = plan_attacks(denoiser, probes, attack, parameters, judge.seed)
    if len(planned) > 1:
        raise UsageError("`attack` must be one attack here, got a family. Use assert_mia_tpr_below for families.")
    ((task, method),) = ((plan.task, plan.method) for plan in planned)
    sides = (probes.members, probes.nonmembers)

    def scores(findings: Findings, side: int, images: Sequence[int]) -> Vector:
        return judge.scores(denoiser, sides[side].subset(images), task, findings.work)

    def controls(findings: Findings) -> None:
        positive_controls(judge, denoiser, probes, planned, findings)

    return _Scorer(task.name, method.title, denoiser.identity, method, tuple(notes), controls, scores)


def _planned_scorer(model: object, attack: AttackLike, parameters: Mapping[str, Any]) -> tuple[int | None, str]:
    """Network evaluations an image, and what scores."""
    if isinstance(model, ScoreTable):
        return 0, ", ".join(model.choose(attack, "secmi"))
    return planned_evaluations(attack, parameters)


def _scored_elsewhere(
    model: ScoreTable, probes: ProbeSet, gate: JudgedSplit, attack: AttackLike, parameters: Mapping[str, Any]
) -> _Scorer:
    columns = model.choose(attack, "secmi")
    if len(columns) > 1 or parameters:
        raise UsageError(f"`attack` must be one column of {model.origin} and `parameters` left out, got {columns}.")
    joined = model.join(probes, columns[0], kept=gate.probes)

    def scores(findings: Findings, side: int, images: Sequence[int]) -> Vector:
        return np.asarray(joined[side][np.asarray(images)])

    method = table_method(model, columns[0])
    return _Scorer(
        columns[0],
        method.title,
        None,
        method,
        (),
        lambda findings: no_positive_control(method.title, ELSEWHERE, findings),
        scores,
    )


def _at_once(
    findings: Findings, scorer: _Scorer, gate: JudgedSplit, limit: float, confidence: float, seed: int
) -> Measured:
    """All probes, one look."""
    probes = gate.probes
    members, nonmembers = (scorer.scores(findings, s, range(len(side))) for s, side in enumerate(_sides(probes)))
    _show(findings, scorer, members, nonmembers, limit, confidence, seed)
    gate.compare(findings, "", members, nonmembers)
    findings.recipe = Recipe(
        statistic="auroc",
        arrays={"members": ("member_scores",), "nonmembers": ("nonmember_scores",)},
        arguments={"confidence": confidence},
    )
    measured = auroc(members, nonmembers, confidence=confidence)
    findings.needed = lambda: (
        f"about {probes_needed_for_auroc(measured, limit) or 'more than 10 million'} members and as many non-members "
        "would decide at the observed AUROC"
    )
    return measured


def _pair_by_pair(
    findings: Findings, scorer: _Scorer, gate: JudgedSplit, limit: float, confidence: float, seed: int
) -> Measured:
    """Disjoint pairs in an order fixed by the seed, until they decide."""
    probes = gate.probes
    order = pair_order(len(probes.members), len(probes.nonmembers), seed=seed)
    # By digest, so that the order does not depend on that of the files.
    queues = [np.array(s.digest_order)[o] for s, o in zip(_sides(probes), _orders(order), strict=True)]
    test, pairs = SequentialTest(limit, confidence=confidence), len(order.members)
    scored: list[list[Vector]] = [[], []]
    for start in range(0, pairs, PAIRS_AT_A_TIME):
        part = slice(start, start + PAIRS_AT_A_TIME)
        for side, queue in enumerate(queues):
            scored[side].append(scorer.scores(findings, side, queue[part].tolist()))
        if test.feed(pair_outcomes(scored[0][-1], scored[1][-1])):
            break
    members, nonmembers = (np.concatenate(side) for side in scored)
    _show(findings, scorer, members, nonmembers, limit, confidence, seed)
    values = pair_outcomes(members, nonmembers)[: test.items]
    findings.arrays["values"] = values
    findings.recipe = Recipe(
        statistic="sequential_mean", arrays={"values": ("values",)}, arguments={"confidence": confidence}
    )
    findings.charts.append(_looks(values, limit, confidence))
    stopped = f"decided after {test.items} of {pairs} pairs" if test.decided else f"all {pairs} pairs did not decide"
    findings.notes.append(
        f"Pairs of a member and a non-member were scored in an order that the seed fixed beforehand: {stopped}. The "
        "bounds hold at every look at once."
    )
    if test.decided and len(members) < pairs:
        findings.work.incidents.append(f"Stopped early: {len(members)} of {pairs} pairs were scored.")
    findings.needed = lambda: "more pairs; or all of these at once, without `sequential`, whose bounds are closer"
    return test.measured()


def _show(
    findings: Findings,
    scorer: _Scorer,
    members: Vector,
    nonmembers: Vector,
    limit: float,
    confidence: float,
    seed: int,
) -> None:
    """What a reader sees of the scores, whichever way they are judged; their coherence and the negative control."""
    check_order(findings, members, nonmembers, title=scorer.title)
    negative_controls({scorer.name: (members, nonmembers)}, {scorer.name: scorer.title}, seed, findings)
    findings.arrays |= {"member_scores": members, "nonmember_scores": nonmembers}
    findings.histograms.append(histogram_record("Scores", "score (higher = more likely member)", members, nonmembers))
    findings.curves.append(roc_record("ROC", members, nonmembers, WORKING_FPR, limit, confidence))


def _looks(values: Vector, limit: float, confidence: float) -> Chart:
    """The confidence sequence over the pairs."""
    looks = np.unique(np.linspace(1, len(values), LOOKS_DRAWN).round().astype(int))
    found = [sequential_mean(values[:n], confidence=confidence) for n in looks]
    return Chart(
        title="AUROC pair by pair",
        x_label="pairs scored",
        y_label="share of pairs in which the member scores higher",
        series=(
            Series(
                name="mean so far, and bounds that hold at all times",
                x=tuple(float(n) for n in looks),
                y=tuple(f.value for f in found),
                low=tuple(f.low for f in found),
                high=tuple(f.high for f in found),
            ),
            Series(name="limit", x=(1.0, float(len(values))), y=(limit, limit)),
        ),
        confidence=confidence,
    )


def _sides(probes: ProbeSet) -> tuple[ImageSet, ImageSet]:
    return probes.members, probes.nonmembers


def _orders(order: PairOrder) -> tuple[IntArray, IntArray]:
    return order.members, order.nonmembers
