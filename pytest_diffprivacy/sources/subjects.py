"""Scores of subjects: of each person the mean over the pictures, so that the person is what a claim counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final, Literal, TypeAlias, final

import numpy as np

from pytest_diffprivacy.audit import Findings, Subject
from pytest_diffprivacy.errors import ProbeError, UsageError
from pytest_diffprivacy.probes import ProbeSet
from pytest_diffprivacy.probes.subjects import MISSING, SubjectIndex
from pytest_diffprivacy.sources.source import Places, Scores, Source, Vector
from pytest_diffprivacy.sources.split import JudgedSplit
from pytest_diffprivacy.statistics.arguments import IntArray

CountedUnit: TypeAlias = Literal["image", "subject"]
NAMES: Final = {"image": ("members", "non-members"), "subject": ("member subjects", "non-member subjects")}


def by_unit(source: Source, unit: CountedUnit, probes: object) -> Source:
    """The source itself, or where a claim counts subjects their scores.

    Raises:
        UsageError: another unit, or subjects of scores without their images.
        ProbeError: the probes do not say whom they show.
    """
    if unit not in NAMES:
        raise UsageError(f"`unit` must be {' or '.join(NAMES)}, got {unit!r}. It is what TPR, FPR and bounds count.")
    if unit == "image":
        return source
    if not isinstance(probes, ProbeSet):
        raise UsageError("`unit` must be image for two arrays of scores: nothing says whom their images show.")
    if not min(probes.members.source_subjects, probes.nonmembers.source_subjects):
        raise ProbeError(MISSING)
    return SubjectScores(source, probes)


def images_of(probes: object, counts: tuple[int, ...]) -> int:
    """How many images are scored, whatever a claim counts; of arrays as many as it counts."""
    if not isinstance(probes, ProbeSet):
        return sum(counts)
    return probes.members.source_count + probes.nonmembers.source_count


def _of_some(side: SubjectIndex, images: IntArray, scores: Vector) -> tuple[Vector, IntArray]:
    """Mean of each subject over those of its images that have a score, and the places of the subjects that have one."""
    owners = side.of_image[images]
    counts = np.bincount(owners, minlength=len(side))
    seen = np.flatnonzero(counts)
    sums = np.bincount(owners, weights=scores, minlength=len(side))
    return np.asarray(sums[seen] / counts[seen], dtype=np.float64), seen


@final
class SubjectScores:
    """What another source says of images, as the mean of each subject.

    Args:
        inner: scores of images.
        probes: say whom they show.
    """

    unit = "an image"

    def __init__(self, inner: Source, probes: ProbeSet) -> None:
        self._inner, self._probes = inner, probes
        self.model, self.remedy, self.label = inner.model, inner.remedy, inner.label
        self.title = f"{inner.title}, by subject" if inner.title else "by subject"
        self.slug, self.evaluations = f"{inner.slug}-subjects", inner.evaluations
        self.counts = probes.members.source_subjects, probes.nonmembers.source_subjects

    @property
    def titles(self) -> Mapping[str, str]:
        """Each score as the inner source calls it."""
        return self._inner.titles

    @cached_property
    def _sides(self) -> tuple[SubjectIndex, ...]:
        """The subjects of the images that are judged."""
        assert self._inner.split is not None, "probes have a split"
        return self._inner.split.probes.subjects

    @cached_property
    def split(self) -> JudgedSplit | None:
        """The split, with the blind baseline's scores by subject as well."""
        inner = self._inner.split
        if inner is None or inner.found.baseline is None:
            return inner
        blind, (members, nonmembers) = inner.found.baseline, self._sides
        inside, seen = _of_some(members, blind.members, blind.member_scores)
        outside, others = _of_some(nonmembers, blind.nonmembers, blind.nonmember_scores)
        baseline = replace(blind, member_scores=inside, nonmember_scores=outside, members=seen, nonmembers=others)
        return replace(inner, found=replace(inner.found, baseline=baseline))

    @property
    def subject(self) -> Subject:
        """The same, counted by subject."""
        inner = self._inner.subject
        images = [int(side.sizes.sum()) for side in self._sides]
        each = [f"{len(side)} {name}" for side, name in zip(self._sides, NAMES["subject"], strict=True)]
        return replace(inner, counts=f"{each[0]} ({images[0]} images), {each[1]} ({images[1]} images)")

    @property
    def member_ids(self) -> list[str]:
        """Names of the member subjects for records, in the order of their scores."""
        return self._sides[0].ids()

    @property
    def orders(self) -> tuple[IntArray, ...]:
        """By the digests of their images."""
        return tuple(np.arange(len(side)) for side in self._sides)

    def describe(self, findings: Findings) -> None:
        """The inner source's methods and controls, which ask about images, and what is counted."""
        self._inner.describe(findings)
        sizes = [f"{int(np.median(side.sizes))} (at most {int(side.sizes.max())})" for side in self._sides]
        findings.notes.append(
            "The unit of TPR, FPR and every bound is the subject: its score is the mean over its images, of which a "
            f"member subject has {sizes[0]} and a non-member subject {sizes[1]} in the middle. Positive controls plant "
            "single images."
        )

    def scores(self, findings: Findings) -> Scores:
        """Scores of the subjects of both sides; those of their images stay among the arrays."""
        found = self._inner.scores(findings)
        members, nonmembers = self._sides
        findings.sides = [side.digests for side in self._sides]
        findings.arrays |= {"member_subjects": members.of_image, "nonmember_subjects": nonmembers.of_image}
        for name, (inside, outside) in found.items():
            own = f" {name}" if len(found) > 1 else ""
            findings.arrays |= {f"member_image_scores{own}": inside, f"nonmember_image_scores{own}": outside}
        return {name: (members.means(pair[0]), nonmembers.means(pair[1])) for name, pair in found.items()}

    def beside(self, findings: Findings, scores: Scores, places: Places | None = None) -> None:
        """Nothing more: the inner source shows what there is beside the scores of its images."""

    def side(self, findings: Findings, side: int, places: Sequence[int] | None = None) -> Vector:
        """Scores of the subjects of one side.

        Raises:
            UsageError: of some of them, as a claim wants that stops early.
        """
        if places is not None:
            raise UsageError("`sequential` must be False where subjects are counted: pairs are pairs of images.")
        return self._sides[side].means(self._inner.side(findings, side))
