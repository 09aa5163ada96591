"""What will an audit cost, and what can it show? Answered from arguments and counts, without loading the model."""

from __future__ import annotations

from pytest_diffprivacy.audit import Auditor
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.plans import ClaimPlan
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.probes import ProbeSet
from pytest_diffprivacy.statistics.power import plan_rate, plan_tpr


def planned_tpr(
    judge: Auditor,
    model: object,
    probes: object,
    sentence: str,
    *,
    kind: str,
    limit: float,
    max_fpr: float,
    confidence: float,
    evaluations: int | None,
    chance: float = 0.0,
) -> Claim:
    """Plan a claim about the share of members beyond a threshold that non-members set.

    Args:
        judge: keeps the plan.
        model: its name goes into the search for what an evaluation costs.
        probes: counted, not read.
        sentence: the claim.
        kind: of the claim.
        limit: largest share allowed.
        max_fpr: share of non-members beyond the threshold.
        confidence: of each bound.
        evaluations: network evaluations an image; None: unknown.
        chance: what is subtracted from the share before it is compared with the limit.
    """
    members, nonmembers = _counts(probes)
    found = plan_tpr(members, nonmembers, limit=limit + chance, max_fpr=max_fpr, confidence=confidence)
    enough = (
        f"{found.pass_needs} of each pass with probability {found.power:g}" if found.pass_needs else "no number passes"
    )
    smallest = (
        "these can show none"
        if found.smallest is None
        else f"the smallest share that these show with probability {found.power:g} is {found.smallest:.3g}"
    )
    facts = {
        "probes": f"{members} members, {nonmembers} non-members, duplicates counted",
        "to pass": f"a model without a leak passes with probability {found.pass_chance:.2f}; {enough}",
        "to fail": f"at least {found.fail_needs} non-members; {smallest}",
    }
    total = None if evaluations is None else evaluations * (members + nonmembers)
    return judge.plan(ClaimPlan(kind, sentence, limit, confidence, facts, evaluations, total, model_name(model)))


def planned_rate(
    judge: Auditor,
    model: object,
    probes: object,
    sentence: str,
    *,
    kind: str,
    limit: float,
    trials: int,
    confidence: float,
    evaluations: int,
) -> Claim:
    """Plan a claim about the share of generations with a property.

    Args:
        judge: keeps the plan.
        model: its name goes into the search for what an evaluation costs.
        probes: counted, not read.
        sentence: the claim.
        kind: of the claim.
        limit: largest share allowed.
        trials: generations.
        confidence: of each bound.
        evaluations: network evaluations a generation.
    """
    members, nonmembers = _counts(probes)
    found = plan_rate(trials, limit=limit, confidence=confidence)
    smallest = "none" if found.smallest is None else f"{found.smallest:.3g}"
    facts = {
        "probes": f"{trials} generations, {members} members, {nonmembers} non-members, duplicates counted",
        "to pass": f"{found.pass_needs or 'no number of'} generations without a copy are needed",
        "to fail": f"the smallest rate that these generations show with probability {found.power:g}, if the control "
        f"has no false match, is {smallest}",
    }
    plan = ClaimPlan(
        kind, sentence, limit, confidence, facts, evaluations, evaluations * trials, model_name(model), "a generation"
    )
    return judge.plan(plan)


def model_name(model: object) -> str:
    """The name of a model that is not loaded; of any other object its type's."""
    return str(getattr(model, "name", type(model).__name__))


def _counts(probes: object) -> tuple[int, int]:
    if not isinstance(probes, ProbeSet):
        raise UsageError(f"`probes` must be a ProbeSet to be planned, got {type(probes).__name__}.")
    return probes.members.source_count, probes.nonmembers.source_count
