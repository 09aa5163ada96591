"""What a reader sees besides the rate of copies: which images came back, how often, and which kind they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Auditor, Findings, estimate
from pytest_diffprivacy.distances import Embedding
from pytest_diffprivacy.evidence.pictures import difference_map, picture
from pytest_diffprivacy.evidence.records import Chart, Series, Strip, Table
from pytest_diffprivacy.extraction import CopyRule, Extraction, eidetic_counts, outlierness
from pytest_diffprivacy.extraction.space import pooled
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.sources.score_figures import histogram_record
from pytest_diffprivacy.sources.without_model import stored
from pytest_diffprivacy.statistics import RateEstimate, rate

OUTLIER_GROUPS = 5
SMALLEST_GROUP = 5
ONE_IMAGE = 0.1
POOLED = "pixels averaged to at most 32x32"


def show_copies(
    findings: Findings,
    auditor: Auditor,
    probes: ProbeSet,
    found: Extraction,
    confidence: float,
    *,
    embedding: Embedding | None,
) -> None:
    """Everything that a reader wants besides the rate."""
    count, members, rule = len(found.copies), probes.members, found.rule
    false_rate = rate(int(found.false_matches.sum()), count, confidence=confidence)
    counts = f"{count} generations against {len(rule.control)} unseen images"
    findings.also_measured.append(estimate("False matches: generations that match an unseen image", false_rate, counts))
    extracted = rate(len(found.extracted), len(members), confidence=confidence)
    counts = f"{len(found.extracted)} of {len(members)} distinct images"
    findings.also_measured.append(estimate("Training images: share extracted", extracted, counts))
    nearness, eidetic = _of_extracted(findings, auditor, members, found, embedding)
    findings.charts.append(_by_repetition(members.repetitions, found, confidence))
    if nearness is not None:
        where = embedding.name if embedding else POOLED if pooled(members.image_shape) else "pixels"
        findings.charts.append(_by_outlierness(nearness, found, where, confidence))
        findings.arrays["member_outlierness"] = nearness
    findings.tables += _eidetic_table(eidetic, rule.delta)
    findings.notes += _notes(rule, found, len(members))
    findings.histograms.append(
        histogram_record(
            "Adaptive distance of generations to the nearest image",
            "adaptive distance (lower = closer)",
            found.matches.adaptive,
            found.control_matches.adaptive,
            names=("to training images", "to unseen images"),
            mark=rule.threshold.threshold,
            mark_label="copy threshold",
        )
    )
    findings.arrays |= {
        "literal": found.matches.literal,
        "copy": found.copies,
        "false_match": found.false_matches,
        "member_repetitions": members.repetitions,
        "extracted": found.extracted,
        "eidetic": eidetic,
    }
    if auditor.images != "none":
        findings.strips_title = "Generations beside their nearest training images"
        findings.strips += _strips(auditor, probes, found)


def _of_extracted(
    findings: Findings, auditor: Auditor, members: ImageSet, found: Extraction, embedding: Embedding | None
) -> tuple[NDArray[np.float64] | None, NDArray[np.int64]]:
    """How far each training image lies from the others, and near-copies of each extracted one; nothing without any."""
    if not len(found.extracted):
        return None, np.zeros(0, dtype=np.int64)
    depends = {
        "method": "extracted images",
        "version": 1,
        "members": members.digest,
        "extracted": found.extracted.tolist(),
        "delta": float(found.rule.delta),
        "embedding": embedding.digest if embedding else "",
    }

    def compute() -> dict[str, NDArray[Any]]:
        return {
            "outlierness": outlierness(members, embedding=embedding),
            "eidetic": eidetic_counts(members, found.extracted, found.rule.delta),
        }

    label = f"near-copies of {len(found.extracted)} extracted images"
    arrays = stored(auditor, findings.work, label, depends, compute, len(found.extracted))
    return arrays["outlierness"], arrays["eidetic"]


def _notes(rule: CopyRule, found: Extraction, members: int) -> list[str]:
    count = len(found.copies)
    literal = int(((found.matches.literal <= rule.threshold.threshold) & (found.matches.l2 <= rule.delta)).sum())
    return [
        *_one_image(found),
        f"{len(found.extracted)} of {members} distinct training images were extracted in {count} generations; the "
        "number grows with the generations, so compare models at equal counts only.",
        f"{int(found.false_matches.sum())} generations matched one of {len(rule.control)} unseen images under the same "
        f"rule; {int(found.compared_copies.sum())} matched one of as many training images.",
        f"The published form of the adaptive distance, which leaves duplicates in, finds {literal} copies instead of "
        f"{int(found.copies.sum())}.",
    ]


def _one_image(found: Extraction) -> list[str]:
    """A note where one image that is no copy comes back so often that it may be a placeholder, e.g. of an API."""
    places = np.stack(
        [found.matches.nearest, found.matches.l2, found.control_matches.nearest, found.control_matches.l2]
    )
    _, first, counts = np.unique(places, axis=1, return_index=True, return_counts=True)
    most, one = int(counts.max()), int(first[counts.argmax()])
    if most == 1 or most < ONE_IMAGE * len(found.copies) or found.copies[one]:
        return []
    return [
        f"{most} of {len(found.copies)} generations are equally far from all that they are compared with, as one image "
        "that comes back again and again is. If it is a placeholder, as of a safety filter or of an API that failed, "
        "nothing was audited."
    ]


def _by_repetition(repetitions: NDArray[np.int64], found: Extraction, confidence: float) -> Chart:
    """Extraction against how often the training set holds the image, in groups that double."""
    group = np.ceil(np.log2(repetitions)).astype(np.int64)  # 1, 2, 3-4, 5-8, ...
    groups = [np.flatnonzero(group == g) for g in np.unique(group)]
    return Chart(
        title="Extraction against repetitions",
        x_label="times the training set holds the image",
        y_label="share of these images extracted",
        series=(_shares("extracted", [repetitions[g].mean() for g in groups], groups, found, confidence),),
        log_x=True,
        confidence=confidence,
        note=f"{_sizes(groups)} images, from left to right. After Carlini et al. 2023, Figure 5.",
    )


def _by_outlierness(nearness: NDArray[np.float64], found: Extraction, where: str, confidence: float) -> Chart:
    """Extraction against how far an image lies from the others, in groups of equal size."""
    count = max(1, min(OUTLIER_GROUPS, len(nearness) // SMALLEST_GROUP))
    groups = np.array_split(np.argsort(nearness, kind="stable"), count)
    return Chart(
        title="Extraction against outlierness",
        x_label="mean distance to the nearest training images",
        y_label="share of these images extracted",
        series=(_shares("extracted", [nearness[g].mean() for g in groups], groups, found, confidence),),
        confidence=confidence,
        note=(
            f"{_sizes(groups)} images, from the most usual to the most outlying; distances of {where}. "
            "After Carlini et al. 2023, Figure 20."
        ),
    )


def _shares(
    name: str, x: Sequence[float], groups: Sequence[NDArray[np.int64]], found: Extraction, confidence: float
) -> Series:
    """The share of each group of training images that was extracted, with its bounds."""
    rates: list[RateEstimate] = [
        rate(int(np.isin(found.extracted, group).sum()), len(group), confidence=confidence) for group in groups
    ]
    return Series(
        name=name,
        x=tuple(float(value) for value in x),
        y=tuple(r.value for r in rates),
        low=tuple(r.low for r in rates),
        high=tuple(r.high for r in rates),
    )


def _sizes(groups: Sequence[NDArray[np.int64]]) -> str:
    return ", ".join(str(len(group)) for group in groups)


def _eidetic_table(counts: NDArray[np.int64], delta: float) -> list[Table]:
    """How many extracted images have how many near-copies in the training set."""
    if not len(counts):
        return []
    edges = [1, 2, 4, 10, 100]
    rows = []
    for low, high in zip(edges, [*(edge - 1 for edge in edges[1:]), None], strict=True):
        inside = int(((counts >= low) & (counts <= (high or counts.max()))).sum())
        rows.append(
            (f"{low}" if high == low else f"{low} or more" if high is None else f"{low} to {high}", str(inside))
        )
    return [
        Table(
            caption=f"Extracted images by k: training images within RMS {delta:g}, with repetitions; small is worse",
            columns=("k", "extracted images"),
            rows=tuple(rows),
        )
    ]


def _strips(auditor: Auditor, probes: ProbeSet, found: Extraction) -> list[Strip]:
    """The most conspicuous generations beside their nearest training image."""
    redacted = auditor.images == "redacted"
    ids, strips = probes.members.ids(), []
    for example in found.examples:
        training = probes.members.load([example.nearest])[0]
        assert example.image is not None, "shown examples have their images"
        pictures = [
            picture(example.image, "generation", redacted=redacted),
            picture(training, f"nearest image: {ids[example.nearest]}", redacted=redacted),
            difference_map(example.image, training, "where they agree (white)", redacted=redacted),
        ]
        caption = (
            f"RMS distance {found.matches.l2[example.index]:.4f}, adaptive distance {example.adaptive:.3f}, "
            f"occurs {int(probes.members.repetitions[example.nearest])} times in the training set"
        )
        mark = "match" if example.copy else "no match"
        strips.append(Strip(pictures=tuple(pictures), caption=caption, mark=mark, conspicuous=example.copy))
    return strips
