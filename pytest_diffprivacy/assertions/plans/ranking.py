"""What can be shown about an AUROC, at one look or pair by pair?"""

from __future__ import annotations

from pytest_diffprivacy.assertions.plans.planned import Planned
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.statistics.auroc import AurocStatistic
from pytest_diffprivacy.statistics.sequential import SequentialMeanStatistic


def planned_auroc(planned: Planned, counts: tuple[int, int], *, sequential: bool) -> Claim:
    """Plan a claim about an AUROC.

    Args:
        planned: the claim.
        counts: members and non-members.
        sequential: whether pairs are judged until they decide.
    """
    kind = SequentialMeanStatistic if sequential else AurocStatistic
    facts = kind(confidence=planned.confidence).plan(counts, planned.limit)
    pairs = sequential and min(counts) > 1
    return planned.keep(facts, 2 * min(counts) if pairs else sum(counts))
