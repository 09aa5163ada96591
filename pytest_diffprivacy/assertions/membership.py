"""The claim "training images cannot be recognised": TPR at a small FPR stays below a limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pytest_diffprivacy.assertions.attacks import (
    AttackLike,
    PlannedAttack,
    family_task,
    plan_attacks,
    planned_evaluations,
)
from pytest_diffprivacy.assertions.controls import (
    ELSEWHERE,
    no_positive_control,
    no_split_control,
    positive_controls,
)
from pytest_diffprivacy.assertions.evidence import method_record, table_method
from pytest_diffprivacy.assertions.membership_evidence import Scores, Vector, combined_scores, measure_scores
from pytest_diffprivacy.assertions.plans import Planned, planned_tpr, sides
from pytest_diffprivacy.assertions.split import judged_split
from pytest_diffprivacy.audit import Auditor, Findings, Question, current_auditor
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Claim, Method
from pytest_diffprivacy.models.protocols import Denoiser, require_denoiser
from pytest_diffprivacy.probes import ProbeSet, ScoreTable
from pytest_diffprivacy.statistics import (
    FamilyTpr,
    Verdict,
)
from pytest_diffprivacy.statistics.arguments import check_fraction

NAME = "mia_tpr_below"
HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "Members are recognised no more often than allowed.",
    Verdict.FAIL: "Members can be recognised more often than allowed.",
    Verdict.INCONCLUSIVE: "These probes do not decide how often members can be recognised.",
    Verdict.ERROR: "Membership could not be judged.",
}


def assert_mia_tpr_below(
    model: object,
    probes: object,
    *,
    attack: AttackLike | Sequence[AttackLike] = "secmi",
    combine: bool = False,
    max_fpr: float = 0.01,
    limit: float,
    confidence: float | None = None,
    parameters: Mapping[str, Any] | None = None,
    auditor: Auditor | None = None,
) -> Claim:
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
        combine: judge one score learned from the attacks' scores instead of each of them, cross-fitted: no image is
            scored by a model that saw its label.
        max_fpr: allowed share of non-members taken for members.
        limit: allowed share of members recognised.
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
    judge = auditor or current_auditor()
    level = judge.confidence(confidence)
    max_fpr, limit = check_fraction("max_fpr", max_fpr), check_fraction("limit", limit, zero=True)
    sentence, terms = f"TPR at FPR <= {max_fpr:.4g} is at most {limit:.4g}", {"max_fpr": max_fpr}
    if judge.planning:
        return _plan(judge, model, probes, sentence, attack, dict(parameters or {}), max_fpr, limit, level)
    if _is_scores(model) and _is_scores(probes):
        members, nonmembers = _scores("member", model), _scores("non-member", probes)
        counts = f"{len(members)} members, {len(nonmembers)} non-members"
        question = Question(
            "membership",
            "mia-scores",
            sentence,
            limit,
            HEADLINES,
            None,
            None,
            counts,
            level,
            name=NAME,
            terms=terms,
        )

        def measure_given(findings: Findings) -> FamilyTpr:
            findings.methods = [_given_scores()]
            no_split_control(findings)
            no_positive_control(findings.methods[0].title, ELSEWHERE, findings)
            return measure_scores(findings, {"scores": (members, nonmembers)}, max_fpr, limit, level, judge.seed)

        return judge.judge(question, measure_given)
    if not isinstance(probes, ProbeSet):
        raise UsageError(
            f"`probes` must be a ProbeSet (or both arguments arrays of scores), got {type(probes).__name__}."
        )
    if isinstance(model, ScoreTable):
        elsewhere = judged_split(judge, probes)
        columns = model.choose(attack, "secmi")
        joined = {column: model.join(probes, column, kept=elsewhere.probes) for column in columns}
        counts = f"{len(elsewhere.probes.members)} members, {len(elsewhere.probes.nonmembers)} non-members"
        sentence = f"{sentence} ({', '.join(columns)})"
        question = Question(
            "membership",
            "mia-table",
            sentence,
            limit,
            HEADLINES,
            None,
            elsewhere.probes,
            counts,
            level,
            name=NAME,
            terms=terms,
        )

        def measure_table(findings: Findings) -> FamilyTpr:
            findings.methods = [table_method(model, column) for column in columns]
            elsewhere.note(findings)
            for method in findings.methods:
                no_positive_control(method.title, ELSEWHERE, findings)
            scores = combined_scores(joined, judge.seed, findings) if combine else joined
            return measure_scores(findings, scores, max_fpr, limit, level, judge.seed, elsewhere)

        return judge.judge(question, measure_table)
    denoiser = require_denoiser(model, "Membership inference")
    planned, notes = plan_attacks(denoiser, probes, attack, dict(parameters or {}), judge.seed)
    if combine and len(planned) < 2:
        raise UsageError("`combine` must be left out for one attack. Name at least two attacks to combine.")
    gate = judged_split(judge, probes)
    split = gate.probes
    titles = ", ".join(plan.method.title for plan in planned)
    question = Question(
        kind="membership",
        slug="mia-" + ("family" if len(planned) > 1 else planned[0].task.name),
        sentence=f"{sentence} ({titles}{', combined' if combine else ''})",
        limit=limit,
        headlines=HEADLINES,
        model=denoiser.identity,
        probes=split,
        counts=f"{len(split.members)} members, {len(split.nonmembers)} non-members",
        confidence=level,
        name=NAME,
        terms=terms,
    )

    def measure(findings: Findings) -> FamilyTpr:
        findings.methods, findings.notes = [plan.method for plan in planned], list(notes)
        gate.note(findings)
        positive_controls(judge, denoiser, split, planned, findings)
        scores = _computed(judge, denoiser, split, planned, findings)
        for plan in planned:
            _show(judge, denoiser, split, plan, findings, level)
        if combine:
            scores = combined_scores(scores, judge.seed, findings)
        return measure_scores(findings, scores, max_fpr, limit, level, judge.seed, gate)

    return judge.judge(question, measure)


def _plan(
    judge: Auditor,
    model: object,
    probes: object,
    sentence: str,
    attack: AttackLike | Sequence[AttackLike],
    parameters: Mapping[str, Any],
    max_fpr: float,
    limit: float,
    confidence: float,
) -> Claim:
    """What the probes, or scores made elsewhere, can show."""
    evaluations: int | None = 0
    if _is_scores(model) and _is_scores(probes):
        counts = len(_scores("member", model)), len(_scores("non-member", probes))
        titles = "scores made elsewhere"
    else:
        counts = sides(probes)
        if isinstance(model, ScoreTable):
            titles = ", ".join(model.choose(attack, "secmi"))
        else:
            evaluations, titles = planned_evaluations(attack, parameters)
    planned = Planned(
        judge=judge, model=model, kind="membership", sentence=f"{sentence} ({titles})", limit=limit,
        confidence=confidence, evaluations=evaluations,
    )  # fmt: skip
    return planned_tpr(planned, counts, max_fpr=max_fpr)


def _computed(
    judge: Auditor, model: Denoiser, probes: ProbeSet, planned: Sequence[PlannedAttack], findings: Findings
) -> Scores:
    """Every attack's scores of both sides."""
    if len(planned) == 1:
        task = planned[0].task
        members = judge.scores(model, probes.members, task, findings.work)
        return {task.name: (members, judge.scores(model, probes.nonmembers, task, findings.work))}
    shared = family_task(planned, judge.seed)
    first = judge.scores(model, probes.members, shared, findings.work)
    second = judge.scores(model, probes.nonmembers, shared, findings.work)
    cost, alone = float(first[:, -1].mean()), sum(plan.method.evaluations_per_image or 0 for plan in planned)
    findings.notes.append(
        f"Run together, the attacks cost {cost:g} network evaluations an image ({alone} if each ran alone)."
    )
    return {plan.task.name: (first[:, i], second[:, i]) for i, plan in enumerate(planned)}


def _show(
    judge: Auditor, model: Denoiser, probes: ProbeSet, plan: PlannedAttack, findings: Findings, confidence: float
) -> None:
    """What a method shows beside its scores."""
    shown = plan.configured.evidence(model, probes, seed=judge.seed, confidence=confidence, images=judge.images)
    findings.also_measured += shown.estimates
    findings.notes += shown.notes
    findings.strips_title = shown.strips_title or findings.strips_title
    findings.strips = [*findings.strips, *shown.strips]


def _given_scores() -> Method:
    return method_record(
        name="scores",
        title="Scores made elsewhere",
        access="chosen by the caller",
        source="the caller's own scores",
        parameters={},
    )


def _is_scores(value: object) -> bool:
    return isinstance(value, (np.ndarray, torch.Tensor, list, tuple))


def _scores(role: str, values: Any) -> Vector:
    array = np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)
    if array.dtype.kind not in "fiu":
        raise UsageError(f"{role} scores must be real numbers, got dtype {array.dtype}. Give one float an image.")
    if array.ndim != 1 or len(array) == 0:
        raise UsageError(f"{role} scores must be a vector with at least one score, got shape {array.shape}.")
    return array.astype(np.float64)
