"""Extraction from a fine-tune: generations by contrasted guidance, their cliques, and which images these bring back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Auditor, Findings, Subject
from pytest_diffprivacy.distances import Embedding
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.extraction import ContrastedGenerator, SimilarityCliques, similarity_cliques
from pytest_diffprivacy.extraction.contrasted_guidance import FINEXTRACT
from pytest_diffprivacy.models.noise import image_digest
from pytest_diffprivacy.models.planted import PlantedGenerator
from pytest_diffprivacy.models.protocols import Denoiser, Generator, Prompt, require_denoiser
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.sources.asked import asked
from pytest_diffprivacy.sources.controls import FEW, SILENCE, judged_control, not_applicable, planted_probes, stop
from pytest_diffprivacy.sources.generations import Request, generated
from pytest_diffprivacy.sources.method_records import published_record
from pytest_diffprivacy.sources.source import Pair, Vector
from pytest_diffprivacy.sources.split import JudgedSplit, judged_split
from pytest_diffprivacy.sources.wiring import wiring_control
from pytest_diffprivacy.statistics import planted_found
from pytest_diffprivacy.statistics.controls import LEAST, LEAST_AREA

A_IMAGE: Final = 50
"""Generations for each fine-tuning image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """How images are drawn out, as in `assert_finetune_not_extractable`."""

    prompt: Prompt | None
    embedding: Embedding
    copy_from: float
    images: int | None
    generations: int | None
    w: float
    k: float
    steps: int

    def wanted(self, members: int) -> int:
        """Cliques that are looked for."""
        return members if self.images is None else self.images

    def count(self, members: int) -> int:
        """Generations that are made."""
        return A_IMAGE * self.wanted(members) if self.generations is None else self.generations


@final
class FinetuneExtraction:
    """How alike each probe is to the nearest image that is drawn out of a fine-tune.

    Args:
        auditor: generates.
        models: "base", "fine-tuned" and perhaps "control", a fine-tune on other images.
        probes: fine-tuning images, and others of the same style.
        contrast: how images are drawn out.
    """

    unit, title, slug = "a generation", "", "finextract"

    def __init__(self, auditor: Auditor, models: Mapping[str, object], probes: ProbeSet, contrast: Contrast) -> None:
        self._auditor, self._given, self._probes, self._contrast = auditor, models, probes, contrast
        self.model = models["fine-tuned"]
        self.counts = probes.members.source_count, probes.nonmembers.source_count
        self.evaluations = 2 * contrast.steps
        self.generations = contrast.count(self.counts[0]) * (2 if "control" in models else 1)

    @cached_property
    def _models(self) -> dict[str, Denoiser]:
        found = {
            role: require_denoiser(one, f"Extraction from a fine-tune ({role})") for role, one in self._given.items()
        }
        digests = {role: one.identity.digest for role, one in found.items()}
        if len(set(digests.values())) < len(digests):
            raise UsageError(
                f"{', '.join(digests)} must be different models, got the same weights twice. Load the adapter into a "
                "pipeline of its own, and call load_model after that."
            )
        return found

    @cached_property
    def split(self) -> JudgedSplit:
        """The split of the probes."""
        return judged_split(self._auditor, self._probes)

    @property
    def subject(self) -> Subject:
        """The fine-tune and the probes."""
        tuned, prompt = self._models["fine-tuned"], self._contrast.prompt
        told = asked(tuned, None if prompt is None else [prompt])
        return Subject(model=tuned.identity, probes=self.split.probes, counts=self.split.counts, asked=told)

    def describe(self, findings: Findings) -> None:
        """Record the method and the split, and run the positive control."""
        contrast, members = self._contrast, len(self.split.probes.members)
        who = {role: f"{m.identity.name} {m.identity.digest}" for role, m in self._models.items()}
        own = {
            "w": contrast.w, "k": contrast.k, "steps": contrast.steps, "generations": contrast.count(members),
            "cliques": contrast.wanted(members), "copy_from": contrast.copy_from,
            "features": f"{contrast.embedding.name} {contrast.embedding.digest}",
        }  # fmt: skip
        told = f"cosine of at least {contrast.copy_from:g}, fixed before anything was generated"
        findings.methods = [published_record(FINEXTRACT, who | own, evaluations=None, threshold=told)]
        self.split.note(findings)
        self._positive_control(findings)
        stop(findings, "positive", SILENCE)
        for model in self._models.values():
            wiring_control(self._auditor, model, self.split.probes.nonmembers, findings)

    def similarities(self, findings: Findings) -> Pair:
        """Largest cosine of each probe to an extraction, by the fine-tune."""
        drawn = self._extractions(self._generator("fine-tuned"), findings)
        members, nonmembers = (self._nearest(side, drawn) for side in self._sides)
        return members, nonmembers

    def of_control(self, findings: Findings) -> Vector | None:
        """Largest cosine of each member to an extraction of the second fine-tune, which never saw it."""
        if "control" not in self._given:
            return None
        return self._nearest(self._sides[0], self._extractions(self._generator("control"), findings))

    @property
    def _sides(self) -> tuple[ImageSet, ImageSet]:
        return self.split.probes.members, self.split.probes.nonmembers

    def _generator(self, role: str) -> ContrastedGenerator:
        contrast = self._contrast
        return ContrastedGenerator(
            self._models["base"], self._models[role], contrast.prompt, w=contrast.w, k=contrast.k
        )

    def _extractions(self, generator: Generator, findings: Findings) -> NDArray[np.float32]:
        """Unit vectors of the images that stand for the cliques."""
        contrast, members = self._contrast, len(self._sides[0])
        request = Request(contrast.count(members), contrast.steps)
        blocks = list(generated(self._auditor, generator, [request], self.split.probes, findings))
        vectors, found = _cliques(np.concatenate(blocks), contrast.wanted(members), contrast.embedding)
        findings.tables.append(_rounds(found, generator.identity.name))
        if not found.decided:
            findings.unproven = (
                "The search for cliques was given up at a threshold: which images stand for the generations is not "
                "certain. Generate fewer images, or raise what makes them differ"
            )
        return vectors[list(found.representatives)]

    def _nearest(self, images: ImageSet, drawn: NDArray[np.float32]) -> Vector:
        parts = [self._contrast.embedding.vectors(batch) @ drawn.T for _, batch in images.batches(256)]
        return np.asarray(np.concatenate(parts).max(1), dtype=np.float64)

    def _positive_control(self, findings: Findings) -> None:
        """The same cliques and features on a generator that gives planted images back."""
        probes, title = self.split.probes, FINEXTRACT.title
        count = min(FEW, (len(probes.members) + len(probes.nonmembers)) // 2)
        done = (
            f"A generator gave {count} of the probes back, five times each; the same features and cliques must make "
            f"them out among {count} others beyond chance, by an AUROC of at least {LEAST_AREA:g}."
        )
        if count < LEAST:
            few = f"Too few probes to plant {LEAST} of them beside {LEAST} others."
            findings.controls.append(not_applicable("positive", title, done, few))
            findings.unproven = f"{title} is not shown to find a leak: {few}"
            return
        sides = planted_probes(probes, count)
        leak = PlantedGenerator(sides[0].load(range(len(sides[0]))), [""] * len(sides[0]))
        made = leak.generate(range(5 * count)).numpy()
        vectors, found = _cliques((made * 255.0).round().astype(np.uint8), count, self._contrast.embedding)
        drawn = vectors[list(found.representatives)]
        result = planted_found(*(self._nearest(side, drawn) for side in sides))
        meaning = (
            "Images that come back are made out."
            if result.held
            else "Images that come back are not made out: the features do not tell these images apart."
        )
        counts = f"{count} planted images, {count} others"
        findings.controls.append(judged_control("positive", title, done, result, meaning, counts))


def _cliques(
    images: NDArray[np.uint8], wanted: int, embedding: Embedding
) -> tuple[NDArray[np.float32], SimilarityCliques]:
    """Features of generations and their cliques, in the order of their digests."""
    shown = images.astype(np.float32) / np.float32(255.0)
    vectors = embedding.vectors(shown)
    order = sorted(range(len(shown)), key=lambda place: image_digest(shown[place]))
    return vectors, similarity_cliques(vectors, min(wanted, len(vectors)), order)


def _rounds(found: SimilarityCliques, name: str) -> records.Table:
    rows = tuple(
        (f"{one.threshold:.2f}", str(len(one.sizes)), ", ".join(map(str, one.sizes[:10]))) for one in found.rounds[-20:]
    )
    more = f", the last 20 of {len(found.rounds)}" if len(found.rounds) > 20 else ""
    return records.Table(
        caption=f"Cliques of the generations of {name}, threshold by threshold{more}",
        columns=("cosine", "cliques", "the largest"),
        rows=rows,
    )
