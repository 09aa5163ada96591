"""What can prompts show about a mitigation, before an image was sampled?"""

from __future__ import annotations

from pytest_diffprivacy.assertions.plans.planned import Planned
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.mitigation.planned import PlannedComparison
from pytest_diffprivacy.statistics.paired import RelativeLossStatistic, ShareLeftStatistic


def planned_mitigation(planned: Planned, comparison: PlannedComparison, *, copies: bool) -> Claim:
    """Plan a claim about a mitigation.

    Args:
        planned: the claim without its evaluations.
        comparison: what is to be sampled.
        copies: whether copies left are judged; False: alignment lost.
    """
    judged = (ShareLeftStatistic if copies else RelativeLossStatistic)(confidence=planned.confidence)
    counts = comparison.prompts, comparison.images, comparison.excluded
    return planned.keep(judged.plan(counts, planned.limit), comparison.samples)
