"""Generate and filter: generations held beside a training set by a calibrated rule, and what was extracted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances.bounds import Pixels
from pytest_diffprivacy.distances.neighbours import query_rows
from pytest_diffprivacy.distances.squares import floats_of
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.extraction.adaptive import AdaptiveMatches, Search, adaptive_distances, joined
from pytest_diffprivacy.extraction.copy_rule import CopyRule
from pytest_diffprivacy.methods import Access, Kind, Published, register
from pytest_diffprivacy.probes import ImageSet

EXAMPLES = 12

GENERATE_AND_FILTER = Published(
    name="extraction",
    title="Generate and filter, adaptive distance",
    access=Access.BLACK_BOX,
    source="Carlini et al. 2023, section 5.2; duplicates excluded and threshold calibrated",
    kind=Kind.EXTRACTION,
    built_by="assert_no_extraction(model, probes)",
)
register(GENERATE_AND_FILTER)


@dataclass(frozen=True, slots=True)
class Example:
    """A generation to show: its number, its nearest member, how conspicuous it is, and its image."""

    index: int
    nearest: int
    adaptive: float
    copy: bool
    image: NDArray[np.float32] | None


@dataclass(frozen=True)
class Extraction:
    """What generate-and-filter found.

    Attributes:
        rule: what counts as a copy.
        matches: every generation against the members.
        control_matches: every generation against the control images.
        examples: the most conspicuous generations with their images, the closest copy of each member first.
    """

    rule: CopyRule
    matches: AdaptiveMatches
    control_matches: AdaptiveMatches
    examples: list[Example]

    @cached_property
    def copies(self) -> NDArray[np.bool_]:
        """Which generations are copies of a member."""
        return self.rule.copies(self.matches)

    @cached_property
    def false_matches(self) -> NDArray[np.bool_]:
        """Which generations are "copies" of a control image, which the model never saw."""
        return self.rule.copies(self.control_matches)

    @cached_property
    def compared_copies(self) -> NDArray[np.bool_]:
        """Which generations are copies of one of the members compared with the control."""
        return np.asarray(self.copies & np.isin(self.matches.nearest, self.rule.compared))

    @property
    def extracted(self) -> NDArray[np.int64]:
        """Positions of the distinct members of which at least one copy was generated."""
        return np.unique(self.matches.nearest[self.copies])


def filter_generations(
    generations: Iterable[Pixels],
    members: ImageSet,
    rule: CopyRule,
    *,
    examples: int = EXAMPLES,
    looks: Sequence[int] = (),
    enough: Callable[[Extraction], bool] = lambda _: False,
    search: Search = adaptive_distances,
) -> Extraction:
    """Compare generations with all members and with the control images, a memory's fill at a time.

    Args:
        generations: blocks (n, channels, height, width), uint8 or in [0, 1]; as many are held as one search takes.
        members: the training images.
        rule: what counts as a copy.
        examples: how many generations to keep for showing, one for each nearest member at the most.
        looks: numbers of generations after which to look whether they are enough, rising.
        enough: called at each look with what was found so far; True ends the search.
        search: finds the nearest images.

    Raises:
        UsageError: there are no generations.

    Source: Follows Carlini et al. 2023, section 5.2, with the control of METHODS 1.4.
    """
    found: Extraction | None = None
    most = query_rows(members)
    for block in interim_blocks(generations, most=most, looks=looks):
        part = Extraction(rule, search(block, members), search(block, rule.control), [])
        shown = _most_conspicuous(found, part, block, examples)
        parts = [part] if found is None else [found, part]
        matches, control = joined([p.matches for p in parts]), joined([p.control_matches for p in parts])
        found = Extraction(rule, matches, control, shown)
        if len(found.copies) in looks and enough(found):
            break
    if found is None:
        raise UsageError("`generations` must be at least one image, got none.")
    return found


def _most_conspicuous(before: Extraction | None, new: Extraction, block: Pixels, count: int) -> list[Example]:
    """Of the examples before and a new block: copies before others, closer before farther, one a nearest member."""
    offset, shown = (len(before.copies), before.examples) if before else (0, [])
    matches = new.matches
    seen = [
        Example(offset + i, int(matches.nearest[i]), float(matches.adaptive[i]), bool(new.copies[i]), None)
        for i in range(len(block))
    ]
    best: dict[int, Example] = {}
    for example in sorted([*shown, *seen], key=lambda e: (not e.copy, e.adaptive, e.index)):
        best.setdefault(example.nearest, example)
    return [  # copied, so that its block can go
        e if e.index < offset else replace(e, image=floats_of(block[e.index - offset].copy()))
        for e in list(best.values())[:count]
    ]


def interim_blocks(blocks: Iterable[Pixels], *, most: int, looks: Sequence[int]) -> Iterator[Pixels]:
    """The same images in the larger blocks of interim analyses: every block costs a reading of the training set.

    Blocks are kept whole, and at most `most` images are held, or a single block. What a block completes to one of the
    numbers of `looks` is handed on.
    """
    held: Pixels | None = None
    count = done = 0
    for block in blocks:
        if count and count + len(block) > most:
            assert held is not None, "images are held"
            done += count
            yield held[:count]
            held, count = None, 0
        if held is None:  # pages that are not filled cost nothing
            held = np.empty((max(most, len(block)), *block.shape[1:]), dtype=block.dtype)
        held[count : count + len(block)] = block
        count += len(block)
        if count >= most or done + count in looks:
            done += count
            yield held[:count]
            held, count = None, 0
    if held is not None:
        yield held[:count]
