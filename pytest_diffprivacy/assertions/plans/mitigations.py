"""What can prompts show about a mitigation, before an image was sampled?"""

from __future__ import annotations

from pytest_diffprivacy.assertions.plans.planned import Planned
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.mitigation import PlannedComparison
from pytest_diffprivacy.statistics.mean_power import shown_shift
from pytest_diffprivacy.statistics.paired import LEAST_PROMPTS
from pytest_diffprivacy.statistics.rate import plan_rate
from pytest_diffprivacy.statistics.sample_size import POWER


def planned_mitigation(planned: Planned, comparison: PlannedComparison, *, copies: bool) -> Claim:
    """Plan a claim about a mitigation.

    Args:
        planned: the claim without its evaluations.
        comparison: what is to be sampled.
        copies: whether copies left are judged; False: alignment lost.
    """
    count = comparison.prompts
    gone = f", {comparison.excluded} left out without training image" if comparison.excluded else ""
    facts = {"probes": f"{count} prompts with {comparison.images} images each{gone}"}
    if count < LEAST_PROMPTS:
        facts["to pass"] = facts["to fail"] = f"at least {LEAST_PROMPTS} prompts are needed"
    else:
        facts |= (_copies if copies else _alignment)(count, planned.limit, planned.confidence)
    facts["shared"] = (
        "one comparison serves every claim about it; what the searches of its mitigations add to the sampling is "
        "undefined before they run"
    )
    return planned.keep(facts, comparison.samples)


def _copies(count: int, limit: float, confidence: float) -> dict[str, str]:
    """Bounds resample prompts; where no copy is left, or images of a prompt agree, they are about the binomial ones."""
    found = plan_rate(count, limit=limit, confidence=confidence)
    needs = "no number of" if found.pass_needs is None else str(max(LEAST_PROMPTS, found.pass_needs))
    smallest = "none" if found.smallest is None else f"about {found.smallest:.3g}"
    return {
        "to pass": f"{needs} prompts without a copy left are needed if every image copies without mitigation, and 1/c "
        "times as many if a share c does; what c is, is undefined before it is measured",
        "to fail": f"the smallest share left that these show with probability {found.power:g}, if every image copies "
        f"without mitigation and those of a prompt agree, is {smallest}",
    }


def _alignment(count: int, limit: float, confidence: float) -> dict[str, str]:
    gap = shown_shift(count, confidence=confidence)
    passes = (
        f"a mitigation that loses nothing passes with probability {POWER:g} if prompts' losses spread by at most "
        f"{limit / gap:.3g} of the mean alignment; twice the spread needs four times the prompts"
    )
    return {
        "to pass": passes if limit else "no number of prompts passes: no sample shows that a loss is 0",
        "to fail": f"the smallest loss that these show with probability {POWER:g} is about the limit and {gap:.3g} "
        "standard deviations of the prompts' losses; as a share it is undefined until they are measured",
    }
