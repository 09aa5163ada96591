"""What can be shown about a difference of means, whose spread is unknown before anything is measured?"""

from __future__ import annotations

from pytest_diffprivacy.assertions.plans.planned import Planned
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.statistics.dataset_inference import DatasetInferenceStatistic
from pytest_diffprivacy.statistics.mean_difference import MeanDifferenceStatistic

ERRORS, GAINS = "errors", "gains over the reference"


def planned_difference(planned: Planned, counts: tuple[int, int], *, asked: int, paired: bool) -> Claim:
    """Plan a claim about by how much members are restored better than non-members.

    Args:
        planned: the claim; an evaluation count is for one image.
        counts: members and non-members that are restored.
        asked: models that restore each image.
        paired: whether the difference to a reference model is what spreads.
    """
    judged = MeanDifferenceStatistic(confidence=planned.confidence, of=GAINS if paired else ERRORS)
    return planned.keep(judged.plan(counts, planned.limit), asked * sum(counts))


def planned_effect(planned: Planned, counts: tuple[int, int], *, splits: int) -> Claim:
    """Plan a claim about how far a set stands out, in standard deviations; half of the images are controls.

    Args:
        planned: the claim.
        counts: members and non-members.
        splits: how many random control/test splits decide together.
    """
    judged = DatasetInferenceStatistic(confidence=planned.confidence, splits=splits)
    return planned.keep(judged.plan(counts, planned.limit), sum(counts))
