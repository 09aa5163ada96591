"""Which generations are copies of training images? A calibrated rule, its false matches, and what was extracted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances import query_rows
from pytest_diffprivacy.errors import InsufficientProbes, ProbeError, UsageError
from pytest_diffprivacy.extraction.adaptive import AdaptiveMatches, adaptive_distances
from pytest_diffprivacy.extraction.exhibits import Exhibit, candidates, most_conspicuous
from pytest_diffprivacy.extraction.looks import in_looks
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.statistics import MatchThreshold, false_match_threshold, is_copy

PAPER_THRESHOLD = 1.0
SMALLEST_SIDE = 3
QUERIES = 1024


@dataclass(frozen=True, slots=True)
class CopyRule:
    """A generation is a copy iff its RMS distance is at most `delta` and its adaptive distance at most the threshold.

    Attributes:
        delta: limit of the RMS distance to the nearest training image on [0, 1].
        threshold: limit of the adaptive distance, calibrated before any generation was seen.
        null: float64, adaptive distances of unseen images to the training set, which calibrated it.
        control: unseen images that took no part in the calibration, as many as the compared members.
        compared: positions of the members that the control is compared with; all, or a random subset of equal size.
    """

    delta: float
    threshold: MatchThreshold
    null: NDArray[np.float64]
    control: ImageSet
    compared: NDArray[np.int64]

    def copies(self, matches: AdaptiveMatches) -> NDArray[np.bool_]:
        """Which queries are copies."""
        return is_copy(matches.l2, matches.adaptive, delta=self.delta, threshold=self.threshold.threshold)


def calibrate_rule(
    probes: ProbeSet,
    *,
    delta: float,
    max_false_match_rate: float,
    confidence: float,
    seed: int,
    ceiling: float = PAPER_THRESHOLD,
) -> CopyRule:
    """Fix the copy rule on unseen images, before any generation is seen.

    A model that generalizes perfectly generates images like the unseen ones. Half of them (chosen by the seed) stand
    for its generations: the threshold is the largest at which at most `max_false_match_rate` of such images would be
    called copies of a training image, at most the paper's. The other half is the control.

    Raises:
        InsufficientProbes: too few non-members for this rate and confidence.
        ProbeError: too few images for a control.

    Source: Follows Carlini et al. 2023, section 5.2 except that the threshold is calibrated (METHODS 1.4).
    """
    order = np.random.default_rng([seed, 1]).permutation(len(probes.nonmembers))
    half = max(1, len(order) // 2)
    calibration = probes.nonmembers.subset(sorted(order[:half].tolist()))
    blocks = (images for _, images in calibration.batches(QUERIES))
    null = np.concatenate([adaptive_distances(images, probes.members).adaptive for images in blocks])
    try:
        threshold = false_match_threshold(
            null, max_false_match_rate=max_false_match_rate, confidence=confidence, ceiling=ceiling
        )
    except InsufficientProbes as error:
        raise InsufficientProbes(
            f"Cannot calibrate a copy rule with a false match rate of {max_false_match_rate:g} from {len(order)} "
            f"non-members, half of which are the control: at least {2 * error.needed} are needed. "
            "Raise max_false_match_rate or add non-members.",
            needed=2 * error.needed,
        ) from error
    size = min(len(order) - half, len(probes.members))
    if size < SMALLEST_SIDE:
        raise ProbeError(f"The control needs at least {SMALLEST_SIDE} non-members and members, got {size}. Add images.")
    control = probes.nonmembers.subset(sorted(order[half : half + size].tolist()))
    members = np.random.default_rng([seed, 2]).permutation(len(probes.members))[:size]
    return CopyRule(delta, threshold, null, control, np.sort(members))


@dataclass(frozen=True, slots=True)
class Extraction:
    """What generate-and-filter found.

    Attributes:
        matches: every generation against the members.
        control_matches: every generation against the control images.
        copies: bool (generations,), copies of a member.
        false_matches: bool (generations,), "copies" of a control image, which the model never saw.
        compared_copies: bool (generations,), copies of one of the members compared with the control.
        exhibits: the most conspicuous generations with their images, the closest copy of each member first.
    """

    matches: AdaptiveMatches
    control_matches: AdaptiveMatches
    copies: NDArray[np.bool_]
    false_matches: NDArray[np.bool_]
    compared_copies: NDArray[np.bool_]
    exhibits: list[Exhibit]

    @property
    def extracted(self) -> NDArray[np.int64]:
        """Positions of the distinct members of which at least one copy was generated."""
        return np.unique(self.matches.nearest[self.copies])


def filter_generations(
    generations: Iterable[NDArray[np.float32]],
    members: ImageSet,
    rule: CopyRule,
    *,
    exhibits: int = 12,
    enough: Callable[[Extraction], bool] | None = None,
) -> Extraction:
    """Compare generations with all members and with the control images, a memory's fill at a time.

    Args:
        generations: blocks (n, channels, height, width) in [0, 1]; as many are held as one search takes.
        members: the training images.
        rule: what counts as a copy.
        exhibits: how many generations to keep for showing, one for each nearest member at the most.
        enough: asked with what was found so far, whenever there is a quarter more; True ends the search. None: all
            generations are searched.

    Raises:
        UsageError: there are no generations.

    Source: Follows Carlini et al. 2023, section 5.2, with the control of METHODS 1.4.
    """
    found: Extraction | None = None
    most = query_rows(int(np.prod(members.image_shape)))
    for block in in_looks(generations, most=most, growing=enough is not None):
        matches, control = adaptive_distances(block, members), adaptive_distances(block, rule.control)
        offset = 0 if found is None else len(found.copies)
        shown = most_conspicuous(
            [*(found.exhibits if found else []), *candidates(block, matches, rule.copies(matches), offset)], exhibits
        )
        found = _with(found, matches, control, rule, shown)
        if enough is not None and enough(found):
            break
    if found is None:
        raise UsageError("`generations` must be at least one image, got none.")
    return found


def _with(
    found: Extraction | None, matches: AdaptiveMatches, control: AdaptiveMatches, rule: CopyRule, shown: list[Exhibit]
) -> Extraction:
    """What was found, and one block more."""
    matches = matches if found is None else _joined(found.matches, matches)
    control = control if found is None else _joined(found.control_matches, control)
    copies = rule.copies(matches)
    compared = copies & np.isin(matches.nearest, rule.compared)
    return Extraction(matches, control, copies, rule.copies(control), compared, shown)


def _joined(first: AdaptiveMatches, second: AdaptiveMatches) -> AdaptiveMatches:
    return AdaptiveMatches(
        nearest=np.concatenate([first.nearest, second.nearest]),
        l2=np.concatenate([first.l2, second.l2]),
        adaptive=np.concatenate([first.adaptive, second.adaptive]),
        literal=np.concatenate([first.literal, second.literal]),
        neighbours=first.neighbours,
    )
