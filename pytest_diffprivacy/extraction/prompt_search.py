"""Prompted search: many generations of each prompt, and their cliques compared with the prompt's training images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances import nearest_images, pairwise_tiled_l2
from pytest_diffprivacy.distances.pixels import GRID4
from pytest_diffprivacy.errors import ProbeError, UsageError
from pytest_diffprivacy.extraction.cliques import CLIQUES_TRIED, NONE, Clique, CliqueOutcome, find_cliques
from pytest_diffprivacy.extraction.space import eidetic_counts
from pytest_diffprivacy.methods import Access, Kind, Need, Published, register
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.statistics.arguments import as_number, check_count

DUPLICATE_DELTA = 0.05

PROMPTED_SEARCH = Published(
    name="extraction-prompted",
    title="Generate and filter by prompts, cliques in tiled l2",
    access=Access.BLACK_BOX,
    source="Carlini et al. 2023, section 4.2; exact cliques, control with unseen images",
    kind=Kind.EXTRACTION,
    needs=frozenset({Need.PROMPTS}),
    built_by="assert_no_extraction(model, probes, search=PromptSearch(...))",
)
register(PROMPTED_SEARCH)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSearch:
    """How prompts are searched for training images: many generations each, and a clique among them.

    A prompt is flagged if at some guidance scale at least `clique_size` of its generations are pairwise within
    `edge_threshold` in tiled l2. It brings a training image back if, besides, the most central generation of such a
    clique lies within the claim's `delta` of a training image, of this prompt or of any other. Several cliques, if they
    are not linked, are several images, and each is compared.

    Attributes:
        edge_threshold: largest tiled distance of two generations that count as one image; the paper does not state
            its own, others use 0.05 or 0.15.
        prompts: what to generate from; None: the captions of the members, those of the most duplicated images first.
        most: how many captions are taken.
        images: generations a prompt and guidance scale.
        clique_size: generations that make a clique.
        tile: "grid4" for 16 tiles, or their side in pixels (128 in the paper, at 512).
        guidance_scales: tried one after the other; on small models guidance above 1 can hide every copy.
        cliques_tried: maximal cliques after which a prompt is left undecided.

    Raises:
        UsageError: a setting is out of range.
    """

    edge_threshold: float
    prompts: Sequence[Prompt] | None = None
    most: int = 100
    images: int = 500
    clique_size: int = 10
    tile: int | str = GRID4
    guidance_scales: Sequence[float] = (1.0, 7.5)
    cliques_tried: int = CLIQUES_TRIED

    def __post_init__(self) -> None:
        if not 0.0 < as_number("edge_threshold", self.edge_threshold) <= 1.0:
            raise UsageError(f"`edge_threshold` must be a distance in (0, 1], got {self.edge_threshold!r}.")
        check_count("most", self.most, least=1)
        check_count("cliques_tried", self.cliques_tried, least=1)
        size = check_count("clique_size", self.clique_size, least=2)
        if check_count("images", self.images, least=2) < size:
            raise UsageError(f"`images` must be at least `clique_size` ({size}), got {self.images!r}.")
        if self.tile != GRID4 and (not isinstance(self.tile, int) or check_count("tile", self.tile, least=1) < 1):
            raise UsageError(f'`tile` must be "{GRID4}" or a number of pixels, got {self.tile!r}.')
        scales = self.guidance_scales
        listed = isinstance(scales, Sequence) and not isinstance(scales, str) and len(set(scales)) == len(scales) > 0
        if not listed or not all(isinstance(scale, int | float) and math.isfinite(scale) for scale in scales):
            raise UsageError(
                f"`guidance_scales` must be different finite numbers, got {scales!r}. Write one scale as (1.0,)."
            )
        if isinstance(self.prompts, str):
            raise UsageError(f"`prompts` must be a list of prompts, got the text {self.prompts!r}. Put it into a list.")
        if self.prompts is not None:
            object.__setattr__(self, "prompts", tuple(_prompt(one) for one in self.prompts))
            if not self.prompts or len(set(self.prompts)) < len(self.prompts):
                raise UsageError(
                    "`prompts` must be different prompts, at least one. Leave out those that are repeated."
                )


def _prompt(given: Any) -> Prompt:
    """A text, or a class index of Python, NumPy or torch.

    Raises:
        UsageError: it is neither.
    """
    try:
        if not isinstance(given, bool):
            return str(given) if isinstance(given, str) else index(given)
    except TypeError:
        pass
    raise UsageError(f"`prompts` must be texts or class indices, got {given!r}. Write a class as a whole number.")


@dataclass(frozen=True, slots=True)
class SearchedPrompt:
    """A prompt with the training images that it was the caption of.

    Attributes:
        prompt: text or class index.
        images: int64, positions of its training images; empty where it has none, or nothing is known of them.
        duplicates: near-copies in the training set of that one of its images that has most, itself counted; 0: none.
    """

    prompt: Prompt
    images: NDArray[np.int64]
    duplicates: int


def near_copies(members: ImageSet, asked: NDArray[np.int64]) -> NDArray[np.int64]:
    """Near-copies in the training set, within RMS 0.05, of some of its images: int64 (asked,)."""
    return eidetic_counts(members, asked, DUPLICATE_DELTA)


def choose_prompts(
    search: PromptSearch,
    members: ImageSet | None,
    count: Callable[[ImageSet, NDArray[np.int64]], NDArray[np.int64]] = near_copies,
) -> list[SearchedPrompt]:
    """The prompts to search: those given, or the members' captions, those of the most duplicated images first.

    Args:
        search: which prompts, and how many.
        members: the training set; None: unknown.
        count: `near_copies`, or what answers in its place; asked of the images of these prompts alone.

    Raises:
        ProbeError: no prompts are given, and there are no captions to take them from.

    Source: Follows Carlini et al. 2023, section 4.2, except that duplicates are counted within RMS 0.05 of pixels.
    """
    captions = None if members is None else members.prompts(range(len(members)))
    places: dict[Prompt, list[int]] = {}
    for place, caption in enumerate(captions or []):
        places.setdefault(caption, []).append(place)
    if search.prompts is None and not places:
        raise ProbeError(
            "A search without `prompts` takes the members' captions, and there are none. "
            "Give ProbeSet(..., member_prompts=...), captions beside the images, or PromptSearch(prompts=...)."
        )
    wanted = list(places if search.prompts is None else search.prompts)
    own = [np.asarray(places.get(prompt, []), dtype=np.int64) for prompt in wanted]
    asked = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *own]))
    counts = np.zeros(0 if members is None else len(members), dtype=np.int64)
    if members is not None and len(asked):
        counts[asked] = count(members, asked)
    chosen = [
        SearchedPrompt(prompt, images, int(counts[images].max(initial=0)))
        for prompt, images in zip(wanted, own, strict=True)
    ]
    return chosen if search.prompts is not None else sorted(chosen, key=lambda p: -p.duplicates)[: search.most]


@dataclass(frozen=True, slots=True)
class PromptFindings:
    """What one prompt's generations at one guidance scale showed.

    Attributes:
        clique: the clique that lies nearest to a training image, or, where none is compared, the largest.
        undecided: whether the search for cliques was given up somewhere.
        image: (channels, height, width), the clique's most central generation; None without a clique.
        nearest: position of the training image it was found nearest to; -1 without a comparison.
        l2: RMS distance to it; infinite without a comparison.
        compared_l2: RMS distance of that clique which is nearest to one of as many training images as there are unseen
            ones, the prompt's own among them; infinite without a comparison.
        nearest_compared: position of that training image; -1 likewise.
        own: whether it is one of the prompt's own.
        control_l2: RMS distance of that clique which is nearest to an unseen image; infinite without a comparison.
        nearest_control: position of that unseen image among those that are compared; -1 likewise.
    """

    clique: Clique
    undecided: bool
    image: NDArray[np.float32] | None
    nearest: int = -1
    l2: float = np.inf
    compared_l2: float = np.inf
    nearest_compared: int = -1
    own: bool = False
    control_l2: float = np.inf
    nearest_control: int = -1

    @property
    def flagged(self) -> bool:
        """Whether there is a clique."""
        return self.clique.outcome is CliqueOutcome.FOUND


def search_generations(
    images: NDArray[np.float32],
    search: PromptSearch,
    prompt: SearchedPrompt,
    members: ImageSet | None,
    unseen: ImageSet | None,
    compared: NDArray[np.int64],
) -> PromptFindings:
    """Find cliques, and hold each one's central generation beside all training images, and beside unseen ones.

    Args:
        images: the generations of the prompt at one guidance scale, (n, channels, height, width) in [0, 1].
        search: tile, threshold and size.
        prompt: its own training images are always among those that are compared with the unseen ones.
        members: the training set; None: unknown.
        unseen: images the model was not trained on, at most as many as members; None: unknown.
        compared: positions of as many members as there are unseen images.

    Source: Follows Carlini et al. 2023, section 4.2 (METHODS 1.2).
    """
    cliques = find_cliques(
        pairwise_tiled_l2(images, tile=search.tile),
        edge_threshold=search.edge_threshold,
        size=search.clique_size,
        tried=search.cliques_tried,
    )
    found = [clique for clique in cliques if clique.outcome is CliqueOutcome.FOUND]
    undecided = len(found) < len(cliques)
    if not found:
        return PromptFindings(cliques[0] if cliques else NONE, undecided, None)
    shown = images[[clique.medoid for clique in found]]
    if members is None or unseen is None:
        return PromptFindings(found[0], undecided, shown[0])
    nearest, control = nearest_images(shown, members, 1), nearest_images(shown, unseen, 1)
    equal = _with_own(compared, prompt.images)
    if len(equal) < len(members):
        near = nearest_images(shown, members.subset(equal.tolist()), 1)
        near_places, near_l2 = equal[near.indices[:, 0]], near.distances[:, 0]
    else:
        near_places, near_l2 = nearest.indices[:, 0], nearest.distances[:, 0]
    closest, first, false = (int(d.argmin()) for d in (nearest.distances[:, 0], near_l2, control.distances[:, 0]))
    return PromptFindings(
        clique=found[closest],
        undecided=undecided,
        image=shown[closest].copy(),
        nearest=int(nearest.indices[closest, 0]),
        l2=float(nearest.distances[closest, 0]),
        compared_l2=float(near_l2[first]),
        nearest_compared=int(near_places[first]),
        own=int(near_places[first]) in prompt.images,
        control_l2=float(control.distances[false, 0]),
        nearest_control=int(control.indices[false, 0]),
    )


def _with_own(compared: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """As many positions as are compared, a prompt's own among them."""
    own = own[: len(compared)]
    others = np.setdiff1d(compared, own)
    return np.sort(np.concatenate([own, others[len(own) - (len(compared) - len(others)) :]]))
