"""The claim about reconstruction from errors that were measured elsewhere, a table or a column a model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.evidence import method_record
from pytest_diffprivacy.assertions.plans import Planned, planned_difference, sides
from pytest_diffprivacy.assertions.reconstruction_evidence import HEADLINES, RESTORED, compared_errors, needed_images
from pytest_diffprivacy.assertions.split import judged_split
from pytest_diffprivacy.audit import Auditor, Findings, Question
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Claim, Control, ControlOutcome
from pytest_diffprivacy.probes import ProbeSet, ScoreTable
from pytest_diffprivacy.statistics import MeanDifference

CURE = "Give errors, lower = restored better; are members and non-members swapped?"


def judge_error_table(
    judge: Auditor, table: ScoreTable, probes: ProbeSet, reference: object | None, *, limit: float, confidence: float
) -> Claim:
    """Judge the difference of the mean errors in the only column of a table.

    Args:
        judge: who judges.
        table: an RMS error on hidden pixels for each image, in [0, 1]; **lower = restored better**.
        probes: whom the ids must match, one and all.
        reference: the same of a model that saw neither side; None: none.
        limit: allowed difference.
        confidence: of each bound.

    Raises:
        UsageError: several columns, errors outside [0, 1], a table that does not match the probes one to one, or a
            reference that is no table.
    """
    if reference is not None and not isinstance(reference, ScoreTable):
        raise UsageError(
            f"`reference` must be a ScoreTable where the model is one, got {type(reference).__name__}. Hidden parts "
            "and tries must be the same for both."
        )
    tables = [table] if reference is None else [table, reference]
    columns = [one.only for one in tables]
    sentence = (
        f"Hidden parts of members are restored better than those of non-members by at most {limit:.4g} RMS"
        + ("" if reference is None else ", compared with a reference model")
        + f" ({columns[0]}, measured elsewhere)"
    )
    if judge.planning:
        planned = Planned(
            judge=judge, model=table, kind="extraction", sentence=sentence, limit=limit, confidence=confidence,
            evaluations=0,
        )  # fmt: skip
        return planned_difference(planned, sides(probes), asked=len(tables), paired=reference is not None)
    gate = judged_split(judge, probes)
    joined = [
        [_errors(side, one, column) for side in one.join(probes, column, kept=gate.probes)]
        for one, column in zip(tables, columns, strict=True)
    ]
    errors, beaten = joined[0], None if reference is None else joined[1]
    sizes = f"{len(gate.probes.members)} members, {len(gate.probes.nonmembers)} non-members"
    question = Question(
        "extraction", "reconstruction-table", sentence, limit, HEADLINES, None, gate.probes, sizes, confidence,
        name="no_reconstruction",
    )  # fmt: skip
    method = method_record(
        name=columns[0],
        title=f"{columns[0]} (errors measured elsewhere)",
        access="chosen by the caller",
        source="the caller's own errors, joined by id",
        parameters={
            "table": ", ".join(one.origin for one in tables),
            "sha256": ", ".join(one.sha256 or "made in memory" for one in tables),
            "reference": "none" if reference is None else columns[1],
        },
        threshold="none; mean errors on hidden pixels are compared",
        label_use="evaluation only; what was hidden, and which tries the errors are of, is the caller's to say",
    )

    def measure(findings: Findings) -> MeanDifference:
        findings.methods = [method]
        gate.note(findings, decides=reference is None)
        findings.controls.append(_not_restored())
        findings.notes.append(
            "The errors were measured elsewhere. What this run cannot know: whether the same parts were hidden from "
            "members and non-members, with as many tries each, and whether the tries were chosen without the original."
        )
        title = f"{columns[0]}, measured elsewhere"
        measured = compared_errors(findings, errors, beaten, confidence, title=title, cure=CURE)
        findings.needed = lambda: needed_images(measured, limit)
        return measured

    return judge.judge(question, measure)


def _errors(values: NDArray[np.float64], table: ScoreTable, column: str) -> NDArray[np.float64]:
    """One column of errors, (n, 1)."""
    outside = values[(values < 0.0) | (values > 1.0)]
    if len(outside):
        raise UsageError(
            f"Column {column!r} of {table.origin} must hold RMS errors in [0, 1], lower = restored better, got "
            f"{len(outside)} of {len(values)} outside, e.g. {outside[0]:g}. Give errors and no scores, on pixels in "
            "[0, 1]."
        )
    return values[:, None]


def _not_restored() -> Control:
    return Control(
        kind="split",
        name="Restoration without the model",
        done=RESTORED,
        outcome=ControlOutcome.NOT_APPLICABLE,
        meaning="Errors were measured elsewhere, and what was hidden is not known here: whether members are easier to "
        "restore without any model is not checked. A `reference` takes that out.",
    )
