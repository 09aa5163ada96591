"""The claim "training images cannot be recognised": TPR at a small FPR stays below a limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.evidence import histogram_record, method_record, roc_record
from pytest_diffprivacy.audit import Auditor, Findings, Question, ScoreTask, current_auditor, estimate
from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.evidence.records import Claim, Method
from pytest_diffprivacy.membership import Attack, find_attack
from pytest_diffprivacy.models.protocols import Denoiser, require_denoiser
from pytest_diffprivacy.probes import ProbeSet
from pytest_diffprivacy.statistics import (
    TprAtFpr,
    Verdict,
    auroc,
    nonmembers_needed,
    probes_needed_for_tpr,
    tpr_at_fpr,
    tpr_pass_needs,
)
from pytest_diffprivacy.statistics.arguments import check_fraction

HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "Members are recognised no more often than allowed.",
    Verdict.FAIL: "Members can be recognised more often than allowed.",
    Verdict.INCONCLUSIVE: "These probes do not decide how often members can be recognised.",
    Verdict.ERROR: "Membership could not be judged.",
}

ScoreFunction = Callable[[Any, torch.Tensor], NDArray[np.float64]]


def assert_mia_tpr_below(
    model: object,
    probes: object,
    *,
    attack: str | ScoreFunction = "secmi",
    max_fpr: float = 0.01,
    limit: float,
    confidence: float | None = None,
    parameters: Mapping[str, Any] | None = None,
    auditor: Auditor | None = None,
) -> Claim:
    """Assert that an attacker recognises at most `limit` of the members while accusing `max_fpr` of the others.

    The verdict compares bounds of the TPR at FPR <= max_fpr that include the error of the threshold: PASS iff the upper
    bound is at most the limit, FAIL iff the lower one is above it.

    Args:
        model: a model with grey-box access (see models.load_model); or the members' scores, an array (members,).
        probes: the ProbeSet; or the non-members' scores, an array (non-members,), higher = more likely member.
        attack: name of an attack in membership.ATTACKS, or a callable (model, images in [0, 1]) -> scores, higher =
            more likely member. Left alone where scores are given.
        max_fpr: allowed share of non-members taken for members.
        limit: allowed share of members recognised.
        confidence: of each one-sided bound; the session's by default.
        parameters: arguments of the attack that differ from its defaults, e.g. {"timestep": 100}.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record, with `.verdict`, `.value`, `.low` and `.high`.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: neither bound decides, or there are too few non-members for this FPR.
        UsageError: a bad argument, a split with shared images, or a model without the access that the attack needs.
        AuditError: the model returns NaN, or all scores are equal.

    Source: TPR at low FPR as in Carlini et al. 2022 (LiRA), section 3; interval of METHODS 7.2.
    """
    judge = auditor or current_auditor()
    level = judge.confidence(confidence)
    max_fpr, limit = check_fraction("max_fpr", max_fpr), check_fraction("limit", limit, zero=True)
    sentence = f"TPR at FPR <= {max_fpr:.4g} is at most {limit:.4g}"
    if _is_scores(model) and _is_scores(probes):
        members, nonmembers = _scores("member", model), _scores("non-member", probes)
        counts = f"{len(members)} members, {len(nonmembers)} non-members"
        question = Question("membership", "mia-scores", sentence, limit, HEADLINES, None, None, counts, level)
        method = _given_scores()
        return judge.judge(
            question, lambda f: _measure(f, method, lambda: (members, nonmembers), max_fpr, limit, level)
        )
    if not isinstance(probes, ProbeSet):
        raise UsageError(
            f"`probes` must be a ProbeSet (or both arguments arrays of scores), got {type(probes).__name__}."
        )
    denoiser = require_denoiser(model, "Membership inference")
    probes.check_split()
    task, method = _task(denoiser, attack, dict(parameters or {}), judge.seed)
    counts = f"{len(probes.members)} members, {len(probes.nonmembers)} non-members"
    question = Question(
        "membership", f"mia-{task.name}", f"{sentence} ({method.title})", limit, HEADLINES, denoiser.identity, probes,
        counts, level,
    )  # fmt: skip

    def both(findings: Findings) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        members = judge.scores(denoiser, probes.members, task, findings.ledger)
        return members, judge.scores(denoiser, probes.nonmembers, task, findings.ledger)

    return judge.judge(question, lambda f: _measure(f, method, partial(both, f), max_fpr, limit, level))


def _measure(
    findings: Findings,
    method: Method,
    scores: Callable[[], tuple[NDArray[np.float64], NDArray[np.float64]]],
    max_fpr: float,
    limit: float,
    confidence: float,
) -> TprAtFpr:
    """Scores to the TPR with its bounds; everything else that a reader wants goes into the findings."""
    findings.method = method
    members, nonmembers = scores()
    _refuse_nan("member", members)
    _refuse_nan("non-member", nonmembers)
    if np.ptp(np.concatenate([members, nonmembers])) == 0.0:
        raise AuditError(
            f"All {len(members) + len(nonmembers)} scores equal {members[0]:g}: the attack does not look at the images."
        )
    findings.arrays |= {"member_scores": members, "nonmember_scores": nonmembers}
    counts = f"{len(members)} members, {len(nonmembers)} non-members"
    findings.also_measured.append(estimate("AUROC", auroc(members, nonmembers, confidence=confidence), counts))
    findings.histograms.append(histogram_record("Scores", "score (higher = more likely member)", members, nonmembers))
    findings.curves.append(roc_record("ROC", members, nonmembers, max_fpr, limit, confidence))
    measured = tpr_at_fpr(members, nonmembers, max_fpr=max_fpr, confidence=confidence)

    def needed() -> str:
        decided = probes_needed_for_tpr(members, nonmembers, limit, max_fpr=max_fpr, confidence=confidence)
        if decided is None:
            return (
                f"at the observed rate no number of probes decides; a model without any leak passes with "
                f"{tpr_pass_needs(limit, max_fpr, confidence) or 'no number'} a side"
            )
        return f"about {decided} members and as many non-members would decide at the observed rate"

    findings.needed = needed
    least = nonmembers_needed(max_fpr, confidence)
    if len(nonmembers) < least:
        findings.notes.append(
            f"With {len(nonmembers)} non-members no lower bound above 0 exists at this FPR: the claim can PASS but "
            f"never FAIL. At least {least} non-members are needed for that."
        )
    return measured


def _task(
    model: Denoiser, attack: str | ScoreFunction, parameters: dict[str, Any], seed: int
) -> tuple[ScoreTask, Method]:
    """The scores to compute and how the record describes them."""
    if callable(attack):
        if parameters:
            raise UsageError("`parameters` must be left out for a callable attack. Bind them with functools.partial.")
        name = str(getattr(attack, "__name__", type(attack).__name__))
        method = method_record(
            name=name,
            title=name,
            access="chosen by the caller",
            source="the caller's own function",
            parameters={},
        )

        def run(model: Any, images: torch.Tensor, *, batch_size: int) -> NDArray[np.float64]:
            parts = [attack(model, images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
            return np.concatenate([np.asarray(p, dtype=np.float64) for p in parts])

        return ScoreTask(name, 1, run, {}, stored=False), method
    found: Attack = find_attack(attack)
    unknown = sorted(set(parameters) - set(found.defaults))
    if unknown:
        raise UsageError(
            f"`parameters` must be among {', '.join(found.defaults)} for {found.name}, got {', '.join(unknown)}."
        )
    chosen = {**found.defaults, **parameters}
    method = method_record(
        name=found.name,
        title=found.title,
        access=found.access,
        source=found.source,
        parameters=chosen,
        timesteps=[model.schedule.match(t) for t in found.timesteps(chosen)],
        evaluations=found.evaluations(chosen),
    )
    seeded = {**chosen, "seed": seed} if found.seeded else chosen
    return ScoreTask(found.name, found.version, found.scores, seeded), method


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


def _scores(role: str, values: Any) -> NDArray[np.float64]:
    array = np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)
    if array.dtype.kind not in "fiu":
        raise UsageError(f"{role} scores must be real numbers, got dtype {array.dtype}. Give one float an image.")
    if array.ndim != 1 or len(array) == 0:
        raise UsageError(f"{role} scores must be a vector with at least one score, got shape {array.shape}.")
    return array.astype(np.float64)


def _refuse_nan(role: str, scores: NDArray[np.float64]) -> None:
    broken = int((~np.isfinite(scores)).sum())
    if broken:
        raise AuditError(f"{broken} of {len(scores)} {role} scores are NaN or infinite: find out why and score again.")
