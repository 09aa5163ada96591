"""Does the attack work, and is the statistic honest? Controls that run beside every claim about membership.

Positive: the very attack, with the same parameters, is asked about a model with perfect memory of half of some probes;
it must find them. Negative: two random halves of the non-members must not separate. A control that fails is an ERROR.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.attacks import PlannedAttack
from pytest_diffprivacy.audit import Auditor, Findings, estimate
from pytest_diffprivacy.engine import Work
from pytest_diffprivacy.errors import AuditError, DiffPrivacyError, InsufficientProbes
from pytest_diffprivacy.evidence.records import Control, ControlOutcome
from pytest_diffprivacy.models.planted import PlantedLeak
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.statistics import ControlResult, groups_agree, halves_agree, planted_found
from pytest_diffprivacy.statistics.controls import LEAST, LEAST_AREA, SIGNIFICANCE

PLANTED = 50
FEW = 16
COSTLY = 200
"""Network evaluations an image from which on 16 images are planted instead of 50."""
LARGE = 65_536
"""Numbers in an image from which on, likewise."""
ELSEWHERE: Final = "The scores were made elsewhere: this run cannot ask the attack about a model with a known leak."
WHITE_BOX: Final = (
    "The ideal denoiser has no parameters, so an attack on a model's parameters cannot be asked about it."
)

Scores: TypeAlias = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


def positive_controls(
    judge: Auditor,
    model: Denoiser,
    probes: ProbeSet,
    planned: Sequence[PlannedAttack],
    findings: Findings,
    *,
    base: Denoiser | None = None,
) -> None:
    """Run the positive control of each attack and record it; results are stored like scores.

    With too few probes for it, silence proves nothing and a PASS becomes INCONCLUSIVE.
    With a `base`, what is asked is whether the leak is found in its scores minus the base's.

    Raises:
        AuditError: an attack does not find the planted images.
    """
    for plan in planned:
        costly = (plan.method.evaluations_per_image or 0) > COSTLY or int(np.prod(model.sample_shape)) > LARGE
        findings.controls.append(_positive(judge, model, probes, plan, FEW if costly else PLANTED, base))
        if findings.controls[-1].outcome is ControlOutcome.NOT_APPLICABLE and _controlled(plan):
            findings.unproven = f"{plan.method.title} is not shown to find a leak: {findings.controls[-1].meaning}"
    stop(findings, "positive", "so its silence about the audited model proves nothing")


def negative_controls(scores: Scores, titles: Mapping[str, str], seed: int, findings: Findings) -> None:
    """Check that two halves of the non-members do not separate, and record it.

    Raises:
        AuditError: they do.
    """
    significance = SIGNIFICANCE / len(scores)
    for name, (_, nonmembers) in scores.items():
        title = titles.get(name, name)
        done = (
            "Two random halves of the non-members' scores were compared as if one held members; they may not separate "
            f"(two-sided significance {significance:.2g})."
        )
        try:
            result = halves_agree(nonmembers, seed=seed, significance=significance)
        except InsufficientProbes:
            meaning = f"{len(nonmembers)} non-members are too few for halves."
            findings.controls.append(control("negative", title, done, ControlOutcome.NOT_APPLICABLE, meaning))
            continue
        size = len(nonmembers) // 2
        meaning = (
            "Where nothing is to be found, nothing is found." if result.held else "Scores separate without a cause."
        )
        findings.controls.append(
            judged_control("negative", title, done, result, meaning, f"{size} against {size} non-members")
        )
    stop(findings, "negative", "so a difference between members and non-members proves nothing")


def control_finetune(
    title: str, name: str, members: NDArray[np.float64], nonmembers: NDArray[np.float64], findings: Findings
) -> None:
    """Check that a fine-tune on other images does not tell members from non-members, and record it.

    Args:
        title: of the attack.
        name: of the control model.
        members: its increases over the base.
        nonmembers: the same.
        findings: the claim's.

    Raises:
        AuditError: it does: members and non-members react differently to fine-tuning itself.
    """
    result = groups_agree(members, nonmembers)
    meaning = (
        "A fine-tune that saw neither side does not tell them apart."
        if result.held
        else "A fine-tune that saw neither side tells them apart: they differ in kind, not in membership."
    )
    done = f"The same was measured of {name}, the base fine-tuned on other images than members and non-members."
    counts = f"{len(members)} members, {len(nonmembers)} non-members"
    found = judged_control("negative", title, done, result, meaning, counts)
    findings.controls.append(found.model_copy(update={"name": f"Control fine-tune: {title}"}))
    stop(findings, "negative", "so what the fine-tune changed proves nothing about its training images")


def no_positive_control(title: str, why: str, findings: Findings) -> None:
    """Record that there is no positive control, and why."""
    done = "The attack is asked about a model that is known to leak."
    findings.controls.append(control("positive", title, done, ControlOutcome.NOT_APPLICABLE, why))


def no_split_control(findings: Findings) -> None:
    """Record that nobody looked whether members and non-members differ without the model: there are no images."""
    findings.controls.append(
        Control(
            kind="split",
            name="Split: members and non-members without the model",
            done="Classifiers that never see the model try to tell members from non-members.",
            outcome=ControlOutcome.NOT_APPLICABLE,
            meaning="Scores were given without their images: what else members and non-members differ in is unknown. "
            "A ScoreTable with a ProbeSet has it checked.",
        )
    )


def _positive(
    judge: Auditor, model: Denoiser, probes: ProbeSet, plan: PlannedAttack, most: int, base: Denoiser | None
) -> Control:
    title, count = plan.method.title, min(most, (len(probes.members) + len(probes.nonmembers)) // 2)
    least = plan.least_timestep if base is None else None  # beside a base only a full leak is sure to stand out
    whom = "an ideal denoiser" if least is None else "a model with exact answers"
    where = "" if least is None else f" from timestep {least} on, where the attack judges"
    done = (
        f"The attack, with the same parameters and seed, was asked about {whom} that remembers {count} of the "
        f"probes{where}, on the audited model's schedule and shape, and about {count} others. It must tell them apart "
        f"beyond chance, by an AUROC of at least {LEAST_AREA:g}."
    ) + (" The base's scores of the same images were subtracted." if base else "")
    if not _controlled(plan):
        return control("positive", title, done, ControlOutcome.NOT_APPLICABLE, plan.uncontrolled or WHITE_BOX)
    if count < LEAST:
        given = len(probes.members) + len(probes.nonmembers)
        few = f"{given} probes are too few to plant {LEAST} of them beside {LEAST} others: {2 * LEAST} are needed."
        return control("positive", title, done, ControlOutcome.NOT_APPLICABLE, few)
    planted, others = planted_probes(probes, count)
    prompted = plan.task.takes_prompts and planted.prompts(range(1)) is not None
    images = torch.from_numpy(planted.load(range(count)))
    leak = PlantedLeak(model, images, prompted=prompted, least_timestep=least)
    try:
        scores = [judge.scores(leak, side, plan.task, Work()) for side in (planted, others)]
        if base is not None:
            scores = [
                own - judge.scores(base, side, plan.task, Work())
                for own, side in zip(scores, (planted, others), strict=True)
            ]
    except AuditError as error:
        return control("positive", title, done, ControlOutcome.FAILED, f"It has no scores: {error}")
    except DiffPrivacyError:
        raise
    except Exception as error:
        if plan.task.stored:
            raise
        why = (
            f"The caller's function fails on a model with the grey-box protocol alone: {error!r}. Let it ask the model "
            "that it is given through predict_eps, encode and schedule, or give its scores instead of the model."
        )
        return control("positive", title, done, ControlOutcome.FAILED, why)
    result = planted_found(*scores)
    meaning = (
        "The attack finds a leak that is there."
        if result.held
        else "The attack does not find a full leak: it is too weak with these parameters (a timestep?), or broken."
    )
    return judged_control("positive", title, done, result, meaning, f"{count} planted images, {count} others")


def _controlled(plan: PlannedAttack) -> bool:
    """Whether a model with exact answers can be asked by this attack."""
    return plan.configured.method.controlled


def planted_probes(probes: ProbeSet, count: int) -> tuple[ImageSet, ImageSet]:
    """Probes of either side in the order of their digests, planted and others in turn; labels play no part."""
    sides = (probes.members, probes.nonmembers)
    places = [(digest, side, i) for side in sides for i, digest in enumerate(side.digests)]
    chosen = sorted(places, key=lambda place: place[0])[: 2 * count]
    images = np.concatenate([side.load([i]) for _, side, i in chosen])
    told = [side.prompts([i]) for _, side, i in chosen]
    prompts = None if any(prompt is None for prompt in told) else [prompt[0] for prompt in told if prompt]
    return (
        ImageSet.of(images[::2], "planted image", prompts and prompts[::2]),
        ImageSet.of(images[1::2], "other image", prompts and prompts[1::2]),
    )


def judged_control(kind: str, title: str, done: str, result: ControlResult, meaning: str, counts: str) -> Control:
    """A control's record with the AUROC that it was judged by; the title is the attack's."""
    outcome = ControlOutcome.HELD if result.held else ControlOutcome.FAILED
    found = control(kind, title, done, outcome, meaning)
    if result.area is None:
        return found.model_copy(update={"meaning": f"{meaning} All scores are equal."})
    return found.model_copy(update={"estimate": estimate("AUROC", result.area, counts)})


def control(kind: str, title: str, done: str, outcome: ControlOutcome, meaning: str) -> Control:
    """A control's record; the title is the attack's."""
    name = f"{kind.capitalize()} control: {title}"
    return Control.model_validate({"kind": kind, "name": name, "done": done, "outcome": outcome, "meaning": meaning})


def stop(findings: Findings, kind: str, consequence: str) -> None:
    """End the claim where a control of this kind failed.

    Raises:
        AuditError: one did.
    """
    failed = [c for c in findings.controls if c.kind == kind and c.outcome is ControlOutcome.FAILED]
    if failed:
        seen = [f" (AUROC {c.estimate.value:.3f})" if c.estimate else "" for c in failed]
        listed = "; ".join(f"{c.name}{area}: {c.meaning}" for c, area in zip(failed, seen, strict=True))
        raise AuditError(f"A control failed, {consequence}. {listed}")
