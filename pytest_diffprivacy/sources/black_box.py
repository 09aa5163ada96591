"""Scores of images by methods that only see what a model generates: the model is a Generator, such as a service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Final, final

import numpy as np

from pytest_diffprivacy.audit import Auditor, Findings, Subject, estimate
from pytest_diffprivacy.engine import ScoreTask, Work
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.methods import ALL, Access, Configured, resolve
from pytest_diffprivacy.models.planted import PlantedGenerator
from pytest_diffprivacy.models.protocols import Generator, Prompt, require_generator
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.sources.asked import asked
from pytest_diffprivacy.sources.controls import (
    FEW,
    SILENCE,
    judged_control,
    not_applicable,
    planted_probes,
    stop,
)
from pytest_diffprivacy.sources.likelihood import likelihood_control
from pytest_diffprivacy.sources.method_records import method_record
from pytest_diffprivacy.sources.source import Places, Scores, Vector, Wanted
from pytest_diffprivacy.sources.split import JudgedSplit, judged_split
from pytest_diffprivacy.statistics import auroc, planted_found
from pytest_diffprivacy.statistics.arguments import IntArray
from pytest_diffprivacy.statistics.controls import LEAST, LEAST_AREA

AGAIN: Final = 64
"""Members that are asked about once more, with captions of others."""
STREAM: Final = 21


def black_box_methods(wanted: Wanted) -> list[Configured]:
    """The methods of a claim where all of them see generated images only; none where no method does.

    Raises:
        UsageError: some do and some do not.
    """
    if wanted.kind != "membership" or wanted.attack == ALL:
        return []
    chosen = resolve(wanted.kind, wanted.attack, wanted.parameters)
    found = [one for one in chosen if one.method.access is Access.BLACK_BOX]
    if found and len(found) < len(chosen):
        raise UsageError(
            f"`attack` must not name {found[0].name} beside attacks on the network. Judge what only images show by a "
            "claim of its own."
        )
    return found


@final
class GeneratorScores:
    """Scores by one method that sees generated images only, or by a family of them.

    Args:
        auditor: computes, and checks the split.
        model: generates images.
        probes: members and non-members, with captions.
        wanted: what is to be scored.
        chosen: by which methods.
    """

    unit = "an image"

    def __init__(
        self, auditor: Auditor, model: object, probes: ProbeSet, wanted: Wanted, chosen: Sequence[Configured]
    ) -> None:
        self._auditor, self.model, self._probes, self.chosen = auditor, model, probes, chosen
        self._wanted, self.remedy = wanted, wanted.remedy
        self.title = self.label = ", ".join(one.title for one in chosen)
        self.slug = "family" if len(chosen) > 1 else chosen[0].key
        self.counts = probes.members.source_count, probes.nonmembers.source_count
        self.titles: Mapping[str, str] = {one.key: one.title for one in chosen}

    @cached_property
    def _generator(self) -> Generator:
        return require_generator(self.model, self._wanted.purpose)

    @property
    def evaluations(self) -> int | None:
        """Of the network, an image; as many again of a base."""
        each = [one.evaluations for one in self.chosen]
        models = [1 if one.parameters.get("base") is None else 2 for one in self.chosen]
        return None if None in each else sum((n or 0) * by for n, by in zip(each, models, strict=True))

    @cached_property
    def split(self) -> JudgedSplit:
        """The split of the probes."""
        return judged_split(self._auditor, self._probes)

    @property
    def _sides(self) -> tuple[ImageSet, ImageSet]:
        return self.split.probes.members, self.split.probes.nonmembers

    @property
    def subject(self) -> Subject:
        """The generator and the probes.

        Raises:
            UsageError: the images have no captions.
        """
        own = [side.prompts(range(len(side))) for side in self._sides]
        if any(one is None for one in own):
            raise UsageError(f"{self.title} needs the images' captions. Give ProbeSet(..., captions=True) or prompts.")
        told = asked(self._generator, [prompt for one in own for prompt in one or ()])
        return Subject(model=self._generator.identity, probes=self.split.probes, counts=self.split.counts, asked=told)

    @property
    def orders(self) -> tuple[IntArray, ...]:
        """By the digests of the images."""
        return tuple(np.array(side.digest_order) for side in self._sides)

    def describe(self, findings: Findings) -> None:
        """Record the methods and the split, and run each method's positive control."""
        findings.methods = [_recorded(one, self._wanted.threshold) for one in self.chosen]
        self.split.note(findings)
        for one in self.chosen:
            self._positive_control(one, findings)
        stop(findings, "positive", SILENCE)

    def scores(self, findings: Findings) -> Scores:
        """Every method's scores of both sides."""
        members, nonmembers = self._sides
        scores: Scores = {
            one.key: (self._of(one, members, findings.work), self._of(one, nonmembers, findings.work))
            for one in self.chosen
        }
        self.beside(findings, scores)
        return scores

    def beside(self, findings: Findings, scores: Scores, places: Places | None = None) -> None:
        """Each method's scores of other captions, and its control against likelihood."""
        count = self._wanted.own_generations
        for one in self.chosen:
            self._other_captions(one, scores[one.key][1], findings)
            if not count:
                continue
            score = partial(self._of, one, work=findings.work)
            likelihood_control(
                self._auditor, self._generator, self.split.probes, one, scores[one.key], count, findings, score=score
            )

    def side(self, findings: Findings, side: int, places: Sequence[int] | None = None) -> Vector:
        """Scores of one side by the only method, of all its images or of some."""
        (one,) = self.chosen
        images = self._sides[side] if places is None else self._sides[side].subset(places)
        return self._of(one, images, findings.work)

    def _of(self, one: Configured, images: ImageSet, work: Work) -> Vector:
        """Minus the base's where there is one; each model's results are stored by itself."""
        own, base = _task(one, self._auditor.seed)
        found = self._auditor.scores(self._generator, images, own, work)
        return found if base is None else found - self._auditor.scores(base, images, own, work)

    def _other_captions(self, one: Configured, nonmembers: Vector, findings: Findings) -> None:
        """Record whether members are recognised with captions of others too, as by their looks.

        Source: Implements the control of METHODS 3.19.
        """
        some = self._sides[0].drawn(AGAIN, self._auditor.seed, STREAM)
        told = shifted(some.prompts(range(len(some))) or [])
        if told is None or min(len(some), len(nonmembers)) < LEAST:
            findings.notes.append(f"{one.title}: too few members or captions for the control with captions of others.")
            return
        images = ImageSet.of(some.load(range(len(some))), some.role, told)
        scores = self._of(one, images, findings.work)
        area = auroc(scores, nonmembers, confidence=self._wanted.confidence)
        counts = f"{len(scores)} members, {len(nonmembers)} non-members"
        findings.also_measured.append(estimate(f"AUROC with captions of others ({one.title})", area, counts))
        findings.arrays[f"member_scores with captions of others {one.key}"] = scores
        if area.low > 0.5:
            findings.notes.append(
                f"{one.title} recognises members with captions of others as well (AUROC {area.value:.3f}): so much of "
                "what it finds is how they look, and no memory of what their captions bring back."
            )

    def _positive_control(self, one: Configured, findings: Findings) -> None:
        """Ask the method about a generator that gives planted images back for their captions."""
        given = sum(map(len, self._sides))
        count = min(FEW, given // 2)
        done = (
            f"The method, with the same parameters and seed, was asked about a generator that gives {count} of the "
            f"probes back for their captions, and for {count} other captions one of these. It must tell them apart "
            f"beyond chance, by an AUROC of at least {LEAST_AREA:g}."
        )
        if count < LEAST:
            few = f"{given} probes are too few to plant {LEAST} of them beside {LEAST} others."
            findings.controls.append(not_applicable("positive", one.title, done, few))
            findings.unproven = f"{one.title} is not shown to find a leak: {few}"
            return
        sides, (task, _) = planted_probes(self.split.probes, count), _task(one, self._auditor.seed)
        told = sides[0].prompts(range(len(sides[0])))
        leak = PlantedGenerator(sides[0].load(range(len(sides[0]))), told or [])
        result = planted_found(*(self._auditor.scores(leak, side, task, Work()) for side in sides))
        meaning = (
            "The attack finds a leak that is there."
            if result.held
            else "The attack does not find images that come back for their captions: it is too weak here, because many "
            "images share a caption or all look alike to it, or broken."
        )
        counts = f"{count} planted images, {count} others"
        findings.controls.append(judged_control("positive", one.title, done, result, meaning, counts))


def asks_again(source: object) -> bool:
    """Whether a control asks about some of the images once more."""
    return isinstance(source, GeneratorScores)


def shifted(prompts: Sequence[Prompt]) -> list[Prompt] | None:
    """Prompts of which each is another image's, and another one than its own; None where that cannot be."""
    count, order = len(prompts), sorted(range(len(prompts)), key=lambda place: str(prompts[place]))
    most = max((prompts.count(prompt) for prompt in set(prompts)), default=0)
    if not count or 2 * most > count:
        return None
    told = dict(zip(order, [*order[most:], *order[:most]], strict=True))
    return [prompts[told[place]] for place in range(count)]


def _task(one: Configured, seed: int) -> tuple[ScoreTask, Generator | None]:
    """What each model is asked, and the base where there is one."""
    base = one.parameters.get("base")
    alone = Configured(one.method, {**one.parameters, "base": None}, one.label) if "base" in one.parameters else one
    return alone.task(seed), None if base is None else require_generator(base, "The base of a fine-tune")


def _recorded(one: Configured, threshold: str) -> records.Method:
    """The record of a method, with its base by name."""
    base = one.parameters.get("base")
    told = one
    if base is not None:
        who = require_generator(base, "The base of a fine-tune").identity
        told = Configured(one.method, {**one.parameters, "base": f"{who.name} {who.digest}"}, one.label)
    return method_record(told, threshold=threshold)
