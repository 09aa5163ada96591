"""Whether a calibrated copy rule still finds copies: planted ones, and what it leaves out of those that are there."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Findings
from pytest_diffprivacy.evidence.records import ControlOutcome, Table
from pytest_diffprivacy.extraction import CopyRule, Extraction
from pytest_diffprivacy.extraction.adaptive import Search
from pytest_diffprivacy.extraction.generate_and_filter import GENERATE_AND_FILTER
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.sources.controls import FEW, LARGE, PLANTED, control, stop
from pytest_diffprivacy.statistics.rate import excess_rate

STREAM: Final = 16
DEPTH, SHARE = 0.25, 0.9
"""Where planted copies lie, as a share of the published threshold; and what share of them must be found."""
SLIGHT: Final = 0.01
"""RMS noise by which the neighbourhood of a member is measured."""
LISTED: Final = 20
BLIND: Final = "Unseen images that are nearly training images make a rule blind: look at the nearest of them"


def rule_control(probes: ProbeSet, rule: CopyRule, seed: int, search: Search, findings: Findings) -> None:
    """Positive control: members with a little noise must be copies by the calibrated rule.

    The noise of each puts it at a quarter of the published threshold of the adaptive distance, or at half of `delta`.

    Args:
        probes: members, of which 50 are planted (16 where images are large).
        rule: as it was calibrated.
        seed: draws members and noise.
        search: finds the nearest members.
        findings: the claim's.

    Raises:
        AuditError: they are not.
    """
    few = int(np.prod(probes.image_shape)) > LARGE
    planted = probes.members.drawn(FEW if few else PLANTED, seed, STREAM)
    images = planted.load(range(len(planted)))
    noise = np.random.default_rng([seed, STREAM, 1]).standard_normal(images.shape, dtype=np.float32)
    noise /= np.sqrt(np.square(noise).mean((1, 2, 3), keepdims=True))
    slight = search(_noised(images, noise, np.full(len(images), SLIGHT)), probes.members)
    scale = slight.l2 / slight.adaptive  # of the adaptive distance: alpha times the mean distance of the neighbourhood
    sizes = np.minimum(rule.delta / 2.0, DEPTH * rule.threshold.ceiling * scale)
    found = rule.copies(search(_noised(images, noise, sizes), probes.members))
    held = bool(found.mean() >= SHARE)
    nearest = _nearest_unseen(probes, rule)
    meaning = f"{int(found.sum())} of {len(found)} were found." + (
        ""
        if held
        else f" The adaptive threshold is {rule.threshold.threshold:.3g}, the published one {rule.threshold.ceiling:g}."
        f" {BLIND} ({nearest}), and take them out by a larger ProbeSet(near=...)."
    )
    done = (
        f"{len(found)} training images with noise of RMS {np.median(sizes):.2g} (median; a quarter of the published "
        f"threshold of the adaptive distance, at most half of delta) were put to the calibrated rule. At least "
        f"{SHARE:.0%} must count as copies."
    )
    outcome = ControlOutcome.HELD if held else ControlOutcome.FAILED
    findings.controls.append(control("positive", GENERATE_AND_FILTER.title, done, outcome, meaning))
    stop(findings, "positive", "so the silence of the calibrated rule proves nothing")


def note_left_out(probes: ProbeSet, rule: CopyRule, findings: Findings) -> None:
    """Say which near-copies across the split took no part in the rule and its control."""
    sides = ((probes.members, rule.left_out[0]), (probes.nonmembers, rule.left_out[1]))
    if not len(rule.left_out[1]):
        return
    findings.notes.append(
        f"{len(rule.left_out[0])} members and {len(rule.left_out[1])} non-members are near-copies of each other (RMS "
        f"pixel difference at most {probes.near:g}): they take no part in the copy rule and its control. Copies of "
        "these members count as any others."
    )
    names = [name for images, places in sides for name in _names(images, places)]
    more = f", the first {LISTED}" if len(names) > LISTED else ""
    rows = tuple((name,) for name in names[:LISTED])
    findings.tables.append(Table(caption=f"Near-copies across the split{more}", columns=("image",), rows=rows))


def check_left_out(
    made: NDArray[np.bool_], unseen: NDArray[np.bool_], limit: float, confidence: float, remedy: str, findings: Findings
) -> None:
    """A PASS is unproven where more generations than unseen images lie where only the calibration says "no copy".

    Args:
        made: which generations would be copies by the rule before it was calibrated.
        unseen: which unseen images would.
        limit: of the claim.
        confidence: of the bound of the difference.
        remedy: what to look at.
        findings: the claim's.
    """
    counts = int(made.sum()), len(made), int(unseen.sum()), len(unseen)
    if excess_rate(*counts, confidence=confidence).low > limit:
        findings.unproven = (
            f"{counts[0]} of {counts[1]} generations, but only {counts[2]} of {counts[3]} unseen images, would be "
            "copies by the rule as it was before unseen images calibrated it: what it leaves out may be copies. "
            f"{remedy}"
        )


def check_rule(probes: ProbeSet, found: Extraction, limit: float, confidence: float, findings: Findings) -> None:
    """The same of a rule by the adaptive distance."""
    rule = found.rule
    made, unseen = rule.may_be_copies(found.matches), rule.may_be_copies(rule.unseen)
    check_left_out(made, unseen, limit, confidence, f"{BLIND} ({_nearest_unseen(probes, rule)})", findings)


def _noised(images: NDArray[np.float32], noise: NDArray[np.float32], sizes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Images (n, channels, height, width) with noise of an RMS each, (n,)."""
    noised = images + noise * sizes.astype(np.float32)[:, None, None, None]
    return np.clip(noised, 0.0, 1.0, out=noised)


def _nearest_unseen(probes: ProbeSet, rule: CopyRule) -> str:
    """Names of the three unseen images that look most like copies, of those that calibrated."""
    kept = np.setdiff1d(np.arange(len(probes.nonmembers)), rule.left_out[1])
    first = np.argsort(rule.unseen.adaptive, kind="stable")[:3]
    names, distances = _names(probes.nonmembers, kept[first]), rule.unseen.l2[first]
    return ", ".join(f"{name} at RMS {distance:.3g}" for name, distance in zip(names, distances, strict=True))


def _names(images: ImageSet, places: NDArray[np.int64]) -> list[str]:
    ids = images.ids()
    return [ids[place] for place in places.tolist()]
