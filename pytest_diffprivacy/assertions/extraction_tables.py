"""The claim about extraction from similarities that were measured elsewhere, of generations and of unseen images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.controls import ELSEWHERE, no_positive_control
from pytest_diffprivacy.assertions.detected import corrected_by, corrected_copies
from pytest_diffprivacy.assertions.evidence import histogram_record, method_record
from pytest_diffprivacy.assertions.plans import Planned, planned_rate
from pytest_diffprivacy.audit import Auditor, Findings, Question, estimate
from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.evidence.records import Claim, Control, ControlOutcome, Recipe
from pytest_diffprivacy.probes import ScoreTable
from pytest_diffprivacy.statistics import (
    AlikeRate,
    Detector,
    Measured,
    Verdict,
    alike_rate,
    check_coherence,
    rate,
)
from pytest_diffprivacy.statistics.arguments import as_number
from pytest_diffprivacy.statistics.copies import uncalibrated
from pytest_diffprivacy.statistics.rate import more_trials

HEADLINES = {
    Verdict.PASS: "Training images come back no more often than allowed.",
    Verdict.FAIL: "Training images come back more often than allowed.",
    Verdict.INCONCLUSIVE: "These generations do not decide how often training images come back.",
    Verdict.ERROR: "Extraction could not be judged.",
}
UNKNOWN = (
    "The similarities were measured elsewhere. What this run cannot know: whether each row was compared with the whole "
    "training set, and whether the generations are independent draws of the audited model."
)


def judge_similarity_tables(
    judge: Auditor,
    generations: ScoreTable,
    unseen: object,
    *,
    copy_from: float | None,
    max_rate: float,
    max_false_match_rate: float,
    detector: Detector | None,
    confidence: float,
) -> Claim:
    """Judge how many generations are as alike to a training image as only copies are.

    Args:
        judge: who judges.
        generations: one column, a row a generation: how alike it is to its nearest training image; higher = more.
        unseen: the same of unseen images, compared with the same training images.
        copy_from: the smallest similarity that may count as a copy.
        max_rate: allowed share of copies.
        max_false_match_rate: share of unseen images that may be called copies.
        detector: what the rule did on labelled pairs; None: the rate is not corrected.
        confidence: of each bound.

    Raises:
        UsageError: no limit, no unseen images, several columns, or one table in both places.
    """
    if copy_from is None:
        raise UsageError(
            "`copy_from` must be the similarity from which a generation is a copy where a ScoreTable holds the "
            "similarities, got None. Higher = more like a copy."
        )
    least = as_number("copy_from", copy_from)
    if not isinstance(unseen, ScoreTable):
        raise UsageError(
            f"`probes` must be a ScoreTable of unseen images where the model is one of generations, got "
            f"{type(unseen).__name__}. How alike unseen images are to their nearest training images says which "
            "similarity means a copy; a copy rate without them is no evidence."
        )
    columns = generations.only, unseen.only
    made, others = (table.of(table.ids, column) for table, column in zip((generations, unseen), columns, strict=True))
    if generations.ids == unseen.ids and np.array_equal(made, others):
        raise UsageError(f"`probes` must be a table of unseen images, got the generations' own: {unseen.origin}.")
    sentence = (
        f"Share of generations at least {least:.4g} alike to a training image is at most {max_rate:.4g} "
        f"({columns[0]}, measured elsewhere)"
    )
    half = len(others) // 2
    if judge.planning:
        planned = Planned(
            judge=judge, model=generations, kind="extraction", sentence=sentence, limit=max_rate,
            confidence=confidence, evaluations=0, unit="a generation",
        )  # fmt: skip
        return planned_rate(
            planned, len(made), trial="generations", clean="without a copy", controls=len(others) - half,
            beside=f"{len(others)} unseen images",
            undefined=uncalibrated(len(others), max_false_match_rate, confidence, images="unseen images"),
        )  # fmt: skip
    question = Question(
        "extraction", "extraction-table", sentence, max_rate, HEADLINES, None, None,
        f"{len(made)} generations, {len(others)} unseen images", confidence, name="no_extraction",
    )  # fmt: skip
    # By value, so that the halves do not depend on the order of the rows.
    shuffled = np.sort(others)[np.random.default_rng([judge.seed, 1]).permutation(len(others))]
    null, control = shuffled[:half], shuffled[half:]

    def measure(findings: Findings) -> Measured:
        findings.methods = [
            method_record(
                name=columns[0],
                title=f"{columns[0]} (similarities measured elsewhere)",
                access="chosen by the caller",
                source="the caller's own similarities",
                parameters={
                    "table": f"{generations.origin}, {unseen.origin}",
                    "sha256": ", ".join(table.sha256 or "made in memory" for table in (generations, unseen)),
                    "unseen": columns[1],
                    "copy_from": least,
                    "max_false_match_rate": max_false_match_rate,
                },
                threshold="`copy_from`, or higher where half of the unseen images say so",
                label_use="evaluation only; what the similarities were measured with is the caller's to say",
            )
        ]
        findings.notes.append(UNKNOWN)
        findings.controls.append(_no_split())
        no_positive_control(f"{columns[0]}, measured elsewhere", ELSEWHERE, findings)
        _check_order(findings, made, others, columns[0], detector)
        measured = _alike(findings, made, null, control, least, max_false_match_rate, confidence)
        control_rate = measured.false_matches / measured.controls
        findings.needed = lambda: more_trials(measured, control_rate, max_rate, remedy="Raise copy_from")
        if detector is None:
            return measured
        copies = measured.is_copy(made)
        findings.arrays |= {"copy": copies}
        corrected = corrected_copies(findings, copies, detector, confidence=confidence, seed=judge.seed)
        findings.needed = lambda: corrected_by(detector, confidence, judge.seed).needed({}, corrected, max_rate)
        return corrected

    return judge.judge(question, measure)


def _no_split() -> Control:
    return Control(
        kind="split",
        name="Split: unseen images against training images",
        done="An image on both sides is refused.",
        outcome=ControlOutcome.NOT_APPLICABLE,
        meaning="Similarities were given without their images: whether the unseen images are of the training images' "
        "kind, and none of them, is not checked.",
    )


def _alike(
    findings: Findings,
    made: NDArray[np.float64],
    null: NDArray[np.float64],
    control: NDArray[np.float64],
    copy_from: float,
    max_false_match_rate: float,
    confidence: float,
) -> AlikeRate:
    """The judged rate; everything else that a reader wants goes into the findings."""
    findings.arrays |= {"similarities": made, "null_similarities": null, "control_similarities": control}
    findings.recipe = Recipe(
        statistic="alike_rate",
        arrays={
            "similarities": ("similarities",),
            "null": ("null_similarities",),
            "control": ("control_similarities",),
        },
        arguments={
            "copy_from": copy_from,
            "max_false_match_rate": max_false_match_rate,
            "rule_confidence": confidence,
            "confidence": confidence,
        },
    )
    try:
        measured = alike_rate(
            made,
            null,
            control,
            copy_from=copy_from,
            max_false_match_rate=max_false_match_rate,
            rule_confidence=confidence,
            confidence=confidence,
        )
    except InsufficientProbes as error:
        given, needed = len(null) + len(control), 2 * (error.needed or 0)
        raise InsufficientProbes(
            f"Cannot calibrate a copy rule with a false match rate of {max_false_match_rate:g} from {given} unseen "
            f"images, half of which are the control: at least {needed} are needed. Raise max_false_match_rate or add "
            "unseen images.",
            needed=needed,
        ) from error
    false = rate(measured.false_matches, measured.controls, confidence=confidence)
    counts = f"{measured.controls} unseen images that did not calibrate the rule"
    findings.also_measured.append(estimate("False matches: unseen images that the rule calls copies", false, counts))
    if measured.threshold > copy_from:
        findings.notes.append(
            f"A share of unseen images above {max_false_match_rate:g} may be {copy_from:.4g} alike to a training one: "
            f"a generation counts as a copy from {measured.threshold:.4g} on."
        )
    findings.histograms.append(
        histogram_record(
            "Similarity to the nearest training image",
            "higher = more like a copy",
            made,
            np.concatenate([null, control]),
            names=("generations", "unseen images"),
            mark=measured.threshold,
            mark_label="copy threshold",
        )
    )
    return measured


def _check_order(
    findings: Findings,
    made: NDArray[np.float64],
    others: NDArray[np.float64],
    column: str,
    detector: Detector | None,
) -> None:
    """Silence of a column that may be the wrong way round is no PASS, unless the rule is known to find copies."""
    if check_coherence(made, others, title=column).ranked_last:
        text = "Generations are less alike to training images than unseen images are, beyond chance"
        findings.notes.append(
            f"{text}: a model that generates badly looks so, and so do copies in a column of distances."
        )
        if detector is None:
            findings.unproven = (
                f"{text}: a column of distances, lower = closer, would look the same. Check its sign, and show by a "
                "`detector`, what the rule did on known copies, that it finds them"
            )
