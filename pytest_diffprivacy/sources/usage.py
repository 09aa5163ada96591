"""Losses of a set of suspects under a target: by its model, from a column of a table, or as an array."""

from __future__ import annotations

from functools import cached_property
from typing import Any, final

import numpy as np

from pytest_diffprivacy.audit import Auditor, Findings, Subject
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.membership.shadow import PlannedShadows, ShadowScores
from pytest_diffprivacy.membership.usage_share import USAGE_SHARE, target_losses
from pytest_diffprivacy.methods import Configured
from pytest_diffprivacy.models.protocols import Denoiser, require_denoiser
from pytest_diffprivacy.probes import ProbeSet, ScoreTable
from pytest_diffprivacy.sources.asked import asked_of
from pytest_diffprivacy.sources.controls import no_positive_control
from pytest_diffprivacy.sources.method_records import external_method, method_record, table_method
from pytest_diffprivacy.sources.source import Vector, as_scores, is_array
from pytest_diffprivacy.sources.wiring import wiring_control
from pytest_diffprivacy.statistics.arguments import IntArray

THRESHOLD = "the largest TPR - FPR on the reference models"
LABELS = "evaluation only: which suspects the references saw is known, which the target saw is not asked"
KNOWN = "Its control are the reference models, of which the training images are known: their shares are estimated too."


@final
class GivenLosses:
    """The target's losses, made elsewhere.

    Args:
        losses: of the suspects, lower = more likely used, in the order of the references.
        references: the models whose training images are known.
        method: what made them.
        model: the array or table.
        probes: the suspects, where they are given as images.
    """

    evaluations, unit, slug = 0, "an image", "usage-share"

    def __init__(
        self, losses: Vector, references: ShadowScores, method: records.Method, model: object, probes: ProbeSet | None
    ) -> None:
        self._losses, self._method, self._probes = losses, method, probes
        self.model, self.references = model, references
        self.title, self.counts = method.title, (len(losses),)

    @property
    def subject(self) -> Subject:
        """The suspects, where they are known."""
        return Subject(probes=self._probes, counts=_sizes(self.counts[0], self.references))

    @cached_property
    def places(self) -> IntArray:
        """Columns of the references."""
        if self._probes is None:
            return np.arange(self.references.losses.shape[1])
        return self.references.positions(self._probes.members.digests)

    def describe(self, findings: Findings) -> None:
        """Record the method."""
        findings.methods = [self._method]
        no_positive_control(self.title, KNOWN, findings)

    def losses(self, findings: Findings) -> Vector:
        """In the order of `places`."""
        return self._losses


@final
class ModelLosses:
    """The target's losses, asked as its references were.

    Args:
        auditor: who computes.
        model: the target.
        probes: the suspects, as members.
        references: measured on a pool that has the suspects.
    """

    unit, slug = "an image", "usage-share"

    def __init__(
        self, auditor: Auditor, model: object, probes: ProbeSet, references: ShadowScores | PlannedShadows
    ) -> None:
        self._auditor, self.model, self._probes, self._references = auditor, model, probes, references
        self.counts = (probes.members.source_count,)
        method = target_losses(references)
        self._chosen = Configured(method, dict(method.defaults))
        self.title = method.title

    @property
    def references(self) -> ShadowScores:
        """The references, which are there wherever no audit is only planned."""
        assert isinstance(self._references, ShadowScores), "a plan asks nothing"
        return self._references

    @property
    def evaluations(self) -> int | None:
        """Of the network, a suspect."""
        return self._chosen.evaluations

    @cached_property
    def _denoiser(self) -> Denoiser:
        return require_denoiser(self.model, USAGE_SHARE.title)

    @property
    def subject(self) -> Subject:
        """The model and the suspects."""
        told = asked_of(self._denoiser, (self._probes.members,), True)
        counts = _sizes(len(self._probes.members), self.references)
        return Subject(model=self._denoiser.identity, probes=self._probes, counts=counts, asked=told)

    @cached_property
    def places(self) -> IntArray:
        """Columns of the references."""
        return self.references.positions(self._probes.members.digests)

    def describe(self, findings: Findings) -> None:
        """Record the attack."""
        method = method_record(self._chosen, self._denoiser.schedule, threshold=THRESHOLD)
        findings.methods = [method.model_copy(update={"label_use": LABELS})]
        no_positive_control(self.title, KNOWN, findings)
        wiring_control(self._auditor, self._denoiser, self._probes.members, findings)

    def losses(self, findings: Findings) -> Vector:
        """In the order of `places`."""
        task = self._chosen.task(self._auditor.seed)
        return -self._auditor.scores(self._denoiser, self._probes.members, task, findings.work)


def usage_losses(auditor: Auditor, model: object, suspects: object, references: object) -> GivenLosses | ModelLosses:
    """The source of `assert_usage_share_below`'s arguments.

    Raises:
        UsageError: references that are none, or losses that do not fit them.
    """
    if not isinstance(references, (ShadowScores, PlannedShadows)):
        raise UsageError(
            f"`references` must be shadow models, got {type(references).__name__}. Use train_shadows(suspects, ..., "
            "models=4), or ShadowScores(...) of losses made elsewhere."
        )
    probes = None if suspects is None else suspects if isinstance(suspects, ProbeSet) else ProbeSet(suspects)
    if is_array(model) or isinstance(model, ScoreTable):
        if not isinstance(references, ShadowScores):
            raise UsageError("`references` must hold losses where the target's were made elsewhere, got planned ones.")
        return _given(model, probes, references)
    if probes is None:
        raise UsageError("`suspects` must be the images whose use is in question, got None.")
    return ModelLosses(auditor, model, probes, references)


def _given(model: Any, probes: ProbeSet | None, references: ShadowScores) -> GivenLosses:
    count = references.losses.shape[1] if probes is None else len(probes.members)
    if isinstance(model, ScoreTable):
        if probes is None:
            raise UsageError("`suspects` must be the images whose ids the table has, got None.")
        method, losses = table_method(model, model.only), -model.of_images(probes.members, model.only)
    else:
        if probes is not None:
            raise UsageError(
                "`suspects` must be None where the target's losses are an array, which does not say whose they are. "
                "Give a ScoreTable with the images' ids, or the losses alone, in the order of the references."
            )
        losses = as_scores("Target", model)
        method = external_method("losses", "Losses made elsewhere", "the caller's own losses", {}, threshold=THRESHOLD)
    if len(losses) != count:
        raise UsageError(f"The target's losses must be {count}, one a suspect of the references, got {len(losses)}.")
    return GivenLosses(losses, references, method, model, probes)


def _sizes(suspects: int, references: ShadowScores) -> str:
    return f"{suspects} suspects, {len(references)} reference models"
