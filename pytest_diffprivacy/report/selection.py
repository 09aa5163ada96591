"""Selection of the claims that get a section of their own, and figures, when a run has very many.

Up to 100 claims each has its section. Above that the page would no longer open: the claims that matter most get one,
and the page says so. Figures are drawn in the same order of importance until their number is used up; where a figure is
not drawn its numbers stand. All claims are in the verdict table, up to 2,500, and in the JSON report always.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pytest_diffprivacy.evidence.families import WORST_FIRST
from pytest_diffprivacy.evidence.records import Claim, Run
from pytest_diffprivacy.report.text import whole
from pytest_diffprivacy.statistics.verdict import Verdict

MOST_SECTIONS: Final = 100
MOST_FIGURES: Final = 120
MOST_FIGURES_OF_MANY: Final = 40
MOST_ROWS: Final = 2_500


@dataclass(frozen=True, slots=True)
class Selection:
    """Positions of claims in the record.

    Attributes:
        listed: in the verdict table, in the order of importance.
        detailed: with a section.
        pictured: with figures in it.
        notes: what was left out, in words; empty where nothing was.
    """

    listed: tuple[int, ...]
    detailed: frozenset[int]
    pictured: frozenset[int]
    notes: tuple[str, ...]


def select(run: Run) -> Selection:
    """What the page shows of each claim.

    Order of importance: refuted claims (but not those that a test expects), claims that could not be judged, undecided
    and expectedly refuted ones, then those that hold, the smallest margin first.
    """
    count = len(run.claims)
    announced = run.expected_failures
    order = sorted(range(count), key=lambda index: (*_rank(run.claims[index], announced), index))
    many = count > MOST_SECTIONS
    detailed = order[:MOST_SECTIONS]
    pictured = _pictured(run.claims, detailed, MOST_FIGURES_OF_MANY if many else MOST_FIGURES)
    notes = []
    if many:
        notes.append(
            f"This run has {whole(count)} claims. The {MOST_SECTIONS} that matter most have a section here: refuted "
            "claims first, then those that could not be judged, then undecided ones, then those that hold with the "
            "smallest margin. The others are in the JSON report, with everything that is known about them."
        )
    if len(pictured) < len(detailed):
        notes.append(f"Figures are drawn for the first {len(pictured)} of them; the numbers are there for all.")
    if count > MOST_ROWS:
        notes.append(f"The table of verdicts lists the first {whole(MOST_ROWS)} in the same order.")
    return Selection(tuple(order[:MOST_ROWS]), frozenset(detailed), frozenset(pictured), tuple(notes))


def _pictured(claims: Sequence[Claim], order: Sequence[int], most: int) -> list[int]:
    """As many claims in this order as have no more figures than that together; the first one always."""
    chosen: list[int] = []
    for index in order:
        claim = claims[index]
        most -= len(claim.curves) + len(claim.charts) + len(claim.histograms)
        if most < 0 and chosen:
            break
        chosen.append(index)
    return chosen


def _rank(claim: Claim, announced: frozenset[str]) -> tuple[int, float]:
    place = WORST_FIRST.index(claim.verdict)
    if claim.verdict is Verdict.FAIL and claim.node_id in announced:
        place = WORST_FIRST.index(Verdict.INCONCLUSIVE)
    margin = claim.limit - claim.estimate.high if claim.estimate else 0.0
    return place, margin / (abs(claim.limit) or 1.0)
