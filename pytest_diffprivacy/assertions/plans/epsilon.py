"""Which claimed epsilon could so many canaries refute?"""

from __future__ import annotations

from pytest_diffprivacy.assertions.plans.planned import Planned
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.statistics.statistic import Statistic


def planned_epsilon(planned: Planned, canaries: int, judged: Statistic) -> Claim:
    """Plan a claim of differential privacy, whose limit is the claimed epsilon."""
    return planned.keep(judged.plan((canaries,), planned.limit), canaries)
