"""The claim "the fine-tune adds no leak": what it changed in its base gives no training image away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_diffprivacy.assertions.attacks import AttackLike, PlannedAttack, plan_attacks, planned_evaluations
from pytest_diffprivacy.assertions.controls import positive_controls
from pytest_diffprivacy.assertions.finetune_evidence import model_table
from pytest_diffprivacy.assertions.finetune_increase import Increase, Scores
from pytest_diffprivacy.assertions.finetune_tables import finetune_columns, judge_finetune_tables
from pytest_diffprivacy.assertions.plans import Planned, planned_tpr, sides
from pytest_diffprivacy.assertions.split import judged_split
from pytest_diffprivacy.audit import Auditor, Findings, Question, current_auditor
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Claim, Method
from pytest_diffprivacy.models.adapters import INVERSION
from pytest_diffprivacy.models.protocols import Denoiser, require_denoiser
from pytest_diffprivacy.probes import ProbeSet
from pytest_diffprivacy.statistics import ExcessTpr, Verdict
from pytest_diffprivacy.statistics.arguments import check_fraction

NAME = "finetune_adds_no_leak"
HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "What the fine-tune changed gives its training images away no more often than allowed.",
    Verdict.FAIL: "What the fine-tune changed gives its training images away more often than allowed.",
    Verdict.INCONCLUSIVE: "These probes do not decide whether the fine-tune gives its training images away.",
    Verdict.ERROR: "What the fine-tune memorized could not be judged.",
}


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
    columns = finetune_columns(base, finetuned, control, attack)
    if columns is not None:
        sentence = f"{sentence} ({columns['finetuned'][1]}, scores made elsewhere)"
        if judge.planning:
            given = Planned(
                judge=judge, model=finetuned, kind="membership", sentence=sentence, limit=allowed, confidence=level,
                evaluations=0,
            )  # fmt: skip
            return planned_tpr(given, sides(probes), max_fpr=max_fpr, chance=max_fpr)
        asked_of = Question(
            "membership", "finetune-table", sentence, allowed, HEADLINES, None, None, "", level, name=NAME,
            terms={"max_fpr": max_fpr},
        )  # fmt: skip
        return judge_finetune_tables(judge, asked_of, columns, probes, max_fpr=max_fpr)
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

    increase = Increase(
        name=plan.task.name,
        title=plan.method.title,
        judged=method.title,
        equal=_equal(models.finetuned),
        max_fpr=max_fpr,
        limit=allowed,
        confidence=level,
        seed=judge.seed,
    )

    def measure(findings: Findings) -> ExcessTpr:
        findings.methods, findings.notes = [method], [*notes, *models.notes()]
        findings.tables.append(model_table(models.named()))
        gate.note(findings)
        positive_controls(judge, models.finetuned, gate.probes, [plan], findings, base=models.base)
        before, scores = (_scores(judge, m, gate.probes, plan, findings) for m in (models.base, models.finetuned))
        other = models.control
        control = None
        if other is not None:
            control = (other.identity.name, lambda: _scores(judge, other, gate.probes, plan, findings))
        return increase.measured(findings, before, scores, gate, control)

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
    members, nonmembers = (judge.scores(model, side, plan.task, findings.work) for side in sides)
    return members, nonmembers


def _equal(finetuned: Denoiser) -> str:
    """What it means if both models give every probe the same score."""
    tokens = [one.name for one in finetuned.identity.adapters if one.kind == INVERSION]
    if tokens and len(tokens) == len(finetuned.identity.adapters):
        return (
            "Base and fine-tuned model give every probe the same score: a textual inversion changes only what its "
            f"token says, and no caption names {', '.join(tokens)}. Give captions that do, as in training: "
            "ProbeSet(..., captions=True)."
        )
    return (
        "Base and fine-tuned model give every probe the same score: the adapter changes nothing, or both were made "
        "from one pipeline that holds it now. Load each from a pipeline of its own."
    )
