"""Does dataset inference work, and is it honest? Its controls, judged by its own p-value instead of an AUROC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.controls import PLANTED, control, planted_probes, stop
from pytest_diffprivacy.audit import Auditor, Findings
from pytest_diffprivacy.engine import ScoreTask, Work
from pytest_diffprivacy.errors import AuditError, InsufficientProbes
from pytest_diffprivacy.evidence.records import Control, ControlOutcome
from pytest_diffprivacy.membership.cdi import WHITE_BOX, CdiSettings
from pytest_diffprivacy.models.planted import PlantedLeak
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.probes import ProbeSet
from pytest_diffprivacy.statistics.controls import SIGNIFICANCE
from pytest_diffprivacy.statistics.dataset_inference import DatasetInference

Matrix: TypeAlias = NDArray[np.float64]
Infer: TypeAlias = Callable[[Matrix, Matrix], DatasetInference]

TITLE = "dataset inference"


def dataset_positive_control(
    judge: Auditor, model: Denoiser, probes: ProbeSet, task: ScoreTask, chosen: CdiSettings, infer: Infer
) -> Control:
    """Whether the planted images, as a set, are inferred from an ideal denoiser.

    Args:
        judge: keeps the features.
        model: the model under audit, for its schedule and shape.
        probes: where the images come from.
        task: the claim's own, with its parameters.
        chosen: the claim's families; those that need gradients are left out, since an ideal denoiser has none.
        infer: (members' features, non-members' features) -> the claim's own test at significance 0.001.
    """
    families = tuple(family for family in chosen.features if family not in WHITE_BOX)
    done = (
        f"The claim's test was run on features ({', '.join(families) or 'none'}) of an ideal denoiser that remembers "
        f"{PLANTED} of the probes, against {PLANTED} others."
    )
    count = min(PLANTED, (len(probes.members) + len(probes.nonmembers)) // 2)
    if not families or count < PLANTED:
        why = "Every feature needs gradients, which an ideal denoiser has not." if not families else "Too few probes."
        return control("positive", TITLE, done, ControlOutcome.NOT_APPLICABLE, why)
    own = replace(chosen, features=families)
    parameters = {**task.parameters, "features": families}
    planted, others = planted_probes(probes, count)
    leak = PlantedLeak(model, torch.from_numpy(planted.load(range(count))))
    grey = replace(task, parameters=parameters, shape=(len(own.names),))
    found = infer(*(judge.scores(leak, images, grey, Work()) for images in (planted, others)))
    held = found.p_value <= SIGNIFICANCE
    meaning = "The test finds a set that is there" if held else "The test does not find a set that is fully remembered"
    outcome = ControlOutcome.HELD if held else ControlOutcome.FAILED
    return control("positive", TITLE, done, outcome, f"{meaning}: p = {found.p_value:.2g}.")


def dataset_negative_control(nonmembers: Matrix, seed: int, infer: Infer) -> Control:
    """Whether one random half of the non-members is inferred beside the other."""
    done = "The claim's test was run on two random halves of the non-members as if one had been trained on."
    shuffled = np.random.default_rng(seed).permutation(nonmembers)
    try:
        found = infer(shuffled[: len(shuffled) // 2], shuffled[len(shuffled) // 2 :])
    except InsufficientProbes:
        few = f"{len(nonmembers)} non-members are too few for halves."
        return control("negative", TITLE, done, ControlOutcome.NOT_APPLICABLE, few)
    except AuditError as error:
        return control("negative", TITLE, done, ControlOutcome.NOT_APPLICABLE, f"The halves have no test: {error}")
    held = found.p_value > SIGNIFICANCE
    meaning = "Nothing is found where nothing is" if held else "A set is inferred that does not exist"
    outcome = ControlOutcome.HELD if held else ControlOutcome.FAILED
    return control("negative", TITLE, done, outcome, f"{meaning}: p = {found.p_value:.2g}.")


def keep(findings: Findings, found: Control) -> None:
    """Record a control, and stop where it failed.

    Raises:
        AuditError: it failed.
    """
    findings.controls.append(found)
    stop(findings, found.kind, "so nothing can be concluded from this test")
