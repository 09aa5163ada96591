"""Plans: what a claim will cost by the time that earlier runs took, and what its probes can show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pydantic import ValidationError

from pytest_diffprivacy.evidence.records import Claim

RUNS_SEARCHED = 20
MINUTES_FROM, HOURS_FROM = 120, 7200


@dataclass(frozen=True, slots=True)
class EvaluationTime:
    """Seconds an evaluation of one image takes, by the claims of earlier runs.

    Attributes:
        seconds: median over the claims.
        claims: how many.
        model: whose; empty: several models'.
    """

    seconds: float
    claims: int
    model: str


def evaluation_time(root: Path, model: str) -> EvaluationTime | None:
    """The time in the last runs of a store: of the model of this name if there is one, else of any; None: unknown.

    Only claims that computed everything count; what was reused took no time.
    """
    found: dict[str, list[float]] = {}
    for folder in sorted((root / "runs").glob("*"))[-RUNS_SEARCHED:]:
        for path in sorted((folder / "claims").glob("*.json")):
            try:
                claim = Claim.model_validate_json(path.read_bytes())
            except ValidationError:  # of another version: it says nothing here
                continue
            evaluations = _evaluations(claim)
            if evaluations and claim.model and claim.work.units_computed and not claim.work.units_reused:
                found.setdefault(claim.model.name, []).append(claim.work.seconds / evaluations)
    own = found.get(model)
    chosen = own or [seconds for costs in found.values() for seconds in costs]
    return EvaluationTime(median(chosen), len(chosen), model if own else "") if chosen else None


def _evaluations(claim: Claim) -> int:
    """Network evaluations behind a claim's scores, an image each; 0 where the record does not say."""
    each = [method.evaluations_per_image for method in claim.methods]
    if not each or None in each:
        return 0
    return sum(number or 0 for number in each) * sum(images.count for images in claim.probes)


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
        expected: network evaluations until a model without a leak passes, where that may be before the end.
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
    expected: int | None = None


def plan_lines(plan: ClaimPlan, time: EvaluationTime | None) -> list[str]:
    """The plan, with the time by what earlier runs took; None: there was none."""
    text = "unknown: neither model nor attack says how often the network is asked"
    if plan.evaluations == 0:
        text = "no network evaluation: the scores were made elsewhere"
    elif plan.evaluations is not None and plan.total is not None:
        duration = "time unknown: no earlier run tells" if time is None else _duration(plan.total, time)
        least = "at least " if plan.at_least else ""
        total = f"{plan.total} in all"
        if plan.expected is not None:
            total = f"{plan.expected} if nothing leaks, at most {total}"
        text = f"{least}{plan.evaluations} network evaluations {plan.unit}, {total}; {duration}"
    return [plan.sentence, *(f"  {label:<9}{fact}" for label, fact in {**plan.facts, "cost": text}.items())]


def _duration(evaluations: int, time: EvaluationTime) -> str:
    seconds = evaluations * time.seconds
    amount = f"{seconds:.1f} s" if seconds < MINUTES_FROM else f"{seconds / 60:.0f} min"
    amount = f"{seconds / 3600:.1f} h" if seconds >= HOURS_FROM else amount
    whose = f"of {time.model}" if time.model else "of other models"
    return f"about {amount} at {time.seconds:.2g} s each ({time.claims} earlier claims {whose})"
