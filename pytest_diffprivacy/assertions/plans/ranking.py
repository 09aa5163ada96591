"""What can be shown about an AUROC, at one look or pair by pair?"""

from __future__ import annotations

from pytest_diffprivacy.assertions.plans.planned import Planned
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.statistics import SequentialTest
from pytest_diffprivacy.statistics.auroc_power import plan_auroc

MOST_PAIRS = 4096


def planned_auroc(planned: Planned, counts: tuple[int, int], *, sequential: bool) -> Claim:
    """Plan a claim about an AUROC.

    Args:
        planned: the claim.
        counts: members and non-members.
        sequential: whether pairs are judged until they decide.
    """
    facts = {"probes": f"{counts[0]} members, {counts[1]} non-members, duplicates counted"}
    if min(counts) < 2:
        facts["to pass"] = facts["to fail"] = "at least 2 images a side are needed"
        return planned.keep(facts, sum(counts))
    found = plan_auroc(*counts, limit=planned.limit, confidence=planned.confidence)
    look = "at one look " if sequential else ""
    enough = (
        f"{found.pass_needs} of each pass with probability {found.power:g}" if found.pass_needs else "no number passes"
    )
    facts["to pass"] = f"{look}a model without a leak passes with probability {found.pass_chance:.2f}; {enough}"
    smallest = (
        "these can show none"
        if found.smallest is None
        else f"the smallest AUROC that these show {look}with probability {found.power:g} is {found.smallest:.3g}"
    )
    facts["to fail"] = f"at least {found.fail_needs} of each; {smallest}"
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
