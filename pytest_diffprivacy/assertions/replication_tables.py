"""The claim about closeness from counts made elsewhere: to how many generations is each record the nearest?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.controls import ELSEWHERE, no_positive_control
from pytest_diffprivacy.assertions.evidence import method_record
from pytest_diffprivacy.assertions.plans import Planned, planned_rate, sides
from pytest_diffprivacy.assertions.replication_evidence import refuse_avoided
from pytest_diffprivacy.assertions.split import judged_split
from pytest_diffprivacy.audit import Auditor, Findings, Question
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Claim, Recipe, Table
from pytest_diffprivacy.probes import ProbeSet, ScoreTable
from pytest_diffprivacy.statistics import DcrShare, Verdict, dcr_share_of_counts
from pytest_diffprivacy.statistics.dcr import generations_needed

LISTED = 20
UNKNOWN = (
    "The counts were made elsewhere. What this run cannot know: whether each generation was compared with all of these "
    "records and with no others, and whether the generations are independent draws of the audited model. C_T, the "
    "share that is not authentic, the kNN ratio and the floor of similarity need the distances and are not measured."
)


def judge_count_table(
    judge: Auditor,
    table: ScoreTable,
    probes: ProbeSet,
    *,
    sentence: str,
    limit: float,
    headlines: Mapping[Verdict, str],
    note: str,
    confidence: float,
) -> Claim:
    """Judge the share of generations whose nearest record is a member, from the counts in the only column of a table.

    Args:
        judge: who judges.
        table: of each member and non-member, to how many generations it is the nearest of all; 0 where to none.
        probes: whom the ids must match, one and all; as many members as non-members.
        sentence: the claim.
        limit: allowed share.
        headlines: what each verdict means.
        note: a condition of the plan.
        confidence: of each bound.

    Raises:
        UsageError: several columns, what is no count, sides of different sizes, or a table that does not match the
            probes one to one.
    """
    column = table.only
    sentence = f"{sentence} ({column}, counted elsewhere)"
    if judge.planning:
        given = round(sum(table.of(table.ids, column).tolist()))
        planned = Planned(
            judge=judge, model=table, kind="extraction", sentence=sentence, limit=limit, confidence=confidence,
            evaluations=0, unit="a generation",
        )  # fmt: skip
        return planned_rate(
            planned, max(1, given), trial="generations", clean="of which half are nearer", unleaked=0.5, note=note,
            beside="{} members, {} non-members, duplicates counted".format(*sides(probes)),
        )  # fmt: skip
    whole = table.join(probes, column)
    _check(table, column, whole)
    gate = judged_split(judge, probes)
    training, holdout = table.join(probes, column, kept=gate.probes)
    if len(training) != len(holdout):
        raise UsageError(
            f"`probes` must have as many members as non-members for a table of counts, got {len(training)} and "
            f"{len(holdout)} distinct images without near-copies across the split: the larger side is nearest more "
            "often by its size alone. Thin it at random, and count again."
        )
    lost = sum(float(side.sum()) for side in whole) - float(training.sum() + holdout.sum())
    count = float(training.sum() + holdout.sum())
    question = Question(
        "extraction", "replication-table", sentence, limit, headlines, None, gate.probes,
        f"{count:g} generations, {len(training)} training and {len(holdout)} unseen images", confidence,
        name="not_closer_to_members",
    )  # fmt: skip
    method = method_record(
        name=column,
        title=f"{column} (nearest records counted elsewhere)",
        access="chosen by the caller",
        source="the caller's own counts, joined by id; METHODS 6.2",
        parameters={"table": table.origin, "sha256": table.sha256 or "made in memory"},
        threshold="none; a tie counts one half on each side",
        label_use="which records are training images decides the share; the p-value re-draws it",
    )

    def measure(findings: Findings) -> DcrShare:
        findings.methods, findings.notes = [method], [UNKNOWN]
        gate.note(findings)
        no_positive_control(f"{column}, counted elsewhere", ELSEWHERE, findings)
        if lost:
            findings.notes.append(
                f"{lost:g} generations are nearest to images that were left out, and were not counted."
            )
        findings.arrays |= {"training_counts": training, "holdout_counts": holdout}
        findings.recipe = Recipe(
            statistic="dcr_share_of_counts",
            arrays={"training_counts": ("training_counts",), "holdout_counts": ("holdout_counts",)},
            arguments={"confidence": confidence, "seed": judge.seed},
        )
        share = dcr_share_of_counts(training, holdout, confidence=confidence, seed=judge.seed)
        findings.notes.append(
            f"p = {share.p_value:.3g} that the split into training set and holdout does not matter (one-sided, by "
            f"permutation). {count:g} generations count as {share.effective:.0f} independent ones, since they share "
            "nearest records."
        )
        refuse_avoided(findings, share)
        findings.tables.append(_table(gate.probes, training))
        findings.needed = lambda: generations_needed(share, limit)
        return share

    return judge.judge(question, measure)


def _check(table: ScoreTable, column: str, counts: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
    """Refuse what cannot be numbers of generations."""
    together = np.concatenate(counts)
    broken = together[(together < 0.0) | (2.0 * together != np.round(2.0 * together))]
    if len(broken):
        raise UsageError(
            f"Column {column!r} of {table.origin} must count generations, a tie as one half, got {len(broken)} of "
            f"{len(together)} that are no counts, e.g. {broken[0]:g}. Give for each record the number of generations "
            "to which it is the nearest."
        )
    if not together.any():
        raise UsageError(f"Column {column!r} of {table.origin} must count at least one generation, got only zeros.")


def _table(probes: ProbeSet, training: NDArray[np.float64]) -> Table:
    """The training images that most generations are nearest to."""
    ids = probes.members.ids()
    first = np.argsort(-training, kind="stable")[:LISTED]
    more = f", the first {LISTED} of {len(training)}" if len(training) > LISTED else ""
    rows = tuple((ids[i], f"{training[i]:g}") for i in first.tolist())
    return Table(
        caption=f"Training images by the generations that they are nearest to{more}",
        columns=("image", "generations"),
        rows=rows,
    )
