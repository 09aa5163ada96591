"""Scores of planted canaries: by one attack on a model, from a column of a table, or as an array."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import torch

from pytest_diffprivacy.audit import Auditor, Findings, Subject
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.methods import Configured, resolve
from pytest_diffprivacy.models.protocols import Denoiser, require_denoiser
from pytest_diffprivacy.probes import CanarySet, ImageSet, ProbeSet, ScoreTable
from pytest_diffprivacy.sources.asked import asked
from pytest_diffprivacy.sources.controls import ELSEWHERE, SILENCE, no_positive_control, positive_control, stop
from pytest_diffprivacy.sources.method_records import external_method, method_record, table_method
from pytest_diffprivacy.sources.source import Vector, is_array
from pytest_diffprivacy.sources.wiring import wiring_control

PURPOSE = "A one-run audit"


def canary_scores(
    auditor: Auditor, model: object, canaries: CanarySet, attack: Any, parameters: Mapping[str, Any], counts: str
) -> ModelCanaries | GivenCanaries:
    """The source of `assert_epsilon_lower_bound_below`'s arguments.

    Args:
        auditor: who computes.
        model: a model, a ScoreTable or an array (canaries,).
        canaries: in whose order the scores are wanted.
        attack: one attack; of a table a column.
        parameters: of the attack.
        counts: the sizes behind the estimate.

    Raises:
        UsageError: scores that do not fit the canaries.
    """
    if isinstance(model, ScoreTable):
        column = model.choose_one(attack, "loss", "attack")
        scores = model.of_images(ImageSet.of(canaries.images, "canary"), column)
        return GivenCanaries(canaries, scores, table_method(model, column), counts, model)
    if is_array(model):
        scores = _as_canary_scores(model, len(canaries))
        threshold = "none; a fixed number of the highest and lowest scores is guessed"
        method = external_method("scores", "Scores made elsewhere", "the caller's own scores", {}, threshold=threshold)
        return GivenCanaries(canaries, scores, method, counts, model)
    return ModelCanaries(auditor, model, canaries, attack, parameters, counts)


@final
@dataclass(frozen=True, slots=True)
class GivenCanaries:
    """Scores that were made elsewhere."""

    canaries: CanarySet
    given: Vector
    method: records.Method
    sizes: str
    model: object
    evaluations: int = 0
    unit: str = "an image"
    slug: str = "epsilon"

    @property
    def title(self) -> str:
        """What scored."""
        return self.method.title

    @property
    def counts(self) -> tuple[int]:
        """How many canaries."""
        return (len(self.canaries),)

    @property
    def subject(self) -> Subject:
        """The canaries on both sides of their coins."""
        return Subject(probes=_sides(self.canaries), counts=self.sizes)

    def describe(self, findings: Findings) -> None:
        """Record the method."""
        findings.methods = [self.method]
        no_positive_control(self.title, ELSEWHERE, findings)

    def scores(self, findings: Findings) -> Vector:
        """In the order of the canaries."""
        return self.given


@final
class ModelCanaries:
    """Scores by one attack on a model whose training set had the included canaries."""

    unit, slug = "an image", "epsilon"

    def __init__(
        self,
        auditor: Auditor,
        model: object,
        canaries: CanarySet,
        attack: Any,
        parameters: Mapping[str, Any],
        counts: str,
    ) -> None:
        self._auditor, self.model, self._canaries = auditor, model, canaries
        self._attack, self._parameters, self._sizes = attack, parameters, counts
        self.counts = (len(canaries),)

    @cached_property
    def _denoiser(self) -> Denoiser:
        return require_denoiser(self.model, PURPOSE)

    @cached_property
    def _probes(self) -> ProbeSet:
        return _sides(self._canaries)

    @cached_property
    def _chosen(self) -> Configured:
        chosen = resolve("membership", self._attack, self._parameters)
        if len(chosen) != 1:
            raise UsageError(
                "`attack` must name one attack: guesses of several are another family. Choose the strongest."
            )
        return chosen[0]

    @property
    def title(self) -> str:
        """The attack."""
        return self._chosen.title

    @property
    def evaluations(self) -> int | None:
        """Of the network, a canary."""
        return self._chosen.evaluations

    @property
    def subject(self) -> Subject:
        """The model, and the canaries on both sides of their coins."""
        told = asked(self._denoiser, None)
        return Subject(model=self._denoiser.identity, probes=self._probes, counts=self._sizes, asked=told)

    def describe(self, findings: Findings) -> None:
        """Record the attack, and run its positive control."""
        findings.methods = [method_record(self._chosen, self._denoiser.schedule)]
        positive_control(self._auditor, self._denoiser, self._probes, self._chosen, findings)
        stop(findings, "positive", SILENCE)
        wiring_control(self._auditor, self._denoiser, self._probes.nonmembers, findings)

    def scores(self, findings: Findings) -> Vector:
        """In the order of the canaries."""
        images, task = ImageSet.of(self._canaries.images, "canary"), self._chosen.task(self._auditor.seed)
        return self._auditor.scores(self._denoiser, images, task, findings.work)


def _sides(canaries: CanarySet) -> ProbeSet:
    return ProbeSet(canaries.images[canaries.included], canaries.images[~canaries.included])


def _as_canary_scores(values: Any, count: int) -> Vector:
    array = np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)
    if array.dtype.kind not in "fiu" or array.shape != (count,):
        raise UsageError(f"Canary scores must be {count} numbers, got dtype {array.dtype} and shape {array.shape}.")
    return array.astype(np.float64)
