"""Which claim is planned, of which model, and how often is the network asked for one of its probes?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_diffprivacy.audit import Auditor
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.plans import ClaimPlan
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.probes import ProbeSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A claim in planning; what its probes can show is the planners' to say.

    Attributes:
        judge: keeps the plan.
        model: its name goes into the search for what an evaluation costs; it is asked nothing.
        kind: of the claim.
        sentence: the claim.
        limit: the largest value allowed.
        confidence: of each one-sided bound.
        evaluations: network evaluations `unit`; 0: scores were made elsewhere; None: unknown.
        unit: "an image", "a generation" or "a prompt".
        at_least: whether more evaluations may follow, which depend on what is found.
    """

    judge: Auditor
    model: object
    kind: str
    sentence: str
    limit: float
    confidence: float
    evaluations: int | None
    unit: str = "an image"
    at_least: bool = False

    def keep(self, facts: Mapping[str, str], count: int) -> Claim:
        """Put the plan into the run.

        Args:
            facts: label -> what the probes can show.
            count: of what `evaluations` is for one.
        """
        total = None if self.evaluations is None else self.evaluations * count
        name = str(getattr(self.model, "name", type(self.model).__name__))  # of a model that is not loaded, or its type
        plan = ClaimPlan(
            self.kind, self.sentence, self.limit, self.confidence, facts, self.evaluations, total, name, self.unit,
            self.at_least,
        )  # fmt: skip
        return self.judge.plan(plan)


def sides(probes: object) -> tuple[int, int]:
    """Members and non-members of a probe set, duplicates counted; reads none of them.

    Raises:
        UsageError: it is none.
        ProbeError: it lacks a side.
    """
    if not isinstance(probes, ProbeSet):
        raise UsageError(f"`probes` must be a ProbeSet to be planned, got {type(probes).__name__}.")
    return probes.members.source_count, probes.nonmembers.source_count
