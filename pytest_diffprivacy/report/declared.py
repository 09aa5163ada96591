"""What was declared of a run and what is missing of it, and what would settle a claim that the correction spared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pytest_diffprivacy.declaration import FIELDS
from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.report.text import number, one_line, whole
from pytest_diffprivacy.statistics.verdict import Verdict

MISSING: Final = "missing"


def declared_rows(run: Run) -> tuple[tuple[str, str], ...]:
    """Every field of the declaration with what it says, and data against model size as EDPB 28/2024 asks for it."""
    fields = [(label, run.declared.get(name) or MISSING) for name, label in FIELDS.items()]
    return (*fields, ("Parameters for each training image", _ratio(run)))


def _ratio(run: Run) -> str:
    """Parameters over training images, for each model; missing without their number."""
    stated = run.declared.get("training_images", "")
    images = int(stated) if stated.isdecimal() else 0
    models = {
        claim.model.name: claim.model.parameters for claim in run.claims if claim.model and claim.model.parameters
    }
    if not images or not models:
        return MISSING
    ratios = [f"{number(count / images)} ({whole(count)} parameters)" for count in models.values()]
    return ", ".join(ratios[:4])


def unsettled(run: Run) -> Iterator[str]:
    """For each claim that is refuted on its own and not after the correction, what would settle it."""
    if run.family is None:
        return
    members = {member.claim: member for member in run.family.members}
    for claim in run.claims:
        member = members.get(claim.id)
        if (
            claim.verdict is Verdict.FAIL
            and member
            and not member.refuted
            and claim.node_id not in run.expected_failures
        ):
            yield (
                f"{one_line(claim.sentence, 200)}: refuted on its own, and not after the correction for "
                f"{run.family.size} claims (adjusted p = {number(member.adjusted)}, above "
                f"{number(run.family.significance)}). A new run of this claim alone, on other probes or more of them, "
                "settles it; a repetition with other seeds does not."
            )
