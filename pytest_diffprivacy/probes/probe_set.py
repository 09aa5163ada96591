"""Probe set: members, non-members and prompts, and the first checks that a split is one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TypeVar, final

from pytest_diffprivacy.distances.embeddings import Embedding
from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes.duplicates import NEAR
from pytest_diffprivacy.probes.image_set import ImageSet
from pytest_diffprivacy.probes.prompt_set import PromptSet
from pytest_diffprivacy.probes.sizing import Sizing
from pytest_diffprivacy.probes.subjects import SubjectIndex, by_side, with_subjects
from pytest_diffprivacy.probes.tables import some
from pytest_diffprivacy.probes.validity import SplitValidity, left_over, split_validity

Part = TypeVar("Part")


@final
class ProbeSet:
    """Images that were and were not in the training set.

    Args:
        members: training images, duplicates included (they are counted): an array; an image folder; an .npz,
            .safetensors, .csv or .parquet file; a map-style torch Dataset; or an ImageSet. Arrays are uint8, or float
            in [0, 1]; (n, h, w), (n, c, h, w) or (n, h, w, c). None where only prompts are audited.
        nonmembers: images of the same kind and size that were not trained on; None where a claim needs none.
        member_prompts: the captions or class indices of the members, in the order of their source; None: unconditional.
        nonmember_prompts: the same for the non-members. Extraction by prompts needs none; a claim that compares both
            sides asks both alike, and refuses prompts of one side alone.
        captions: take these prompts from beside the images: from the metadata.csv, .jsonl or .parquet of the folder and
            its subfolders, text files named like the images, the table, or the dataset's items. True: from the only
            column caption, text or prompt, or without one from label or class (class indices); a text: from the column
            of this name. Of images sorted into one subfolder a class, "folder index" takes the folder's place among the
            members', sorted by name as torchvision's ImageFolder counts, and "folder name" its name.
        prompts: what a text-to-image model is asked for by claims about prompts: texts, a file, or a PromptSet.
        resize: pixels of the shorter side that images are resized to, and perhaps the filter: 512 (bilinear) or
            "512:bicubic". As training did it; None: they have their size.
        crop: side of the square cut out of their middle; True: that of `resize`.
        near: RMS pixel difference on [0, 1] up to which a member and a non-member are near-copies, which membership
            claims leave out on both sides; 0: equal pixels only.
        embedding: what the blind baseline sees in the place of pixels, e.g. of an encoder that knows what they show.
        subjects: whom each image shows, for claims with `unit="subject"`: True: the name of the folder that it lies in;
            a text: the column of this name beside the images; or a pair (members', non-members') of lists, one subject
            an image.

    Images are read on demand; the first use reads each once for its digest and refuses unreadable images, NaN, values
    outside [0, 1] and other sizes by name.
    """

    def __init__(
        self,
        members: object | None = None,
        nonmembers: object | None = None,
        *,
        member_prompts: Sequence[Prompt] | None = None,
        nonmember_prompts: Sequence[Prompt] | None = None,
        captions: bool | str = False,
        prompts: object | None = None,
        resize: int | str | None = None,
        crop: int | str | bool | None = None,
        near: float = NEAR,
        embedding: Embedding | None = None,
        subjects: object = None,
    ) -> None:
        if members is None and prompts is None:
            raise ProbeError("A ProbeSet must have members or prompts, got neither.")
        self.near, self.embedding = near, embedding
        if captions and (member_prompts is not None or nonmember_prompts is not None):
            raise ProbeError("`captions` must be left out where prompts are given, got both.")
        sizing = Sizing.of(resize, crop)
        sides = (members, "member", member_prompts), (nonmembers, "non-member", nonmember_prompts)
        self._members, self._nonmembers = (
            None if source is None else ImageSet.of(source, role, given, captions=captions, sizing=sizing)
            for source, role, given in sides
        )
        if self._members is not None and self._nonmembers is not None:
            self._nonmembers = self._nonmembers.with_classes_of(self._members)
        told = dict(zip(("_members", "_nonmembers"), zip(sides, by_side(subjects), strict=True), strict=True))
        for name, ((source, role, _), where) in told.items():
            if source is not None and where is not None:
                setattr(self, name, with_subjects(source, role, getattr(self, name), where))
        self._prompts = None if prompts is None else PromptSet.of(prompts, "prompt")

    @property
    def has_members(self) -> bool:
        """Whether there are members."""
        return self._members is not None

    @property
    def members(self) -> ImageSet:
        """The members.

        Raises:
            ProbeError: none were given.
        """
        return _given(
            self._members,
            "This claim needs members: images that the model was trained on. Give ProbeSet(members, ...), or set "
            "diffprivacy_members.",
        )

    @property
    def prompts(self) -> PromptSet:
        """The prompts that claims about prompts ask for.

        Raises:
            ProbeError: none were given.
        """
        return _given(
            self._prompts,
            "This claim needs prompts that a text-to-image model is asked for. Give ProbeSet(..., prompts=...), or set "
            "diffprivacy_prompts.",
        )

    @property
    def has_nonmembers(self) -> bool:
        """Whether there are non-members."""
        return self._nonmembers is not None

    @property
    def nonmembers(self) -> ImageSet:
        """The non-members.

        Raises:
            ProbeError: none were given.
        """
        return _given(
            self._nonmembers,
            "This claim needs non-members: images of the same kind that the model was not trained on. "
            "Give ProbeSet(..., nonmembers=...), or set diffprivacy_nonmembers.",
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of every image."""
        return self.members.image_shape

    @cached_property
    def validity(self) -> SplitValidity:
        """Near-copies across the split and the blind baseline; takes seconds, once."""
        return split_validity(self.members, self.nonmembers, near=self.near, embedding=self.embedding)

    def check_prompts(self) -> None:
        """Refuse prompts of one side alone: a model that is asked differently about either answers differently.

        Raises:
            ProbeError: one side has prompts, and the other has none.
        """
        told = {images.role: images.has_prompts for images in (self.members, self.nonmembers)}
        if len(set(told.values())) > 1:
            (given,), (none,) = ([role for role in told if told[role] is has] for has in (True, False))
            raise ProbeError(
                f"The {given}s have prompts and the {none}s have none, so the model would be asked differently about "
                f"them. Give `{none.replace('-', '')}_prompts` (or the column of captions or classes beside their "
                "images) as well, or leave both out."
            )

    def without(self, found: SplitValidity) -> ProbeSet:
        """The probes without what stands on both sides or repeats another of its side; themselves where nothing does.

        Raises:
            ProbeError: nothing is left of a side.
        """
        left_out = found.left_out
        gone = len(left_out[0]), len(left_out[1])
        if not any(gone):
            return self
        if gone[0] == len(self.members) or gone[1] == len(self.nonmembers):
            raise ProbeError(
                f"No probes are left: {gone[0]} members and {gone[1]} non-members are near-copies of each other "
                f"(RMS pixel difference at most {self.near:g}). Lower `near`, or take non-members from elsewhere."
            )
        members = left_over(self.members, left_out[0])
        nonmembers = left_over(self.nonmembers, left_out[1])
        return ProbeSet(members, nonmembers, prompts=self._prompts, near=self.near, embedding=self.embedding)

    def part(self, members: Sequence[int], nonmembers: Sequence[int]) -> ProbeSet:
        """The images at some places of either side, in the order of the places."""
        sides = self.members.subset(members), self.nonmembers.subset(nonmembers)
        return ProbeSet(*sides, prompts=self._prompts, near=self.near, embedding=self.embedding)

    @cached_property
    def subjects(self) -> tuple[SubjectIndex, ...]:
        """The subjects of members and, where there are any, of non-members.

        Raises:
            ProbeError: they are not known, or one stands on both sides.
        """
        found = tuple(SubjectIndex(side) for side in (self._members, self._nonmembers) if side is not None)
        shared = set.intersection(*(set(side.names) for side in found)) if len(found) == 2 else set()
        if shared:
            raise ProbeError(
                f"{len(shared)} subjects stand on both sides. A subject of the non-members must have no image in the "
                "training set: move all images of these to the members, or leave their other images out."
            )
        return found

    def check_split(self) -> None:
        """Refuse a split that is none: an image on both sides, or two image sizes.

        Raises:
            ProbeError: the message names the sizes, or how many images are shared and some of them.
        """
        if self.nonmembers.image_shape != self.members.image_shape:
            raise ProbeError(
                f"Members have shape {self.members.image_shape}, non-members {self.nonmembers.image_shape}. "
                "Bring both to the size the model was trained on. ProbeSet(..., resize=, crop=) does; grey images "
                "beside RGB ones must be saved as RGB."
            )
        names = dict(zip(self.nonmembers.digests, self.nonmembers.ids(), strict=True))
        shared = [names[d] for d in self.members.digests if d in names]
        if shared:
            everything = " They are the same images." if len(shared) == len(names) == len(self.members) else ""
            raise ProbeError(
                f"{len(shared)} of {len(self.members)} member images are also among the {len(names)} non-members "
                f"({some(shared)}).{everything} "
                "A non-member must not have been trained on: remove the shared images from both sides."
            )


def _given(part: Part | None, message: str) -> Part:
    if part is None:
        raise ProbeError(message)
    return part
