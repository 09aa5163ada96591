"""From a claim and its source to a plan or a verdict: the one pipeline of all claims."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from pytest_diffprivacy.audit import Auditor, Claim, Findings, current_auditor
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.evidence.plans import ClaimPlan
from pytest_diffprivacy.models.planned import PlannedModel
from pytest_diffprivacy.sources.source import Audited
from pytest_diffprivacy.statistics import Measured
from pytest_diffprivacy.statistics.statistic import Statistic

P = ParamSpec("P")
R = TypeVar("R")


def assertion(function: Callable[P, R]) -> Callable[P, R]:
    """A claim whose auditor knows of it from its first line: one that raises before it judges has not held."""

    @wraps(function)
    def judged(*args: P.args, **kwargs: P.kwargs) -> R:
        auditor = kwargs.get("auditor") or current_auditor()
        assert isinstance(auditor, Auditor)
        before = auditor.judged
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            if auditor.judged == before:
                auditor.unjudged.append(f"{function.__name__} raised {type(error).__name__} before it judged")
            raise

    return judged


def conclude(
    auditor: Auditor,
    claim: Claim,
    source: Audited,
    statistic: Statistic,
    measure: Callable[[Findings], Measured],
    *,
    units: int | None = None,
    at_least: bool = False,
) -> records.Claim:
    """Plan a claim while an audit is planned; otherwise judge it.

    Args:
        auditor: who plans or judges.
        claim: the sentence and its limit.
        source: whom it is about; a plan reads no image and asks no model.
        statistic: what is judged.
        measure: turns the source into a measurement by that statistic, and leaves everything else behind.
        units: of what `source.evaluations` counts, how many there are; by default as many as its counts together.
        at_least: whether more evaluations may follow, which depend on what is found.
    """
    if not auditor.planning:
        return auditor.judge(claim, source.subject, measure)
    each, count = source.evaluations, sum(source.counts) if units is None else units
    expected = statistic.expected(source.counts, claim.limit)
    plan = ClaimPlan(
        kind=claim.kind,
        sentence=claim.sentence if source.title or each != 0 else of(claim.sentence, "scores made elsewhere"),
        limit=claim.limit,
        confidence=claim.confidence,
        facts=statistic.plan(source.counts, claim.limit) | _facts(source.model),
        evaluations=each,
        total=None if each is None else each * count,
        model=str(getattr(source.model, "name", type(source.model).__name__)),  # of one that is not loaded, or its type
        unit=source.unit,
        at_least=at_least,
        expected=None if each is None or expected is None else each * expected,
    )
    return auditor.plan(plan)


def _facts(model: object) -> dict[str, str]:
    """What is known of a model that is not loaded."""
    return dict(model.facts) if isinstance(model, PlannedModel) else {}


def of(sentence: str, title: str) -> str:
    """A sentence with what scored, where that has a name."""
    return f"{sentence} ({title})" if title else sentence
