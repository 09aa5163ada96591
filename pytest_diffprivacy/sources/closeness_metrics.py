"""Metrics of closeness beside the DCR share, each once more with unseen images in the place of generations."""

from __future__ import annotations

import numpy as np

from pytest_diffprivacy.audit import Findings, estimate
from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.evidence.records import Table
from pytest_diffprivacy.extraction.replication import Replication
from pytest_diffprivacy.sources.score_figures import histogram_record
from pytest_diffprivacy.statistics import (
    DataCopying,
    DcrShare,
    auroc,
    data_copying,
    false_match_threshold,
    rate,
)

QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
CELL_SHARE = 20
MAX_FALSE_MATCH_RATE = 0.01


def measure_also(findings: Findings, found: Replication, share: DcrShare, confidence: float) -> None:
    """The other metrics, which are measured and not judged."""
    ours, unseen = found.generations, found.unseen
    many, few = f"{len(ours.distances)} generations", f"{len(unseen.distances)} unseen images"
    copying = _data_copying(found, confidence)
    if copying is None:
        findings.notes.append("C_T is undefined: no cell has enough generations and unseen images.")
    else:
        meehan = f"{len(copying.z)} of {found.cells} cells, {many}, {few}"
        findings.also_measured.append(
            estimate("Minus Meehan's C_T (above 3: copying; far below 0: underfitting)", copying, meehan)
        )
    authentic = rate(int((~ours.authentic).sum()), len(ours.authentic), confidence=confidence)
    control = rate(int((~unseen.authentic).sum()), len(unseen.authentic), confidence=confidence)
    ratio = auroc(-ours.ratios, -unseen.ratios, confidence=confidence)
    findings.also_measured += [
        estimate("Generations that are not authentic (1 - AuthPct)", authentic, many),
        estimate("The same of unseen images", control, few),
        estimate("AUROC of minus the kNN ratio, generations against unseen images", ratio, f"{many}, {few}"),
    ]
    _floor(findings, found, confidence, many)
    findings.tables.append(_quantiles(found))
    findings.histograms += [
        histogram_record(
            "kNN ratio to the training set",
            "adaptive distance (lower = closer)",
            ours.ratios,
            unseen.ratios,
            names=("generations", "unseen images"),
        ),
        histogram_record(
            "Largest similarity to a training image",
            f"cosine of {found.similarity} (higher = more alike)",
            ours.similarities,
            unseen.similarities,
            names=("generations", "unseen images"),
        ),
    ]
    p_copying = "" if copying is None else f" C_T = {copying.c_t:.3g}, p = {copying.p_value:.3g} by its normal law."
    findings.notes += [
        permutation_note(share, share.generations) + p_copying,
        f"Metrics beside the share are measured in {found.space} and not judged: compare each with its figure for "
        "unseen images. A generator of little variety is near to training and unseen images alike, which C_T takes for "
        "copying and the share does not.",
    ]


def permutation_note(share: DcrShare, generations: float) -> str:
    """What the permutation of the split says, and how many generations count."""
    return (
        f"p = {share.p_value:.3g} that the split into training set and holdout does not matter (one-sided, by "
        f"permutation). {generations:g} generations count as {share.effective:.0f} independent ones, since they share "
        "nearest records."
    )


def _data_copying(found: Replication, confidence: float) -> DataCopying | None:
    ours, unseen = found.generations, found.unseen
    try:
        return data_copying(
            ours.cell_distances,
            ours.cells,
            unseen.cell_distances,
            unseen.cells,
            cells=found.cells,
            min_share=min(0.5, CELL_SHARE / len(ours.cells)),
            confidence=confidence,
        )
    except InsufficientProbes:
        return None


def _floor(findings: Findings, found: Replication, confidence: float, many: str) -> None:
    """How similar real images are to other real images, and how many generations exceed that."""
    # A cosine of 1 is distance 0; rounding may leave it a little above 1.
    null = (1.0 - found.unseen.similarities).clip(min=0.0)
    try:
        floor = false_match_threshold(
            null, max_false_match_rate=MAX_FALSE_MATCH_RATE, confidence=confidence, ceiling=2.0
        )
    except InsufficientProbes as error:
        findings.notes.append(f"No floor of similarity between real images: {error}")
        return
    except UsageError:
        findings.notes.append("No floor of similarity: so many unseen images equal training images that none is left.")
        return
    above = rate(
        int((1.0 - found.generations.similarities <= floor.threshold).sum()),
        len(found.generations.similarities),
        confidence=confidence,
    )
    name = f"Generations more alike to a training image than {1.0 - floor.threshold:.4f}, the floor of real images"
    findings.also_measured.append(estimate(name, above, many))
    findings.notes.append(
        f"The floor is calibrated on {floor.nulls} unseen images: at most {MAX_FALSE_MATCH_RATE:.0%} of such images "
        f"are that similar to a training image, with confidence {floor.confidence:g}."
    )


def _quantiles(found: Replication) -> Table:
    rows = [
        ("generations to training images", found.generations.similarities),
        ("unseen images to training images", found.unseen.similarities),
        ("training images to other training images", found.background),
    ]
    return Table(
        caption=f"Largest similarity, cosine of {found.similarity}: quantiles",
        columns=("", *(f"{q:.0%}" for q in QUANTILES)),
        rows=tuple((name, *(f"{value:.4f}" for value in np.quantile(values, QUANTILES))) for name, values in rows),
    )
