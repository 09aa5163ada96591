"""Scores of images by methods that ask a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np

from pytest_diffprivacy.audit import Auditor, Findings, Subject
from pytest_diffprivacy.methods import ALL, Access, Configured, ScoredProbes, family_task, notes_on_all, resolve
from pytest_diffprivacy.models.protocols import Denoiser, require_denoiser, require_white_box
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.sources.asked import asked_of
from pytest_diffprivacy.sources.controls import SILENCE, positive_control, stop
from pytest_diffprivacy.sources.likelihood import likelihood_control
from pytest_diffprivacy.sources.method_records import method_record
from pytest_diffprivacy.sources.source import Pair, Places, Scores, Vector, Wanted
from pytest_diffprivacy.sources.split import JudgedSplit, judged_split
from pytest_diffprivacy.sources.wiring import wiring_control
from pytest_diffprivacy.statistics.arguments import IntArray


@final
class ModelScores:
    """Scores by one method or by a family of them, computed or reused unit by unit.

    Args:
        auditor: computes, and checks the split.
        model: whom the methods ask; a stand-in while an audit is planned.
        probes: members and non-members.
        wanted: what is to be scored.
    """

    unit = "an image"

    def __init__(self, auditor: Auditor, model: object, probes: ProbeSet, wanted: Wanted) -> None:
        self._auditor, self.model, self._probes, self._wanted = auditor, model, probes, wanted
        members, self.remedy = probes.members.source_count, wanted.remedy
        self.counts = (members,) if wanted.members_only else (members, probes.nonmembers.source_count)

    @cached_property
    def denoiser(self) -> Denoiser:
        """The model, with the access that the methods need.

        Raises:
            ModelError: it offers less.
        """
        white = [] if self._wanted.attack == ALL else [m for m in self.chosen if m.method.access is Access.WHITE_BOX]
        if white:
            return require_white_box(self.model, f"{self._wanted.purpose} ({white[0].title})")
        return require_denoiser(self.model, self._wanted.purpose)

    @cached_property
    def chosen(self) -> list[Configured]:
        """The methods; while an audit is planned those that cost little enough, whatever the model offers."""
        return resolve(self._wanted.kind, self._wanted.attack, self._wanted.parameters, **self._offered)

    @property
    def _offered(self) -> dict[str, Any]:
        """By which "all" leaves methods out."""
        if self._auditor.planning or self._wanted.attack != ALL:
            return {}
        return {"model": self.denoiser, "probes": self._probes}

    @property
    def title(self) -> str:
        """What the methods are called."""
        return ", ".join(one.title for one in self.chosen)

    @property
    def label(self) -> str:
        """What the methods are called."""
        return self.title

    @property
    def slug(self) -> str:
        """The method's name, or that there are several."""
        return "family" if len(self.chosen) > 1 else self.chosen[0].key

    @property
    def evaluations(self) -> int | None:
        """Of the network, an image."""
        each = [one.evaluations for one in self.chosen]
        return None if None in each else sum(number or 0 for number in each)

    @cached_property
    def split(self) -> JudgedSplit | None:
        """The split of the probes; None where nothing is compared with the non-members."""
        return None if self._wanted.members_only else judged_split(self._auditor, self._probes)

    @property
    def _judged(self) -> ProbeSet:
        """The probes without near-copies across the split."""
        return self._probes if self.split is None else self.split.probes

    @property
    def _sides(self) -> tuple[ImageSet, ...]:
        members = self._judged.members
        return (members,) if self._wanted.members_only else (members, self._judged.nonmembers)

    @property
    def subject(self) -> Subject:
        """The model and the probes."""
        assert self.chosen, "refused where nothing can be asked"
        counts = f"{len(self._judged.members)} members"
        if self.split is not None:
            counts = self.split.counts + self._wanted.reference
        told = asked_of(self.denoiser, self._sides, any(one.task(0).takes_prompts for one in self.chosen))
        return Subject(model=self.denoiser.identity, probes=self._judged, counts=counts, asked=told)

    @property
    def orders(self) -> tuple[IntArray, ...]:
        """By the digests of the images."""
        return tuple(np.array(side.digest_order) for side in self._sides)

    @property
    def titles(self) -> Mapping[str, str]:
        """Each method as a record calls it."""
        return {one.key: one.title for one in self.chosen}

    def describe(self, findings: Findings) -> None:
        """Record the methods and the split, and run each method's positive control."""
        schedule, wanted = self.denoiser.schedule, self._wanted
        findings.methods = [
            method_record(one, schedule, threshold=wanted.threshold, shown=wanted.shown) for one in self.chosen
        ]
        findings.notes = notes_on_all(self._wanted.kind, **self._offered) if self._wanted.attack == ALL else []
        if self.split is not None:
            self.split.note(findings)
        for one in self.chosen:
            positive_control(self._auditor, self.denoiser, self._judged, one, findings)
        stop(findings, "positive", SILENCE)
        wiring_control(self._auditor, self.denoiser, self._sides[-1], findings)

    def scores(self, findings: Findings) -> Scores:
        """Every method's scores of both sides, and what it shows besides; several share network evaluations."""
        if len(self.chosen) == 1:
            scores: Scores = {self.chosen[0].key: (self.side(findings, 0), self.side(findings, 1))}
        else:
            scores, cost = self._together(self.chosen, findings)
            alone = sum(one.evaluations or 0 for one in self.chosen)
            findings.notes.append(
                f"Run together, the attacks cost {cost:g} network evaluations an image ({alone} if each ran alone)."
            )
        self.beside(findings, scores)
        return scores

    def beside(self, findings: Findings, scores: Scores, places: Places | None = None) -> None:
        """What each method shows besides, and its control against likelihood."""
        scored = self._judged if places is None else self._judged.part(*(of.tolist() for of in places))
        for one in self.chosen:
            self._show(findings, one, scores[one.key], scored)
            if self._wanted.own_generations:
                likelihood_control(
                    self._auditor, self.denoiser, self._judged, one, scores[one.key], self._wanted.own_generations,
                    findings,
                )  # fmt: skip

    def side(self, findings: Findings, side: int, places: Sequence[int] | None = None) -> Vector:
        """Scores of one side by the only method, of all its images or of some."""
        (one,) = self.chosen
        images = self._sides[side] if places is None else self._sides[side].subset(places)
        return self._auditor.scores(self.denoiser, images, one.task(self._auditor.seed), findings.work)

    def _together(
        self, methods: Sequence[Configured], findings: Findings, of: ProbeSet | None = None
    ) -> tuple[Scores, float]:
        """Scores of both sides by several methods, and the network evaluations that a member cost."""
        shared = family_task(methods, self._auditor.seed)
        sides = self._sides if of is None else (of.members, of.nonmembers)
        first, second = (self._auditor.scores(self.denoiser, side, shared, findings.work) for side in sides)
        return {one.key: (first[:, i], second[:, i]) for i, one in enumerate(methods)}, float(first[:, -1].mean())

    def _show(self, findings: Findings, one: Configured, pair: Pair, of: ProbeSet) -> None:
        """What a method shows a reader beside its scores."""
        show = one.method.evidence
        if show is None:
            return
        scored = ScoredProbes(
            model=self.denoiser,
            probes=of,
            members=pair[0],
            nonmembers=pair[1],
            parameters=one.parameters,
            seed=self._auditor.seed,
            confidence=self._wanted.confidence,
            images=self._auditor.images,
            used=one,
            ask=lambda methods: self._together(methods, findings, of)[0],
        )
        shown = show(scored)
        findings.also_measured += shown.estimates
        findings.notes += shown.notes
        findings.charts += shown.charts
        if shown.strips:
            findings.strips_title = shown.strips_title
            findings.strips += shown.strips
