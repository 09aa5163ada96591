"""Records of what was judged: models, images, prompts and measurements without texts, names and pixels."""

from __future__ import annotations

import os
import sys

from pytest_diffprivacy import options
from pytest_diffprivacy.audit.claim import Claim, Findings, Subject
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.evidence.plans import ClaimPlan
from pytest_diffprivacy.models.identity import ModelIdentity
from pytest_diffprivacy.probes import ImageSet, PromptSet
from pytest_diffprivacy.statistics import Decision, Measured, Verdict
from pytest_diffprivacy.statistics.statistic import recomputed_p_value
from pytest_diffprivacy.statistics.verdict import RULE


def claim_record(
    claim: Claim,
    subject: Subject,
    findings: Findings,
    verdict: Verdict,
    reason: str,
    decision: Decision | None,
) -> records.Claim:
    """The record of a claim that was judged, or of one that could not be (`decision` None); where it stands is open."""
    work = findings.work
    return records.Claim(
        id="",
        node_id="",
        kind=claim.kind,
        sentence=claim.sentence,
        headline=claim.headlines[verdict],
        verdict=verdict,
        reason=reason,
        rule=decision.rule if decision else RULE,
        limit=claim.limit,
        estimate=estimate("Observed", decision, subject.counts) if decision else None,
        methods=tuple(findings.methods),
        model=model_record(subject.model) if subject.model else None,
        probes=tuple(_images(side) for side in subject.image_sets),
        prompts=tuple(_prompts(side) for side in subject.prompts),
        asked=subject.asked,
        controls=tuple(findings.controls),
        also_measured=tuple(findings.also_measured),
        curves=tuple(findings.curves),
        histograms=tuple(findings.histograms),
        charts=tuple(findings.charts),
        tables=tuple(findings.tables),
        strips=tuple(findings.strips),
        strips_title=findings.strips_title,
        notes=tuple(findings.notes),
        incidents=tuple(work.incidents),
        recipe=findings.recipe,
        recognised=tuple(findings.recognised),
        name=claim.name,
        terms=claim.bound_terms,
        p_value=_p_value(claim, findings) if decision else None,
        seed=0,
        confidence=claim.confidence,
        work=records.Work(units_computed=work.computed, units_reused=work.reused, seconds=round(work.seconds, 3)),
        redo="",
    )


def planned_record(plan: ClaimPlan, seed: int) -> records.Claim:
    """A claim that was planned: not judged and not kept."""
    return records.Claim(
        id="planned",
        node_id="",
        kind=plan.kind,
        sentence=plan.sentence,
        headline="Planned, not judged.",
        verdict=Verdict.INCONCLUSIVE,
        reason="planned, not judged",
        rule=RULE,
        limit=plan.limit,
        estimate=None,
        model=None,
        seed=seed,
        confidence=plan.confidence,
        work=records.Work(units_computed=0, units_reused=0, seconds=0.0),
        redo="the same call without --diffprivacy-plan",
    )


def running_test() -> str:
    """The node id of the test that runs now; outside pytest empty."""
    return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]


def calling_line(node_id: str) -> int | None:
    """The line of the test's file from which the claim that is being judged was made."""
    name, frame = node_id.partition("::")[0], sys._getframe()
    while name and frame is not None:
        if frame.f_code.co_filename.replace(os.sep, "/").endswith(f"/{name}"):
            return frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return None


def redo_command(node_id: str, seed: int) -> str:
    """How to judge the claim again."""
    session = options.active()
    if not node_id or session is None or session.redo is None:
        return f"the same call with seed {seed}"
    return session.redo.command(node_id, seed)


def estimate(name: str, measured: Measured, counts: str) -> records.Estimate:
    """A measurement as a record."""
    return records.Estimate(
        name=name,
        value=float(measured.value),
        low=float(measured.low),
        high=float(measured.high),
        confidence=float(measured.confidence),
        counts=counts,
    )


def model_record(identity: ModelIdentity) -> records.Model:
    """A model's identity as a record."""
    return records.Model(
        name=identity.name,
        family=identity.family,
        digest=identity.digest,
        parameters=identity.parameters,
        dtype=identity.dtype,
        device=identity.device,
        access=identity.access,
        adapters=tuple(
            records.Adapter(name=a.name, kind=a.kind, digest=a.digest, scale=a.scale, parameters=a.parameters)
            for a in identity.adapters
        ),
        layout=identity.layout,
        deviation=identity.deviation,
    )


def _images(side: ImageSet) -> records.Images:
    return records.Images(
        role=side.role,
        origin=side.origin,
        count=len(side),
        total=int(side.repetitions.sum()),
        shape=side.image_shape,
        digest=side.digest,
    )


def _prompts(side: PromptSet) -> records.Prompts:
    return records.Prompts(role=side.role, origin=side.origin, count=len(side), total=side.total, digest=side.digest)


def _p_value(claim: Claim, findings: Findings) -> float | None:
    """Of "at most the limit", by the statistic that decided; it is what a run corrects for the number of its claims."""
    recipe = findings.recipe
    if recipe is None:
        return None
    arrays = {role: [findings.arrays[name] for name in names] for role, names in recipe.arrays.items()}
    return recomputed_p_value(recipe.statistic, arrays, recipe.arguments, claim.limit)
