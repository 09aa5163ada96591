"""Where such evidence is asked for: places in other texts, and the claims of a run that are evidence for them.

Each row says in our words what a place is about. No row says that a demand is met: whether it is, is for whoever knows
the whole case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_diffprivacy.evidence.records import Claim, Run
from pytest_diffprivacy.report.text import NOTHING, one_line, plural
from pytest_diffprivacy.statistics.verdict import Verdict

EXTRACTION, MEMBERSHIP, MEMORIZATION = "extraction", "membership", "memorization"
LEAKS: Final = (EXTRACTION, MEMBERSHIP, MEMORIZATION)
ATTACKS: Final = (*LEAKS, "sharpness", "differential privacy")
QUOTED: Final = "its words, as others quote them"
REPORTED: Final = "in part: what others quote or report of it"
TITLE: Final = "its title only; the text is not public"
MOST, LONGEST = 100, 160
ATLAS: Final = {
    MEMBERSHIP: ("AML.T0024.000", "Infer Training Data Membership"),
    EXTRACTION: ("AML.T0024.001", "Invert AI Model"),
    MEMORIZATION: ("AML.T0024.001", "Invert AI Model"),
}
"""Kind of a claim -> technique of MITRE ATLAS, also a taxon of the SARIF report."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in another text: what it is about, and the kinds of claims and declared fields that bear on it.

    Attributes:
        text: which text.
        where: the place in it.
        about: what it is about, in our words.
        read: how far we have read it ourselves.
        kinds: claims that are evidence for it.
        declared: fields of the declaration that it asks about.
    """

    text: str
    where: str
    about: str
    read: str
    kinds: tuple[str, ...] = ATTACKS
    declared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bearing:
    """A place with what of a run is evidence for it, and what of it is missing."""

    place: Place
    evidence: str
    missing: str


PLACES: Final = (
    Place("EDPB Opinion 28/2024", "paragraph 43",
          "whether it is unlikely for each person that personal data come out, by extraction or by queries",
          QUOTED, LEAKS, ("personal_data",)),
    Place("EDPB Opinion 28/2024", "paragraph 55",
          "extent and quality of tests against known attacks; they are evidence about those attacks only", REPORTED),
    Place("EDPB Opinion 28/2024", "paragraph 58",
          "the file: threat model, measures, resistance to the main attacks, data against model size",
          REPORTED, ATTACKS, ("training_images", "repeated_images", "deployment")),
    Place("CNIL, status of an AI model (22 July 2025)", "the whole sheet",
          "whether training data can be had of the model by reasonably likely means; tests of re-identification",
          REPORTED, LEAKS, ("personal_data",)),
    Place("GPAI code of practice, copyright chapter", "measure 1.4",
          "technical safeguards against outputs that reproduce training content and infringe copyright",
          REPORTED, (EXTRACTION, MEMORIZATION, "mitigation"), ("provenance",)),
    Place("EU AI Act", "Annex IV, point 2(g)",
          "high-risk systems: validation and testing, its data and metrics, logs and reports that are dated and signed",
          QUOTED, ATTACKS, ("auditor", "provenance")),
    Place("EU AI Act", "Annex XI, sections 1 and 2",
          "general-purpose models: purpose, size, training data; with systemic risk evaluation and adversarial testing",
          QUOTED, ATTACKS, ("purpose", "model_release", "provenance", "training_images")),
    Place("NIST AI 600-1", "MS-2.10-001",
          "red-teaming for output of training data and for membership inference", QUOTED, LEAKS),
    Place("NIST AI 600-1", "MS-2.7-007",
          "red-teaming for resilience against attacks on models, membership inference among them", QUOTED, LEAKS),
    Place("ISO/IEC 27559:2022", "8.2.3", "adversarial testing of how identifiable persons are", TITLE, LEAKS),
    Place("MITRE ATLAS", "AML.T0024.000", "inferring membership in the training data", QUOTED, (MEMBERSHIP,)),
    Place("MITRE ATLAS", "AML.T0024.001", "inverting the model: reconstructing its training data",
          QUOTED, (EXTRACTION, MEMORIZATION)),
)  # fmt: skip


def bearings(run: Run) -> Sequence[Bearing]:
    """Every place with the claims of the run that bear on it."""
    return [Bearing(place, _evidence(run, place), _missing(run, place)) for place in PLACES]


def claim_rows(run: Run) -> list[tuple[str, str, str]]:
    """Each judged claim: its verdict, what it says, and the places that it is evidence for."""
    rows = [(c.verdict.value, one_line(c.sentence, LONGEST), places(c.kind)) for c in _judged(run)]
    left = len(rows) - MOST
    return rows[:MOST] + ([("", f"and {plural(left, 'more claim')}", "as their kinds above")] if left > 0 else [])


def places(*kinds: str) -> str:
    """The places that claims of these kinds are evidence for, by text."""
    return grouped(place for place in PLACES if set(kinds) & set(place.kinds)) or NOTHING


def grouped(found: Iterable[Place]) -> str:
    """Places by text: "A: 1, 2; B: 3"; empty where there is none."""
    texts: dict[str, list[str]] = {}
    for place in found:
        texts.setdefault(place.text, []).append(place.where)
    return "; ".join(f"{text}: {', '.join(where)}" for text, where in texts.items())


def _judged(run: Run) -> list[Claim]:
    return [claim for claim in run.claims if claim.node_id not in run.expected_failures]


def _evidence(run: Run, place: Place) -> str:
    count = Counter(claim.verdict for claim in _judged(run) if claim.kind in place.kinds)
    return ", ".join(f"{count[verdict]} {verdict.value}" for verdict in Verdict if count[verdict]) or "none"


def _missing(run: Run, place: Place) -> str:
    kinds = {claim.kind for claim in run.claims}
    lacking = [f"claims about {kind}" for kind in place.kinds if kind not in kinds]
    lacking += [f"declared {name.replace('_', ' ')}" for name in place.declared if not run.declared.get(name)]
    return ", ".join(lacking) or NOTHING
