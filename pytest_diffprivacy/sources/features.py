"""Features of images for dataset inference: measured on a model, or given as columns of a table or as matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Final, Protocol, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Auditor, Findings, Subject
from pytest_diffprivacy.engine import ScoreTask, Work
from pytest_diffprivacy.errors import AuditError, InsufficientProbes, UsageError
from pytest_diffprivacy.evidence.records import Control, ControlOutcome, Method
from pytest_diffprivacy.membership.cdi import CDI, FAMILIES, WHITE_BOX, CdiSettings, affordable_features, as_features
from pytest_diffprivacy.membership.cdi_features import VERSION, cdi_features
from pytest_diffprivacy.methods import Access
from pytest_diffprivacy.models.planned import PlannedModel
from pytest_diffprivacy.models.planted import PlantedLeak
from pytest_diffprivacy.models.protocols import Denoiser, require_denoiser, require_white_box
from pytest_diffprivacy.probes import ProbeSet, ScoreTable
from pytest_diffprivacy.sources.asked import asked_of
from pytest_diffprivacy.sources.controls import (
    ELSEWHERE,
    PLANTED,
    control,
    no_positive_control,
    not_applicable,
    planted_probes,
)
from pytest_diffprivacy.sources.method_records import external_method, published_record
from pytest_diffprivacy.sources.source import Audited, is_array
from pytest_diffprivacy.sources.split import JudgedSplit, judged_split, no_split_control
from pytest_diffprivacy.sources.wiring import wiring_control
from pytest_diffprivacy.statistics.controls import SIGNIFICANCE
from pytest_diffprivacy.statistics.dataset_inference import DatasetInference

Matrix: TypeAlias = NDArray[np.float64]
Infer: TypeAlias = Callable[[Matrix, Matrix], DatasetInference]

TITLE: Final = "dataset inference"
FACTS: Final = {
    "threshold": "none; the mean logits of the two test halves are compared",
    "label_use": "control halves fit a logistic regression, test halves are judged; timesteps and parameters were "
    "fixed before labels were seen",
}


class FeatureSource(Audited, Protocol):
    """Features of members and of non-members."""

    def describe(self, findings: Findings, shown: dict[str, Any], infer: Infer) -> None:
        """Record the method with its parameters and those of the test; run the positive control by the claim's test."""
        ...

    def features(self, findings: Findings) -> tuple[Matrix, Matrix]:
        """(members, features) and (non-members, features), in an order that does not depend on that of the files."""
        ...


def feature_source(auditor: Auditor, model: object, probes: object, features: Sequence[str] | None) -> FeatureSource:
    """The source of `assert_dataset_not_inferable`'s arguments.

    Args:
        auditor: who computes.
        model: a model, a ScoreTable or the members' features.
        probes: a ProbeSet, or the non-members' features.
        features: families of a model's features, or columns of a table; None: all.

    Raises:
        UsageError: what is no source of features.
    """
    if is_array(model) and is_array(probes):
        if features is not None:
            raise UsageError("`features` must be left out where feature matrices are given.")
        return GivenFeatures(_matrix("member", model), _matrix("non-member", probes))
    if not isinstance(probes, ProbeSet):
        raise UsageError(
            f"`probes` must be a ProbeSet (or both arguments feature matrices), got {type(probes).__name__}."
        )
    if isinstance(model, ScoreTable):
        return TableFeatures(
            auditor, model, probes, model.choose("all" if features is None else tuple(features), "all")
        )
    return ModelFeatures(auditor, model, probes, features)


@final
class GivenFeatures:
    """Matrices of the caller's."""

    title, slug, evaluations, unit, model = "", "features", 0, "an image", None

    def __init__(self, members: Matrix, nonmembers: Matrix) -> None:
        self._both = members, nonmembers
        self.counts = len(members), len(nonmembers)

    @property
    def subject(self) -> Subject:
        """Nobody is known besides the features."""
        return Subject(counts=_counts(*self.counts))

    def describe(self, findings: Findings, shown: dict[str, Any], infer: Infer) -> None:
        """Record that nothing is known of features and images."""
        findings.methods = [_external(shown)]
        no_split_control(findings)
        no_positive_control(TITLE, ELSEWHERE, findings)

    def features(self, findings: Findings) -> tuple[Matrix, Matrix]:
        """As they were given."""
        return self._both


@final
class TableFeatures:
    """Columns of a table that was made elsewhere."""

    slug, evaluations, unit = "table", 0, "an image"

    def __init__(self, auditor: Auditor, table: ScoreTable, probes: ProbeSet, columns: Sequence[str]) -> None:
        self._auditor, self.model, self._probes, self._columns = auditor, table, probes, tuple(columns)
        self.title = ", ".join(columns)
        self.counts = probes.members.source_count, probes.nonmembers.source_count

    @cached_property
    def _split(self) -> JudgedSplit:
        return judged_split(self._auditor, self._probes)

    @cached_property
    def _both(self) -> tuple[Matrix, Matrix]:
        kept = self._split.probes
        joined = [self.model.join(self._probes, column, kept=kept) for column in self._columns]
        members, nonmembers = (
            np.stack([pair[side] for pair in joined], axis=1)[order] for side, order in enumerate(self._split.orders)
        )
        return members, nonmembers

    @property
    def subject(self) -> Subject:
        """The probes; a table that does not match them is refused here."""
        return Subject(probes=self._split.probes, counts=_counts(*map(len, self._both)))

    def describe(self, findings: Findings, shown: dict[str, Any], infer: Infer) -> None:
        """Record the columns and the split."""
        table = self.model
        source = {"table": table.origin, "sha256": table.sha256 or "made in memory", "columns": self._columns}
        findings.methods = [_external({**source, **shown})]
        self._split.note(findings)
        no_positive_control(TITLE, ELSEWHERE, findings)

    def features(self, findings: Findings) -> tuple[Matrix, Matrix]:
        """A column each, by the digests of the images."""
        return self._both


@final
class ModelFeatures:
    """Features that attacks measure on a model."""

    title, slug = "CDI", "cdi"

    def __init__(self, auditor: Auditor, model: object, probes: ProbeSet, features: Sequence[str] | None) -> None:
        self._auditor, self.model, self._probes, self._wanted = auditor, model, probes, features
        self.counts = probes.members.source_count, probes.nonmembers.source_count

    @cached_property
    def _settings(self) -> CdiSettings:
        """The chosen families; of a pipeline that is not loaded all, as it is a white box."""
        if self._wanted is not None:
            return CdiSettings(tuple(self._wanted))
        return CdiSettings(FAMILIES if isinstance(self.model, PlannedModel) else affordable_features(self.model))

    @cached_property
    def _denoiser(self) -> Denoiser:
        denoiser = require_denoiser(self.model, "Dataset inference")
        if set(self._settings.features) & set(WHITE_BOX):
            require_white_box(self.model, "CDI's gradient masking and noise optimization")
        return denoiser

    @cached_property
    def _split(self) -> JudgedSplit:
        return judged_split(self._auditor, self._probes)

    @property
    def evaluations(self) -> int:
        """Of the network, an image."""
        return self._settings.forward_passes

    @property
    def unit(self) -> str:
        """An image, and the gradients that it costs besides."""
        backward = self._settings.backward_passes
        return f"and {backward} backward passes an image" if backward else "an image"

    @property
    def subject(self) -> Subject:
        """The model and the probes."""
        identity, probes = self._denoiser.identity, self._split.probes
        counts = _counts(len(probes.members), len(probes.nonmembers))
        told = asked_of(self._denoiser, (probes.members, probes.nonmembers), self._task.takes_prompts)
        return Subject(model=identity, probes=probes, counts=counts, asked=told)

    @property
    def _parameters(self) -> dict[str, Any]:
        chosen = self._settings
        return {
            "features": chosen.features,
            "timestep": chosen.timestep,
            "pia_timestep": chosen.pia_timestep,
            "timesteps": chosen.timesteps,
            "draws": chosen.draws,
        }

    @property
    def _task(self) -> ScoreTask:
        given = {**self._parameters, "seed": self._auditor.seed}
        return ScoreTask("cdi", VERSION, cdi_features, given, shape=(len(self._settings.names),))

    def describe(self, findings: Findings, shown: dict[str, Any], infer: Infer) -> None:
        """Record the features, the split, and whether the test finds a set that is fully remembered."""
        chosen, model = self._settings, self._denoiser
        times = (chosen.timestep, chosen.pia_timestep, *chosen.timesteps)
        matched = list(dict.fromkeys(model.schedule.match(t) for t in times))
        access = Access.WHITE_BOX if set(chosen.features) & set(WHITE_BOX) else Access.GREY_BOX
        findings.methods = [
            published_record(
                CDI, {**self._parameters, **shown}, timesteps=matched, evaluations=chosen.forward_passes,
                access=access.value, **FACTS,
            )
        ]  # fmt: skip
        findings.notes += _left_out(model, chosen)
        self._split.note(findings)
        found = self._planted(infer)
        findings.controls.append(found)
        if found.outcome is ControlOutcome.NOT_APPLICABLE:
            findings.unproven = f"{self.title} is not shown to find a leak: {found.meaning}"
        wiring_control(self._auditor, model, self._split.probes.nonmembers, findings)

    def features(self, findings: Findings) -> tuple[Matrix, Matrix]:
        """Computed or reused unit by unit; by the digests of the images."""
        sides = self._split.probes.members, self._split.probes.nonmembers
        found = [self._auditor.scores(self._denoiser, side, self._task, findings.work) for side in sides]
        members, nonmembers = (rows[order] for rows, order in zip(found, self._split.orders, strict=True))
        return members, nonmembers

    def _planted(self, infer: Infer) -> Control:
        """Whether the planted images, as a set, are inferred from an ideal denoiser, which has no gradients."""
        families = tuple(family for family in self._settings.features if family not in WHITE_BOX)
        done = (
            f"The claim's test was run on features ({', '.join(families) or 'none'}) of an ideal denoiser that "
            f"remembers {PLANTED} of the probes, against {PLANTED} others."
        )
        probes = self._split.probes
        if not families:
            why = "Every feature needs gradients, which an ideal denoiser has not."
            return not_applicable("positive", TITLE, done, why)
        if len(probes.members) + len(probes.nonmembers) < 2 * PLANTED:
            return not_applicable("positive", TITLE, done, f"Too few probes: {2 * PLANTED} are needed.")
        planted, others = planted_probes(probes, PLANTED)
        leak = PlantedLeak(self._denoiser, torch.from_numpy(planted.load(range(PLANTED))))
        names, given = replace(self._settings, features=families).names, {**self._task.parameters, "features": families}
        task = replace(self._task, parameters=given, shape=(len(names),))
        found = infer(*(self._auditor.scores(leak, images, task, Work()) for images in (planted, others)))
        held = found.p_value <= SIGNIFICANCE
        meaning = (
            "The test finds a set that is there" if held else "The test does not find a set that is fully remembered"
        )
        outcome = ControlOutcome.HELD if held else ControlOutcome.FAILED
        return control("positive", TITLE, done, outcome, f"{meaning}: p = {found.p_value:.2g}.")


def halves_control(nonmembers: Matrix, seed: int, infer: Infer) -> Control:
    """Whether one random half of the non-members is inferred beside the other."""
    done = "The claim's test was run on two random halves of the non-members as if one had been trained on."
    shuffled = np.random.default_rng(seed).permutation(nonmembers)
    try:
        found = infer(shuffled[: len(shuffled) // 2], shuffled[len(shuffled) // 2 :])
    except InsufficientProbes:
        return not_applicable("negative", TITLE, done, f"{len(nonmembers)} non-members are too few for halves.")
    except AuditError as error:
        return not_applicable("negative", TITLE, done, f"The halves have no test: {error}")
    held = found.p_value > SIGNIFICANCE
    meaning = "Nothing is found where nothing is" if held else "A set is inferred that does not exist"
    outcome = ControlOutcome.HELD if held else ControlOutcome.FAILED
    return control("negative", TITLE, done, outcome, f"{meaning}: p = {found.p_value:.2g}.")


def _external(parameters: dict[str, Any]) -> Method:
    return external_method("features", "Features made elsewhere", CDI.source, parameters, **FACTS)


def _counts(members: int, nonmembers: int) -> str:
    return f"{members} members, {nonmembers} non-members, half of each as controls"


def _left_out(model: Denoiser, chosen: CdiSettings) -> list[str]:
    """What a reader must know about the features that were not computed."""
    affordable = affordable_features(model)
    beyond = [family for family in WHITE_BOX if family not in affordable]
    skipped = [family for family in affordable if family not in chosen.features]
    notes = []
    if beyond:
        notes.append(
            f"Left out: {', '.join(beyond)}, which need gradients, and the model is a grey box. Without them about a "
            "third more images are needed."
        )
    if skipped:
        notes.append(f"Left out by the caller: {', '.join(skipped)}.")
    if chosen.backward_passes:
        notes.append(f"Besides its network evaluations, an image costs {chosen.backward_passes} backward passes.")
    return notes


def _matrix(role: str, values: Any) -> Matrix:
    return as_features(
        f"{role} features", values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values
    )
