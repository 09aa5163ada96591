"""Controls of a claim: whether what scores finds a leak that is planted, and nothing where nothing is.

Positive: the very method, with the same parameters, is asked about a model with perfect memory of half of some probes;
it must find them. Negative: two random halves of the non-members must not separate. A control that fails is an ERROR.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Auditor, Findings, estimate
from pytest_diffprivacy.engine import Work
from pytest_diffprivacy.errors import AuditError, DiffPrivacyError, InsufficientProbes
from pytest_diffprivacy.evidence.records import Control, ControlOutcome
from pytest_diffprivacy.methods import Configured
from pytest_diffprivacy.models.planted import PlantedLeak
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.statistics import ControlResult, check_coherence, groups_agree, halves_agree, planted_found
from pytest_diffprivacy.statistics.controls import LEAST, LEAST_AREA, SIGNIFICANCE

Kind: TypeAlias = Literal["positive", "negative", "split", "wiring"]
Vector: TypeAlias = NDArray[np.float64]
Pair: TypeAlias = tuple[Vector, Vector]

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
NOTHING_FOUND: Final = "Where nothing is to be found, nothing is found."
SILENCE: Final = "so its silence about the audited model proves nothing"


def control(kind: Kind, title: str, done: str, outcome: ControlOutcome, meaning: str) -> Control:
    """A control's record; the title is that of what scored."""
    return Control(kind=kind, name=f"{kind.capitalize()} control: {title}", done=done, outcome=outcome, meaning=meaning)


def not_applicable(kind: Kind, title: str, done: str, why: str) -> Control:
    """A control that cannot be made, and why."""
    return control(kind, title, done, ControlOutcome.NOT_APPLICABLE, why)


def judged_control(kind: Kind, title: str, done: str, result: ControlResult, meaning: str, counts: str) -> Control:
    """A control's record with the AUROC that it was judged by."""
    outcome = ControlOutcome.HELD if result.held else ControlOutcome.FAILED
    found = control(kind, title, done, outcome, meaning)
    if result.area is None:
        return found.model_copy(update={"meaning": f"{meaning} All scores are equal."})
    return found.model_copy(update={"estimate": estimate("AUROC", result.area, counts)})


def stop(findings: Findings, kind: Kind, consequence: str) -> None:
    """End the claim where a control of this kind failed.

    Raises:
        AuditError: one did.
    """
    failed = [c for c in findings.controls if c.kind == kind and c.outcome is ControlOutcome.FAILED]
    if failed:
        seen = [f" (AUROC {c.estimate.value:.3f})" if c.estimate else "" for c in failed]
        listed = "; ".join(f"{c.name}{area}: {c.meaning}" for c, area in zip(failed, seen, strict=True))
        raise AuditError(f"A control failed, {consequence}. {listed}")


def no_positive_control(title: str, why: str, findings: Findings) -> None:
    """Record that there is no positive control, and why."""
    done = "The attack is asked about a model that is known to leak."
    findings.controls.append(not_applicable("positive", title, done, why))


def positive_control(
    auditor: Auditor,
    model: Denoiser,
    probes: ProbeSet,
    chosen: Configured,
    findings: Findings,
    *,
    base: Denoiser | None = None,
) -> None:
    """Run the positive control of a method and record it; its scores are stored like those of the claim.

    With too few probes for it, silence proves nothing and a PASS becomes INCONCLUSIVE.
    With a `base`, what is asked is whether the leak is found in its scores minus the base's.
    """
    if not chosen.method.controlled:
        no_positive_control(chosen.title, chosen.method.uncontrolled or WHITE_BOX, findings)
        return
    found = _planted(auditor, model, probes, chosen, base)
    findings.controls.append(found)
    if found.outcome is ControlOutcome.NOT_APPLICABLE:
        findings.unproven = f"{chosen.title} is not shown to find a leak: {found.meaning}"


def negative_controls(
    scores: Mapping[str, Pair], titles: Mapping[str, str], seed: int, findings: Findings, *, others: str = "non-members"
) -> None:
    """Check of every score that two halves of the non-members do not separate, and record it.

    Args:
        scores: by the name of what scored.
        titles: of what scored.
        seed: of the halves.
        findings: the claim's.
        others: what a reader calls the non-members.

    Raises:
        AuditError: some halves separate.
    """
    significance = SIGNIFICANCE / len(scores)
    done = (
        f"Two random halves of the {others}' scores were compared as if one held members; they may not separate "
        f"(two-sided significance {significance:.2g})."
    )
    for name, (_, nonmembers) in scores.items():
        title, size = titles.get(name, name), len(nonmembers) // 2
        try:
            result = halves_agree(nonmembers, seed=seed, significance=significance)
        except InsufficientProbes:
            few = f"{len(nonmembers)} {others} are too few for halves."
            findings.controls.append(not_applicable("negative", title, done, few))
            continue
        meaning = NOTHING_FOUND if result.held else "Scores separate without a cause."
        counts = f"{size} against {size} {others}"
        findings.controls.append(judged_control("negative", title, done, result, meaning, counts))
    stop(findings, "negative", f"so a difference between members and {others} proves nothing")


def check_sign(findings: Findings, pair: Pair, title: str, whom: str, remedy: str) -> None:
    """Let no claim PASS by scores that are held to a fixed value and may be the wrong way round, or of nothing.

    A column of distances stays below every similarity from which something counts, and so does a constant.

    Args:
        findings: the claim's.
        pair: scores of those whom the claim protects and of the others; **higher = what the claim counts**.
        title: of what scored.
        whom: what a reader calls the first.
        remedy: what to do where they score lower than the others beyond chance.

    Raises:
        AuditError: a score is NaN or infinite.

    Source: Implements METHODS 7.12, fixed values; ours.
    """
    together = np.concatenate(pair)
    if np.ptp(together) == 0.0:
        findings.cannot_pass = (
            f"{title}: all {len(together)} scores equal {together[0]:g}: what made them does not look at the images, "
            "so that none counts proves nothing."
        )
    elif check_coherence(*pair, title=title).ranked_last:
        text = f"{title}: {whom} score lower than the others beyond chance, as they would by a column of distances"
        findings.notes.append(f"{text}.")
        findings.unproven = f"{text}: that few of them count proves nothing. {remedy}"


def control_finetune(title: str, name: str, members: Vector, nonmembers: Vector, findings: Findings) -> None:
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


def planted_probes(probes: ProbeSet, count: int) -> tuple[ImageSet, ImageSet]:
    """Probes of either side in the order of their digests, planted and others in turn; labels play no part."""
    sides = (probes.members, probes.nonmembers)
    places = [(digest, side, i) for side in sides for i, digest in enumerate(side.digests)]
    chosen = sorted(places, key=lambda place: place[0])[: 2 * count]
    images = np.concatenate([side.load([i]) for _, side, i in chosen])
    own = [side.prompts([i]) for _, side, i in chosen]
    prompts = None if any(prompt is None for prompt in own) else [prompt[0] for prompt in own if prompt]
    return (
        ImageSet.of(images[::2], "planted image", prompts and prompts[::2]),
        ImageSet.of(images[1::2], "other image", prompts and prompts[1::2]),
    )


def _planted(auditor: Auditor, model: Denoiser, probes: ProbeSet, chosen: Configured, base: Denoiser | None) -> Control:
    costly = (chosen.evaluations or 0) > COSTLY or int(np.prod(model.sample_shape)) > LARGE
    given = len(probes.members) + len(probes.nonmembers)
    title, count = chosen.title, min(FEW if costly else PLANTED, given // 2)
    least = chosen.least_timestep(model.schedule) if base is None else None  # beside a base only a full leak stands out
    whom = "an ideal denoiser" if least is None else "a model with exact answers"
    where = "" if least is None else f" from timestep {least} on, where the attack judges"
    done = (
        f"The attack, with the same parameters and seed, was asked about {whom} that remembers {count} of the "
        f"probes{where}, on the audited model's schedule and shape, and about {count} others. It must tell them apart "
        f"beyond chance, by an AUROC of at least {LEAST_AREA:g}."
    ) + (" The base's scores of the same images were subtracted." if base else "")
    if count < LEAST:
        few = f"{given} probes are too few to plant {LEAST} of them beside {LEAST} others: {2 * LEAST} are needed."
        return not_applicable("positive", title, done, few)
    try:
        result = planted_found(*_planted_scores(auditor, model, probes, chosen, count, least, base))
    except AuditError as error:
        return control("positive", title, done, ControlOutcome.FAILED, f"It has no scores: {error}")
    except DiffPrivacyError:
        raise
    except Exception as error:
        if chosen.identity is not None:  # one of ours, or one whose code is known
            raise
        why = (
            f"The caller's function fails on a model with the grey-box protocol alone: {error!r}. Let it ask the model "
            "that it is given through predict_eps, encode and schedule, or give its scores instead of the model."
        )
        return control("positive", title, done, ControlOutcome.FAILED, why)
    meaning = (
        "The attack finds a leak that is there."
        if result.held
        else "The attack does not find a full leak: it is too weak with these parameters (a timestep?), or broken."
    )
    return judged_control("positive", title, done, result, meaning, f"{count} planted images, {count} others")


def _planted_scores(
    auditor: Auditor,
    model: Denoiser,
    probes: ProbeSet,
    chosen: Configured,
    count: int,
    least: int | None,
    base: Denoiser | None,
) -> list[Vector]:
    sides, task = planted_probes(probes, count), chosen.task(auditor.seed)
    prompted = chosen.task(auditor.seed).takes_prompts and sides[0].prompts(range(1)) is not None
    images = torch.from_numpy(sides[0].load(range(count)))
    leak = PlantedLeak(model, images, prompted=prompted, least_timestep=least)
    scores = [auditor.scores(leak, side, task, Work()) for side in sides]
    if base is None:
        return scores
    return [own - auditor.scores(base, side, task, Work()) for own, side in zip(scores, sides, strict=True)]
