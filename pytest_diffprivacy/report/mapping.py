"""Where such evidence is asked for: places in other texts, and the claims of a run that are evidence for them.

Each row says in our words what a place is about. No row says that a demand is met: whether it is, is for whoever knows
the whole case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.report.text import one_line

EXTRACTION, MEMBERSHIP, MEMORIZATION = "extraction", "membership", "memorization"
ATTACKS: Final = (EXTRACTION, MEMBERSHIP, MEMORIZATION, "sharpness", "differential privacy")
MOST: Final = 8
ATLAS: Final = {
    MEMBERSHIP: ("AML.T0024.000", "Infer Training Data Membership"),
    EXTRACTION: ("AML.T0024.001", "Invert AI Model"),
    MEMORIZATION: ("AML.T0024.001", "Invert AI Model"),
}
"""Kind of a claim -> technique of MITRE ATLAS, also a taxon of the SARIF report."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in another text: what it is about, and the kinds of claims and declared fields that bear on it."""

    text: str
    where: str
    about: str
    kinds: tuple[str, ...] = ATTACKS
    declared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bearing:
    """A place with what of a run is evidence for it, and what of it is missing."""

    place: Place
    evidence: str
    missing: str


PLACES: Final = (
    Place("EDPB Opinion 28/2024", "paragraph 43", "how likely personal data come out, directly or by queries",
          (EXTRACTION, MEMBERSHIP, MEMORIZATION), ("personal_data",)),
    Place("EDPB Opinion 28/2024", "paragraph 55", "tests against attacks of the state of the art"),
    Place("EDPB Opinion 28/2024", "paragraph 58", "documentation of tests, measures, and data against model size",
          ATTACKS, ("training_images", "repeated_images", "deployment")),
    Place("CNIL, status of an AI model (July 2025)", "tests of re-identification",
          "whether the model itself holds personal data", (EXTRACTION, MEMBERSHIP, MEMORIZATION), ("personal_data",)),
    Place("GPAI code of practice, copyright", "measure 1.4", "outputs that repeat protected training content",
          (EXTRACTION, MEMORIZATION, "mitigation"), ("provenance",)),
    Place("EU AI Act", "Annex IV, point 2", "validation and testing: data, metrics, logs, signed reports",
          ATTACKS, ("auditor", "provenance")),
    Place("EU AI Act", "Annex XI", "documentation of a general-purpose model, its data and its testing",
          ATTACKS, ("purpose", "training_cutoff", "provenance")),
    Place("NIST AI 600-1", "MS-2.10-001", "red-teaming for output of training data and membership inference",
          (EXTRACTION, MEMBERSHIP, MEMORIZATION)),
    Place("NIST AI 600-1", "MS-2.7-007", "red-teaming for resilience against attacks on the model", ATTACKS),
    Place("ISO/IEC 27559", "8.2.3", "who may attack, and with what", ATTACKS, ("deployment",)),
    Place("MITRE ATLAS", "AML.T0024.000", "membership inference", (MEMBERSHIP,)),
    Place("MITRE ATLAS", "AML.T0024.001", "reconstruction of training data", (EXTRACTION, MEMORIZATION)),
)  # fmt: skip


def bearings(run: Run) -> Sequence[Bearing]:
    """Every place with the claims of the run that bear on it."""
    return [Bearing(place, _evidence(run, place), _missing(run, place)) for place in PLACES]


def _evidence(run: Run, place: Place) -> str:
    own = [claim for claim in run.claims if claim.kind in place.kinds and claim.node_id not in run.expected_failures]
    shown = [f"{claim.verdict.value}: {one_line(claim.sentence, 90)}" for claim in own[:MOST]]
    more = [f"and {len(own) - MOST} more"] if len(own) > MOST else []
    return "; ".join(shown + more) or "none: nothing of this run is evidence for it"


def _missing(run: Run, place: Place) -> str:
    kinds = {claim.kind for claim in run.claims}
    lacking = [f"claims about {kind}" for kind in place.kinds if kind not in kinds]
    lacking += [f"declared {name.replace('_', ' ')}" for name in place.declared if not run.declared.get(name)]
    return ", ".join(lacking) or "–"
