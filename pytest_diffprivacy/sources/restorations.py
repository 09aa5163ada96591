"""Errors of restored images on hidden pixels: made by asking a model, from columns of tables, or given as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol, TypeAlias, final

import numpy as np
import torch

from pytest_diffprivacy.audit import Auditor, Findings, Subject, estimate
from pytest_diffprivacy.engine import ScoreTask
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.pictures import picture
from pytest_diffprivacy.evidence.records import Control, ControlOutcome, Strip
from pytest_diffprivacy.extraction.reconstruction import (
    COLUMNS,
    RECONSTRUCTION,
    VERSION,
    fill_errors,
    reconstruct,
    reconstruction_errors,
)
from pytest_diffprivacy.models.protocols import Denoiser, require_denoiser
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from pytest_diffprivacy.models.scoring import BATCH_SIZE
from pytest_diffprivacy.probes import ImageSet, ProbeSet, ScoreTable
from pytest_diffprivacy.restoration import Degradation
from pytest_diffprivacy.restoration.plan import FILLS, Restoration
from pytest_diffprivacy.sources.asked import asked_of
from pytest_diffprivacy.sources.method_records import external_method, published_record
from pytest_diffprivacy.sources.source import Audited, Vector, as_scores
from pytest_diffprivacy.sources.split import JudgedSplit, judged_split, no_split_control
from pytest_diffprivacy.sources.wiring import wiring_control
from pytest_diffprivacy.statistics import mean_difference

Errors: TypeAlias = tuple[Vector, Vector]
"""Of members and of non-members, (images, columns), the judged error first; lower = restored better."""

NO_THRESHOLD: Final = "none; mean errors on hidden pixels are compared"
FILLED: Final = "The same hidden parts were filled with the smoothest surface through what is left."
FILL_NAME: Final = "Restoration without the model"
UNKNOWN: Final = (
    "The errors were measured elsewhere. What this run cannot know: whether the same parts were hidden from "
    "members and non-members, with as many tries each, and whether the tries were chosen without the original."
)
NOT_FILLED: Final = (
    "Errors were measured elsewhere, and what was hidden is not known here: whether members are easier to restore "
    "without any model is not checked. A `reference` takes that out."
)
STRIPS_A_SIDE = 5


class ErrorSource(Audited, Protocol):
    """Errors of members and of non-members, and of a reference model where there is one.

    Attributes:
        label: what measured, for the check of the order.
        parts: what is hidden, in the claim's sentence.
        remedy: what to do where non-members are restored better beyond chance.
        referenced: whether a reference model takes the images' own difficulty out.
    """

    label: str
    parts: str
    remedy: str
    referenced: bool

    def describe(self, findings: Findings) -> None:
        """Record the method and the split."""
        ...

    def errors(self, findings: Findings) -> tuple[Errors, Errors | None]:
        """The model's errors, and the reference's."""
        ...

    def show(self, findings: Findings, confidence: float) -> None:
        """The control without a model, and pictures of what is restored."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hiding:
    """What is hidden from an attacker, and how he restores it; as in `assert_no_reconstruction`."""

    mask: str | Degradation
    draws: int
    keep: int
    restoration: Restoration
    steps: int
    loss_draws: int
    timestep: int | None

    def __post_init__(self) -> None:
        if self.keep > self.draws:
            raise UsageError(
                f"`keep` must be at most `draws` ({self.draws}), got {self.keep!r}. Lower it, or restore more often."
            )
        if not isinstance(self.mask, str | Degradation):
            raise UsageError(f"`mask` must be a name such as 'left' or 'random:0.3', got {type(self.mask).__name__}.")

    @property
    def name(self) -> str:
        """Of the mask."""
        return self.mask if isinstance(self.mask, str) else self.mask.name

    @property
    def evaluations(self) -> int:
        """Of the network, an image."""
        return self.draws * (self.steps * (10 if self.restoration == "repaint" else 1) + self.loss_draws)

    @property
    def parameters(self) -> dict[str, Any]:
        """Of extraction.reconstruction_errors."""
        return {
            "mask": self.mask,
            "draws": self.draws,
            "keep": self.keep,
            "restoration": self.restoration,
            "steps": self.steps,
            "loss_draws": self.loss_draws,
            "timestep": ReferenceTimestep(100) if self.timestep is None else self.timestep,
        }


@final
class ModelErrors:
    """Errors of a model's restorations.

    Args:
        auditor: computes.
        model: who restores.
        reference: a model that saw neither side; None: none.
        probes: members and non-members.
        hiding: what is hidden, and how it is restored.
        images: how many of each side are restored.
    """

    label, title, slug, unit = "Reconstruction", "", "reconstruction", "an image"
    remedy = "Are members and non-members swapped?"

    def __init__(
        self,
        auditor: Auditor,
        model: object,
        reference: object | None,
        probes: ProbeSet,
        hiding: Hiding,
        images: int,
    ) -> None:
        self._auditor, self.model, self._reference = auditor, model, reference
        self._probes, self._hiding, self._images = probes, hiding, images
        self.referenced, self.parts = reference is not None, f"Hidden parts ({hiding.name})"
        self.evaluations = hiding.evaluations * (2 if self.referenced else 1)
        self.counts = min(images, probes.members.source_count), min(images, probes.nonmembers.source_count)

    @cached_property
    def _models(self) -> tuple[Denoiser, Denoiser | None]:
        model = require_denoiser(self.model, "Reconstruction")
        if self._reference is None:
            return model, None
        other = require_denoiser(self._reference, "The reference of a reconstruction")
        if other.identity.digest == model.identity.digest:
            raise UsageError("`reference` must be another model than the audited one, got the same weights.")
        return model, other

    @cached_property
    def _split(self) -> JudgedSplit:
        return judged_split(self._auditor, self._probes)

    @cached_property
    def _sides(self) -> tuple[ImageSet, ImageSet]:
        both = self._split.probes.members, self._split.probes.nonmembers
        members, nonmembers = (
            _chosen(side, self._images, self._auditor.seed, stream) for stream, side in enumerate(both, start=5)
        )
        return members, nonmembers

    @property
    def subject(self) -> Subject:
        """The model, and the images that are restored."""
        model, _ = self._models
        first, second = self._sides
        counts = f"{len(first)} members, {len(second)} non-members, {self._hiding.draws} restorations each"
        told = asked_of(model, self._sides, takes_prompts=True)
        return Subject(model=model.identity, probes=self._split.probes, counts=counts, asked=told)

    def describe(self, findings: Findings) -> None:
        """Record how is restored, and the split."""
        (model, other), hiding = self._models, self._hiding
        named = {"mask": hiding.name, "reference": "none" if other is None else other.identity.name}
        findings.methods = [
            published_record(
                RECONSTRUCTION,
                {**hiding.parameters, **named},
                timesteps=[model.schedule.match(hiding.parameters["timestep"])],
                evaluations=hiding.evaluations,
                threshold=NO_THRESHOLD,
            )
        ]
        findings.sides = [side.digests for side in self._sides]
        self._split.note(findings, decides=other is None)
        for one in self._models:
            if one is not None:
                wiring_control(self._auditor, one, self._split.probes.nonmembers, findings)

    def errors(self, findings: Findings) -> tuple[Errors, Errors | None]:
        """Computed or reused unit by unit."""
        model, other = self._models
        return self._of(model, findings), None if other is None else self._of(other, findings)

    def show(self, findings: Findings, confidence: float) -> None:
        """What the smoothest fill achieves, and pictures."""
        model, _ = self._models
        filled = _filled(model, self._sides, self._hiding.mask, self._auditor.seed, confidence)
        findings.controls.append(filled)
        if not self.referenced and filled.estimate is not None and filled.estimate.high < 0.0:
            findings.unproven = (
                "Members are harder to restore than non-members without any model, which hides what the model adds. "
                "Give a `reference`, which takes that out."
            )
        if self._auditor.images != "none":
            findings.strips_title = "What the model restores, chosen by its own loss"
            findings.strips += [strip for side in self._sides for strip in self._strips(model, side)]

    def _of(self, model: Denoiser, findings: Findings) -> Errors:
        given = {**self._hiding.parameters, "seed": self._auditor.seed}
        task = ScoreTask("reconstruction", VERSION, reconstruction_errors, given, shape=(len(COLUMNS),))
        members, nonmembers = (self._auditor.scores(model, side, task, findings.work) for side in self._sides)
        return members, nonmembers

    def _strips(self, model: Denoiser, side: ImageSet) -> list[Strip]:
        """The first images in the order of their digests, whatever their errors."""
        chosen = side.digest_order[:STRIPS_A_SIDE]
        redacted, ids, prompts, strips = self._auditor.images == "redacted", side.ids(), side.prompts(chosen), []
        parameters = {key: value for key, value in self._hiding.parameters.items() if key != "keep"}
        for place, index in enumerate(chosen):
            prompt = None if prompts is None else prompts[place]
            shown = reconstruct(model, side.load([index])[0], seed=self._auditor.seed, prompt=prompt, **parameters)
            pictures = (
                picture(shown.original, "original", redacted=redacted),
                picture(shown.degraded, f"what is left: {shown.mask}", redacted=redacted),
                picture(shown.chosen, "restored, the model's own choice", redacted=redacted),
                picture(shown.closest, "the closest of all tries (needs the answer)", redacted=redacted),
            )
            caption = (
                f"{ids[index]}: RMS on hidden pixels {shown.errors[0]:.3f}, closest of all tries {shown.errors[1]:.3f}"
            )
            member = side.role == "member"
            strips.append(Strip(pictures=pictures, caption=caption, mark=side.role, conspicuous=member))
        return strips


@final
class TableErrors:
    """Errors in the only column of a table, and of another one for a reference model.

    Args:
        auditor: checks the split.
        tables: of the model, and of the reference where there is one.
        probes: whom the ids must match, one and all.
    """

    slug, parts, unit, evaluations = "reconstruction-table", "Hidden parts", "an image", 0
    remedy = "Give errors, lower = restored better; are members and non-members swapped?"

    def __init__(self, auditor: Auditor, tables: Sequence[ScoreTable], probes: ProbeSet) -> None:
        self._auditor, self._tables, self._probes, self.model = auditor, tuple(tables), probes, tables[0]
        self._columns = [table.only for table in tables]
        self.referenced = len(tables) > 1
        self.title = self.label = f"{self._columns[0]}, measured elsewhere"
        self.counts = probes.members.source_count, probes.nonmembers.source_count

    @cached_property
    def _split(self) -> JudgedSplit:
        return judged_split(self._auditor, self._probes)

    @cached_property
    def _errors(self) -> list[Errors]:
        found = []
        for table, column in zip(self._tables, self._columns, strict=True):
            first, second = table.join(self._probes, column, kept=self._split.probes)
            where = f"Column {column!r} of {table.origin}"
            found.append((_checked_errors(first, where), _checked_errors(second, where)))
        return found

    @property
    def subject(self) -> Subject:
        """The probes; a table that does not match them is refused here."""
        assert self._errors
        return Subject(probes=self._split.probes, counts=self._split.counts)

    def describe(self, findings: Findings) -> None:
        """Record the columns, the split, and that nothing was filled in."""
        findings.methods = [
            external_method(
                self._columns[0],
                f"{self._columns[0]} (errors measured elsewhere)",
                "the caller's own errors, joined by id",
                {
                    "table": ", ".join(one.origin for one in self._tables),
                    "sha256": ", ".join(one.sha256 or "made in memory" for one in self._tables),
                    "reference": self._columns[1] if self.referenced else "none",
                },
                threshold=NO_THRESHOLD,
                label_use="evaluation only; what was hidden, and which tries the errors are of, is the caller's to say",
            )
        ]
        self._split.note(findings, decides=not self.referenced)
        _add_not_filled(findings)

    def errors(self, findings: Findings) -> tuple[Errors, Errors | None]:
        """In the order of the probes."""
        return self._errors[0], self._errors[1] if self.referenced else None

    def show(self, findings: Findings, confidence: float) -> None:
        """Nothing can be restored."""


@final
class ArrayErrors:
    """Errors of members and of non-members as two arrays."""

    slug, parts, unit, evaluations = "reconstruction-scores", "Hidden parts", "an image", 0
    referenced, model = False, None
    title = label = "errors measured elsewhere"
    remedy = TableErrors.remedy

    def __init__(self, members: Any, nonmembers: Any) -> None:
        pair = as_scores("member", members), as_scores("non-member", nonmembers)
        self._errors = _checked_errors(pair[0], "Member errors"), _checked_errors(pair[1], "Non-member errors")
        self.counts = len(pair[0]), len(pair[1])

    @property
    def subject(self) -> Subject:
        """Nobody is known besides the errors."""
        return Subject(counts="{} members, {} non-members".format(*self.counts))

    def describe(self, findings: Findings) -> None:
        """Record that nothing is known of model and images."""
        title, source = "Errors measured elsewhere", "the caller's own errors"
        findings.methods = [external_method("errors", title, source, {}, threshold=NO_THRESHOLD)]
        no_split_control(findings)
        _add_not_filled(findings)

    def errors(self, findings: Findings) -> tuple[Errors, Errors | None]:
        """As they were given."""
        return self._errors, None

    def show(self, findings: Findings, confidence: float) -> None:
        """Nothing can be restored."""


def _chosen(side: ImageSet, count: int, seed: int, stream: int) -> ImageSet:
    """`count` of the images, in order; all where there are no more."""
    if len(side) <= count:
        return side
    return side.subset(sorted(np.random.default_rng([seed, stream]).permutation(len(side))[:count].tolist()))


def _checked_errors(values: Vector, where: str) -> Vector:
    """One column of errors, (n, 1)."""
    outside = values[(values < 0.0) | (values > 1.0)]
    if len(outside):
        raise UsageError(
            f"{where} must hold RMS errors in [0, 1], lower = restored better, got {len(outside)} of {len(values)} "
            f"outside, e.g. {outside[0]:g}. Give errors and no scores, on pixels in [0, 1]."
        )
    return values[:, None]


def _add_not_filled(findings: Findings) -> None:
    findings.controls.append(
        Control(kind="split", name=FILL_NAME, done=FILLED, outcome=ControlOutcome.NOT_APPLICABLE, meaning=NOT_FILLED)
    )
    findings.notes.append(UNKNOWN)


def _filled(
    model: Denoiser, sides: tuple[ImageSet, ImageSet], mask: str | Degradation, seed: int, confidence: float
) -> Control:
    """The same hidden parts restored without the model."""
    first, second = (
        np.concatenate(
            [
                fill_errors(torch.from_numpy(batch), mask=mask, seed=seed, prompts=side.prompts(part), model=model)
                for part, batch in side.batches(BATCH_SIZE)
            ]
        )
        for side in sides
    )
    column = FILLS.index("harmonic")
    # Both bounds speak here, so each has half of the significance.
    two_sided = 1.0 - (1.0 - confidence) / 2.0
    difference = mean_difference(-first[:, column], -second[:, column], confidence=two_sided)
    separates = difference.low > 0.0 or difference.high < 0.0
    return Control(
        kind="split",
        name=FILL_NAME,
        done=FILLED,
        outcome=ControlOutcome.FAILED if separates else ControlOutcome.HELD,
        meaning="Members and non-members differ without the model: the claim's difference counts only as far as it "
        "exceeds this one."
        if separates
        else "Members are not easier to restore by themselves.",
        estimate=estimate(
            "Error without a model: members lower by", difference, f"{len(first)} members, {len(second)} non-members"
        ),
    )
