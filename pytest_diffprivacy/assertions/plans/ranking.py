"""What can be shown about an AUROC, at one look or pair by pair?"""

from __future__ import annotations

from pytest_diffprivacy.assertions.plans.planned import Planned
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.statistics import SequentialTest
from pytest_diffprivacy.statistics.auroc import auroc_facts

MOST_PAIRS = 4096


def planned_auroc(planned: Planned, counts: tuple[int, int], *, sequential: bool) -> Claim:
    """Plan a claim about an AUROC.

    Args:
        planned: the claim.
        counts: members and non-members.
        sequential: whether pairs are judged until they decide.
    """
    look = "at one look " if sequential else ""
    facts = auroc_facts(counts, planned.limit, planned.confidence, look=look)
    if min(counts) < 2:
        return planned.keep(facts, sum(counts))
    if not sequential:
        return planned.keep(facts, sum(counts))
    pairs = min(counts)
    test = SequentialTest(planned.limit, confidence=planned.confidence)
    test.feed([1.0] * min(pairs, MOST_PAIRS))
    earliest = f"after {test.items} pairs if all are ordered right" if test.decided else "with no FAIL"
    facts["stops"] = (
        f"{earliest} at the earliest, after {pairs} at the latest; where between is undefined before the run, and all "
        "pairs together show less than one look does"
    )
    return planned.keep(facts, 2 * pairs)
