"""Subjects of whom an image comes back: any image of a person counts, so that the person is what a claim counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Auditor, Findings, Subject, estimate
from pytest_diffprivacy.errors import ProbeError, UsageError
from pytest_diffprivacy.evidence.records import Table
from pytest_diffprivacy.probes import ProbeSet
from pytest_diffprivacy.probes.subjects import MISSING, SubjectIndex
from pytest_diffprivacy.sources.controls import check_sign
from pytest_diffprivacy.sources.copies import Copying, ModelCopies, stored_distances
from pytest_diffprivacy.sources.source import Pair, Source, Vector
from pytest_diffprivacy.sources.subjects import NAMES
from pytest_diffprivacy.statistics import Measured, Verdict, rate
from pytest_diffprivacy.statistics.recovered_share import RecoveredShareStatistic

HEADLINES: Final[Mapping[Verdict, str]] = {
    Verdict.PASS: "Images of no more persons come back than allowed.",
    Verdict.FAIL: "Images of more persons come back than allowed.",
    Verdict.INCONCLUSIVE: "These generations and persons do not decide of how many an image comes back.",
    Verdict.ERROR: "Extraction by person could not be judged.",
}
SHARE: Final = "subjects of whom any image comes back"
FEWEST: Final = 0.25
LISTED: Final = 20
SIGN: Final = "Check the sign: more like a copy must be higher"
COUNTED: Final = (
    "The unit is the subject: one of whom any image comes back counts, however many do. The share grows with the "
    "generations, so it holds for no more of them. A FAIL compares as many images of a member subject as a non-member "
    "subject has ({most}); value and PASS count all."
)


@final
class SubjectCopies:
    """Whether images of a subject are among a model's generations.

    Args:
        auditor: generates.
        model: a generator.
        probes: the training set and unseen images, with subjects.
        copying: what counts as a copy; all generations are made.
        limit: the largest share allowed.
        confidence: of each bound.

    Raises:
        ProbeError: the probes do not say whom they show.
    """

    headlines, share, unit, title, slug = HEADLINES, SHARE, "a generation", "", "extraction-subjects"

    def __init__(
        self, auditor: Auditor, model: object, probes: ProbeSet, copying: Copying, limit: float, confidence: float
    ) -> None:
        sides = probes.members.source_subjects, probes.nonmembers.source_subjects
        if not min(sides):
            raise ProbeError(MISSING)
        self._inner = ModelCopies(auditor, model, probes, copying, limit, confidence)
        self._probes, self.model = probes, model
        self.counts = sides[0], sides[1] - max(1, sides[1] // 2)
        self.evaluations, self.units, self.terms = self._inner.evaluations, self._inner.units, self._inner.terms
        self.statistic = RecoveredShareStatistic(
            copy_from=1.0, confidence=confidence, what="subjects", remedy="Lower delta"
        )

    @property
    def subject(self) -> Subject:
        """The generator and the probes."""
        return _counted(self._inner.subject, self._probes, f"{self.units} generations, ")

    def measure(self, findings: Findings, limit: float) -> Measured:
        """Find the copies by a rule and a control that no person is in by half, and count persons."""
        members, nonmembers = self._probes.subjects
        found, _ = self._inner.extraction(findings, limit, nonmembers.of_image)
        findings.arrays |= {name: array for named in stored_distances(found).values() for name, array in named.items()}
        copies = np.bincount(found.matches.nearest[found.copies], minlength=len(members.of_image))
        control = SubjectIndex(found.rule.control)
        false = np.bincount(found.control_matches.nearest[found.false_matches], minlength=len(control.of_image))
        findings.notes.append(
            f"{len(nonmembers) - len(control)} non-member subjects calibrated the rule or were left out, the other "
            f"{len(control)} are the control, which has no more images than the members."
        )
        return measured_by_subject(findings, (members, control), (copies, false), self.statistic, limit)


@final
class SubjectSimilarities:
    """Similarities of images to what was generated, measured elsewhere; of each subject the largest.

    Args:
        inner: the largest similarity of each image to any generation, **higher = more like a copy**; of arrays without
            probes, of each subject.
        probes: say whom the images show.
        copy_from: similarity from which on an image came back.
        confidence: of each bound.

    Raises:
        ProbeError: the probes do not say whom they show.
    """

    headlines, unit, evaluations, slug = HEADLINES, "a generation", 0, "extraction-subjects-table"
    share = SHARE
    terms: Mapping[str, float] = {}

    def __init__(self, inner: Source, probes: object, copy_from: float, confidence: float) -> None:
        self._inner, self._probes = inner, probes if isinstance(probes, ProbeSet) else None
        self.model, self.title = inner.model, inner.title
        self.counts = inner.counts
        if self._probes is not None:
            self.counts = self._probes.members.source_subjects, self._probes.nonmembers.source_subjects
            if not min(self.counts):
                raise ProbeError(MISSING)
        self.units = sum(inner.counts)
        self.statistic = RecoveredShareStatistic(copy_from=copy_from, confidence=confidence, what="subjects")

    @property
    def subject(self) -> Subject:
        """Who is judged."""
        return self._inner.subject if self._probes is None else _counted(self._inner.subject, self._probes, "")

    def measure(self, findings: Findings, limit: float) -> Measured:
        """The share of the subjects of whom an image came back."""
        self._inner.describe(findings)
        ((_, pair),) = self._inner.scores(findings).items()
        check_sign(findings, pair, self._inner.label, "members", SIGN)
        if self._probes is None:
            stored = {"members": {"member_similarity": pair[0]}, "nonmembers": {"nonmember_similarity": pair[1]}}
            return findings.measure(self.statistic, stored, limit)
        split = self._inner.split
        assert split is not None, "probes have a split"
        members, nonmembers = split.probes.subjects
        return measured_by_subject(findings, (members, nonmembers), pair, self.statistic, limit)


def measured_by_subject(
    findings: Findings,
    sides: tuple[SubjectIndex, SubjectIndex],
    images: Pair | tuple[NDArray[np.int64], NDArray[np.int64]],
    statistic: RecoveredShareStatistic,
    limit: float,
) -> Measured:
    """The share of member subjects of whom any image comes back, beside that of non-member subjects.

    Args:
        findings: keep what each image scored as well.
        sides: subjects of members and of the control.
        images: score of each image: copies of it, or its largest similarity.
        statistic: from what score on an image came back.
        limit: of the claim.

    Raises:
        ProbeError: no control.

    Source: ours (METHODS 1.4, 3.18).
    """
    members, control = sides
    if not len(control):
        raise ProbeError("The control needs non-member subjects, got none. Add subjects that were not trained on.")
    most = int(np.quantile(control.sizes, FEWEST, method="lower"))
    inside, outside = (side.astype(np.float64) for side in images)
    whole, compared = members.largest(inside), members.largest(inside, most)
    others = control.largest(outside)[control.sizes >= most]
    findings.arrays |= {
        "member_subjects": members.of_image, "control_subjects": control.of_image,
        "member_image_scores": inside, "control_image_scores": outside,
    }  # fmt: skip
    matched = int((others >= statistic.copy_from).sum())
    false = rate(matched, len(others), confidence=findings.level(statistic.confidence))
    findings.also_measured.append(
        estimate("False matches: non-member subjects of whom an image comes back", false, f"{len(others)} subjects")
    )
    findings.notes.append(COUNTED.format(most=most))
    findings.tables.append(_listed(members, whole, statistic.copy_from))
    stored = {
        "members": {"member_subject": whole},
        "compared": {"member_subject_compared": compared},
        "nonmembers": {"control_subject": others},
    }
    return findings.measure(statistic, stored, limit)


def by_subject(unit: str) -> bool:
    """Whether a claim counts subjects.

    Raises:
        UsageError: another unit.
    """
    if unit not in NAMES:
        raise UsageError(f"`unit` must be {' or '.join(NAMES)}, got {unit!r}. It is what the share and bounds count.")
    return unit == "subject"


def _listed(side: SubjectIndex, scores: Vector, copy_from: float) -> Table:
    first = np.argsort(-scores, kind="stable")[:LISTED].tolist()
    ids, sizes = side.ids(), side.sizes
    more = f", the first {LISTED} of {len(ids)}" if len(ids) > LISTED else ""
    return Table(
        caption=f"Subjects by what came back{more}",
        columns=("subject", "images", "largest of an image", "comes back"),
        rows=tuple(
            (ids[i], str(int(sizes[i])), f"{scores[i]:.4g}", "yes" if scores[i] >= copy_from else "no") for i in first
        ),
    )


def _counted(subject: Subject, probes: ProbeSet, before: str) -> Subject:
    """The same, counted by subject."""
    sides = probes.members.source_subjects, probes.nonmembers.source_subjects
    each = [f"{count} {name}" for count, name in zip(sides, NAMES["subject"], strict=True)]
    return replace(subject, counts=f"{before}{', '.join(each)}")
