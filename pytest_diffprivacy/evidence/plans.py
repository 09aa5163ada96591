"""What will a claim cost, and what can its probes show? A plan as lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_diffprivacy.evidence.costs import Cost

MINUTES_FROM, HOURS_FROM = 120, 7200


@dataclass(frozen=True, slots=True)
class ClaimPlan:
    """A claim that is planned and not judged.

    Attributes:
        kind: of the claim, e.g. "extraction" or "membership".
        sentence: the claim.
        limit: the largest value that is allowed.
        confidence: of each one-sided bound.
        facts: label -> what its probes can show.
        evaluations: network evaluations `unit`; 0: scores were made elsewhere; None: unknown.
        total: network evaluations in all; None: unknown.
        model: name of the model.
        unit: "an image", "a generation" or "a prompt".
        at_least: whether more evaluations may follow, which depend on what is found.
    """

    kind: str
    sentence: str
    limit: float
    confidence: float
    facts: Mapping[str, str]
    evaluations: int | None
    total: int | None
    model: str
    unit: str = "an image"
    at_least: bool = False


def plan_lines(plan: ClaimPlan, cost: Cost | None) -> list[str]:
    """The plan, with the time by what earlier runs took; None: there was none."""
    text = "unknown: neither model nor attack says how often the network is asked"
    if plan.evaluations == 0:
        text = "no network evaluation: the scores were made elsewhere"
    elif plan.evaluations is not None and plan.total is not None:
        time = "time unknown: no earlier run tells" if cost is None else _duration(plan.total, cost)
        least = "at least " if plan.at_least else ""
        text = f"{least}{plan.evaluations} network evaluations {plan.unit}, {plan.total} in all; {time}"
    return [plan.sentence, *(f"  {label:<9}{fact}" for label, fact in {**plan.facts, "cost": text}.items())]


def _duration(evaluations: int, cost: Cost) -> str:
    seconds = evaluations * cost.seconds
    amount = f"{seconds:.1f} s" if seconds < MINUTES_FROM else f"{seconds / 60:.0f} min"
    amount = f"{seconds / 3600:.1f} h" if seconds >= HOURS_FROM else amount
    whose = f"of {cost.model}" if cost.model else "of other models"
    return f"about {amount} at {cost.seconds:.2g} s each ({cost.claims} earlier claims {whose})"
