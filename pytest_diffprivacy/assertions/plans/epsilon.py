"""Which claimed epsilon could so many canaries refute?"""

from __future__ import annotations

from collections.abc import Callable

from scipy import special

from pytest_diffprivacy.assertions.plans.planned import Planned
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.statistics.guess_power import plan_guesses


def planned_epsilon(
    planned: Planned, canaries: int, guesses: int, bound: Callable[[int], float], needed: Callable[[], str]
) -> Claim:
    """Plan a claim of differential privacy.

    Args:
        planned: the claim; its limit is the claimed epsilon.
        canaries: how many were planted or left out.
        guesses: how many of them are guessed.
        bound: right guesses -> lower bound of epsilon.
        needed: says how many canaries or guesses could refute the claim; asked only where these cannot.
    """
    found = plan_guesses(guesses, bound, planned.limit)
    facts = {"probes": f"{canaries} canaries, {guesses} of them guessed"}
    if found.right is None or found.smallest is None:
        facts["to pass"] = f"undefined, because nothing could be refuted: {needed()}"
        facts["to fail"] = f"impossible: if every guess is right the bound is {found.most:.3g}"
        return planned.keep(facts, canaries)
    facts["to pass"] = (
        "these suffice, since a refutation is possible; a PASS says that nothing was refuted, and no number proves it"
    )
    facts["to fail"] = (
        f"{found.right} right guesses of {guesses}, and the bound can reach {found.most:.3g}; the smallest leak that "
        f"these show with probability {found.power:g} is {found.smallest:.1%} right guesses, which randomized response "
        f"of epsilon {float(special.logit(found.smallest)):.3g} gives"
    )
    return planned.keep(facts, canaries)
