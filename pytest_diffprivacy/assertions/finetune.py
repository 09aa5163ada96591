"""The claim "the fine-tune adds no leak": what it changed in its base gives no training image away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.attacks import AttackLike, PlannedAttack, plan_attacks, planned_evaluations
from pytest_diffprivacy.assertions.controls import control_finetune, negative_controls, positive_controls
from pytest_diffprivacy.assertions.finetune_evidence import model_table, recognised_table, show_increase
from pytest_diffprivacy.assertions.plans import Planned, planned_tpr, sides
from pytest_diffprivacy.assertions.split import judged_split
from pytest_diffprivacy.audit import Auditor, Findings, Question, current_auditor
from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.evidence.records import Claim, Method, Recipe
from pytest_diffprivacy.models.adapters import INVERSION
from pytest_diffprivacy.models.protocols import Denoiser, require_denoiser
from pytest_diffprivacy.probes import ProbeSet
from pytest_diffprivacy.statistics import (
    ExcessTpr,
    Verdict,
    check_coherence,
    excess_tpr,
    nonmembers_needed,
    probes_needed_for_tpr,
    tpr_pass_needs,
)
from pytest_diffprivacy.statistics.arguments import check_fraction

NAME = "finetune_adds_no_leak"
HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "What the fine-tune changed gives its training images away no more often than allowed.",
    Verdict.FAIL: "What the fine-tune changed gives its training images away more often than allowed.",
    Verdict.INCONCLUSIVE: "These probes do not decide whether the fine-tune gives its training images away.",
    Verdict.ERROR: "What the fine-tune memorized could not be judged.",
}

Scores = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Of members and of non-members."""


def assert_finetune_adds_no_leak(
    base: object,
    finetuned: object,
    probes: ProbeSet,
    *,
    attack: AttackLike = "loss",
    max_fpr: float = 0.01,
    limit: float,
    control: object | None = None,
    confidence: float | None = None,
    parameters: Mapping[str, Any] | None = None,
    auditor: Auditor | None = None,
) -> Claim:
    """Assert that comparing a fine-tuned model with its base recognises at most `limit` more members than chance does.

    The attacker holds both models, as everyone does who downloads an adapter. Every probe is scored by both with the
    same noise, and its increase, the fine-tuned model's score minus the base's, is what is judged: the difficulty of
    the image itself and whatever the base knew already cancel. The claim is about the TPR of the increase at FPR <=
    `max_fpr`, minus `max_fpr`, which chance gives; 0 is no leak. PASS iff the upper bound is at most the limit, FAIL
    iff the lower one is above it. It fits LoRA and textual inversion as well as a full fine-tune.

    Args:
        base: grey-box access to the model that was fine-tuned.
        finetuned: grey-box access to the result, e.g. the same pipeline with an adapter, loaded on its own.
        probes: members are the images of the fine-tuning set, non-members images of the same kind in neither training
            set.
        attack: name of an attack in membership.ATTACKS, an Attack, or a callable (model, images) -> scores, higher =
            more likely member.
        max_fpr: allowed share of non-members taken for members.
        limit: allowed share of members recognised beyond `max_fpr`.
        control: grey-box access to the same base fine-tuned on other images of the same kind, neither members nor
            non-members: its increase must not tell the two apart, or the claim is an ERROR.
        confidence: of each one-sided bound; the session's by default.
        parameters: arguments of the attack that differ from its defaults.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record, with `.verdict`, `.value`, `.low` and `.high`.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: neither bound decides, there are too few non-members for this FPR, or the split is confounded.
        UsageError: a bad argument, models of different shapes or with the same weights, or a split with shared images.
        AuditError: a model returns NaN, both models give the same scores, a control failed, or the increase ranks
            members last and would pass.

    Source: Follows Watson et al. 2022 (difficulty calibration by a reference model), the reference being the base and
    the noise being common (METHODS 0.7, 7.7); interval of METHODS 7.2.
    """
    judge = auditor or current_auditor()
    level = judge.confidence(confidence)
    max_fpr, allowed = check_fraction("max_fpr", max_fpr), check_fraction("limit", limit, zero=True)
    if allowed + max_fpr >= 1.0:
        raise UsageError(f"`limit` must be below 1 - max_fpr, got {limit!r}. No share of members would refute it.")
    if not isinstance(probes, ProbeSet):
        raise UsageError(
            f"`probes` must be a ProbeSet, got {type(probes).__name__}. Pass ProbeSet(members, nonmembers)."
        )
    sentence = f"TPR of the increase at FPR <= {max_fpr:.4g} is at most {allowed:.4g} above chance"
    if judge.planning:
        evaluations, titles = planned_evaluations(attack, dict(parameters or {}))
        asked = 2 if control is None else 3
        case = Planned(
            judge=judge, model=finetuned, kind="membership", sentence=f"{sentence} ({titles})", limit=allowed,
            confidence=level, evaluations=None if evaluations is None else asked * evaluations,
        )  # fmt: skip
        return planned_tpr(case, sides(probes), max_fpr=max_fpr, chance=max_fpr)
    models = _checked(base, finetuned, control)
    gate = judged_split(judge, probes)
    planned, notes = plan_attacks(models.finetuned, gate.probes, attack, dict(parameters or {}), judge.seed)
    if len(planned) > 1:
        raise UsageError("`attack` must be one attack here, got a family. Judge each attack by a claim of its own.")
    plan = planned[0]
    method = _method(plan, models)
    question = Question(
        kind="membership",
        slug=f"finetune-{plan.task.name}",
        sentence=f"{sentence} ({plan.method.title})",
        limit=allowed,
        headlines=HEADLINES,
        model=models.finetuned.identity,
        probes=gate.probes,
        counts=f"{len(gate.probes.members)} members, {len(gate.probes.nonmembers)} non-members, paired",
        confidence=level,
        name=NAME,
        terms={"max_fpr": max_fpr},
    )

    def measure(findings: Findings) -> ExcessTpr:
        findings.methods, findings.notes = [method], [*notes, *models.notes()]
        findings.tables.append(model_table(models.named()))
        gate.note(findings)
        positive_controls(judge, models.finetuned, gate.probes, [plan], findings, base=models.base)
        before, scores = (_scores(judge, m, gate.probes, plan, findings) for m in (models.base, models.finetuned))
        gains = _minus(scores, before)
        findings.arrays |= {"member_increase": gains[0], "nonmember_increase": gains[1]}
        findings.recipe = Recipe(
            statistic="excess_tpr",
            arrays={"members": ("member_increase",), "nonmembers": ("nonmember_increase",)},
            arguments={"max_fpr": max_fpr, "confidence": level},
        )
        _refuse_equal(gains, models.finetuned)
        if models.control is not None:
            other = _scores(judge, models.control, gate.probes, plan, findings)
            control_finetune(plan.method.title, models.control.identity.name, *_minus(other, before), findings)
        negative_controls({plan.task.name: gains}, {plan.task.name: plan.method.title}, judge.seed, findings)
        _check_order(findings, gains, method.title)
        show_increase(findings, scores, before, gains, max_fpr=max_fpr, limit=allowed, confidence=level)
        gate.compare(findings, " of the increase", *gains)
        findings.tables.append(recognised_table(gate.probes.members, *gains))
        findings.needed = lambda: _needed(gains, max_fpr, allowed, level)
        return excess_tpr(*gains, max_fpr=max_fpr, confidence=level)

    return judge.judge(question, measure)


@dataclass(frozen=True, slots=True)
class _Models:
    """Who is compared."""

    base: Denoiser
    finetuned: Denoiser
    control: Denoiser | None

    def named(self) -> dict[str, Denoiser]:
        """By what each is to the claim."""
        return {"base": self.base, "fine-tuned": self.finetuned} | (
            {} if self.control is None else {"control": self.control}
        )

    def notes(self) -> list[str]:
        """Where the models differ in more than their weights."""
        mine, other = self.finetuned.schedule, self.base.schedule
        if np.array_equal(mine.alphas, other.alphas) and np.array_equal(mine.sigmas, other.sigmas):
            return []
        return [
            "The fine-tuned model has another noise schedule than its base: timesteps of the papers were matched by "
            "signal-to-noise ratio on each; plain ones are each model's own."
        ]


def _checked(base: object, finetuned: object, control: object | None) -> _Models:
    found = _Models(
        require_denoiser(base, "The base of a fine-tune"),
        require_denoiser(finetuned, "A fine-tune"),
        None if control is None else require_denoiser(control, "The control of a fine-tune"),
    )
    seen: dict[str, str] = {}
    for role, model in found.named().items():
        if model.sample_shape != found.base.sample_shape or model.image_shape != found.base.image_shape:
            raise UsageError(
                f"`{role}` must take the base's images {found.base.image_shape} to {found.base.sample_shape}, got "
                f"{model.image_shape} to {model.sample_shape}. Both are asked about the same noise."
            )
        digest = model.identity.digest
        if digest in seen:
            raise UsageError(
                f"`{role}` must be another model than the {seen[digest]} one, got the same weights. Load the adapter "
                "into a pipeline of its own, and call load_model after that."
            )
        seen[digest] = role
    return found


def _method(plan: PlannedAttack, models: _Models) -> Method:
    """The attack on both models: twice the evaluations, and the base among the parameters."""
    own = plan.method
    who = {role: f"{m.identity.name} {m.identity.digest}" for role, m in models.named().items() if role != "fine-tuned"}
    cost = own.evaluations_per_image
    return own.model_copy(
        update={
            "title": f"Increase of {own.title} over the base",
            "source": f"{own.source}; Watson et al. 2022",
            "parameters": {**own.parameters, **who},
            "evaluations_per_image": None if cost is None else cost * len(models.named()),
            "threshold": "order statistic of the non-members' increases",
        }
    )


def _scores(judge: Auditor, model: Denoiser, probes: ProbeSet, plan: PlannedAttack, findings: Findings) -> Scores:
    sides = (probes.members, probes.nonmembers)
    members, nonmembers = (judge.scores(model, side, plan.task, findings.ledger) for side in sides)
    return members, nonmembers


def _minus(scores: Scores, others: Scores) -> Scores:
    return scores[0] - others[0], scores[1] - others[1]


def _refuse_equal(gains: Scores, finetuned: Denoiser) -> None:
    if not any(side.any() for side in gains):
        tokens = [one.name for one in finetuned.identity.adapters if one.kind == INVERSION]
        if tokens and len(tokens) == len(finetuned.identity.adapters):
            raise AuditError(
                "Base and fine-tuned model give every probe the same score: a textual inversion changes only what its "
                f"token says, and no caption names {', '.join(tokens)}. Give captions that do, as in training: "
                "ProbeSet(..., captions=True)."
            )
        raise AuditError(
            "Base and fine-tuned model give every probe the same score: the adapter changes nothing, or both were made "
            "from one pipeline that holds it now. Load each from a pipeline of its own."
        )


def _check_order(findings: Findings, gains: Scores, title: str) -> None:
    if check_coherence(*gains, title=title).ranked_last:
        text = "The fine-tune makes its own training images less likely than others beyond chance"
        findings.notes.append(f"{text}: a low TPR shows nothing here.")
        findings.cannot_pass = f"{text}, so a low TPR proves nothing. Are members and non-members swapped?"


def _needed(gains: Scores, max_fpr: float, limit: float, confidence: float) -> str:
    least = nonmembers_needed(max_fpr, confidence)
    if len(gains[1]) < least:
        return f"at least {least} non-members, below which no lower bound exists at this FPR"
    decided = probes_needed_for_tpr(*gains, limit + max_fpr, max_fpr=max_fpr, confidence=confidence)
    if decided is None:
        enough = tpr_pass_needs(limit + max_fpr, max_fpr, confidence) or "no number"
        return (
            f"no number of probes decides at the observed rate; a fine-tune without a leak passes with {enough} a side"
        )
    return f"about {decided} members and as many non-members would decide at the observed rate"
