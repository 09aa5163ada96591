"""From a claim and its source to a plan or a verdict: the one pipeline of all claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter, signature
from typing import Final, ParamSpec, TypeVar

from pytest_diffprivacy.audit import Auditor, Claim, Findings, current_auditor
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.evidence.plans import ClaimPlan
from pytest_diffprivacy.models.planned import PlannedModel
from pytest_diffprivacy.sources.source import Audited
from pytest_diffprivacy.statistics import Measured
from pytest_diffprivacy.statistics.statistic import Statistic

P = ParamSpec("P")
R = TypeVar("R")

GIVEN: Final = "where the numbers were made elsewhere"
ASK: Final = "Give the model itself to have it asked so, or leave it out."


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


def refuse_idle(
    claim: Callable[..., object], given: Mapping[str, object], where: str = GIVEN, remedy: str = ASK
) -> None:
    """Refuse arguments that have no part in what is judged here, so that nothing that was asked for is dropped.

    Args:
        claim: whose signature has the defaults; a value that is its default was not asked for.
        given: the arguments that have no part, by name.
        where: have they none, as words of the message.
        remedy: what to do.

    Raises:
        UsageError: one of them was asked for; the message names all of these.
    """
    defaults = signature(claim).parameters
    idle = [name for name, value in given.items() if not _is_default(value, defaults[name].default)]
    if idle:
        first, others = given[idle[0]], ", ".join(f"`{name}`" for name in idle[1:])
        shown = repr(first) if isinstance(first, (str, int, float)) else type(first).__name__
        beside = f" (and {others})" if others else ""
        raise UsageError(f"`{idle[0]}`{beside} must be left out {where}, got {shown}: it has no part there. {remedy}")


def _is_default(value: object, default: object) -> bool:
    if default is None or default is Parameter.empty:
        return value is None or (isinstance(value, Mapping) and not value)
    return isinstance(value, (str, int, float)) and value == default


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
