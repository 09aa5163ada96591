"""How does a judged question become a claim's record? Everything that another person needs to redo the verdict."""

from __future__ import annotations

import os

from pytest_diffprivacy.audit.question import Findings, Question
from pytest_diffprivacy.audit.subjects import estimate, model_record, probe_records, prompt_records
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.evidence.plans import ClaimPlan
from pytest_diffprivacy.statistics import Decision, Verdict
from pytest_diffprivacy.statistics.statistic import recomputed_p_value
from pytest_diffprivacy.statistics.verdict import RULE


def claim_record(
    question: Question,
    findings: Findings,
    verdict: Verdict,
    reason: str,
    decision: Decision | None,
    needed: str,
    *,
    claim_id: str,
    node_id: str,
    seed: int,
    artifacts: tuple[records.Artifact, ...],
) -> records.Claim:
    """The record of a question that was judged, or of one that could not be (`decision` None)."""
    work = findings.work
    return records.Claim(
        id=claim_id,
        node_id=node_id,
        kind=question.kind,
        sentence=question.sentence,
        headline=question.headlines[verdict],
        verdict=verdict,
        reason=reason,
        rule=decision.rule if decision else RULE,
        limit=question.limit,
        estimate=estimate("Observed", decision, question.counts) if decision else None,
        needed=needed,
        methods=tuple(findings.methods),
        model=model_record(question.model) if question.model else None,
        probes=probe_records(question.probes),
        prompts=prompt_records(question.prompts),
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
        artifacts=artifacts,
        recipe=findings.recipe,
        name=question.name,
        terms=question.bound_terms,
        p_value=_p_value(question, findings) if decision else None,
        seed=seed,
        confidence=question.confidence,
        work=records.Work(units_computed=work.computed, units_reused=work.reused, seconds=round(work.seconds, 3)),
        redo=f'pytest "{node_id}" --diffprivacy-seed={seed}' if node_id else f"the same call with seed {seed}",
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


def _p_value(question: Question, findings: Findings) -> float | None:
    """Of "at most the limit", by the statistic that decided; it is what a run corrects for the number of its claims."""
    recipe = findings.recipe
    if recipe is None:
        return None
    arrays = {role: [findings.arrays[name] for name in names] for role, names in recipe.arrays.items()}
    return recomputed_p_value(recipe.statistic, arrays, recipe.arguments, question.limit)
