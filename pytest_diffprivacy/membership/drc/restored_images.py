"""Evidence of DRC: restored images, and what a restoration without the model achieves on the same split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.evidence.pictures import picture
from pytest_diffprivacy.membership.drc.compare import Embedding, find_comparison
from pytest_diffprivacy.methods import ImageBatch, MethodEvidence, ScoredProbes
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, require_denoiser
from pytest_diffprivacy.models.scoring import BATCH_SIZE, as_images, finite_scores, image_batches
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.restoration.degrade import Degradation, rms_hidden
from pytest_diffprivacy.restoration.masks import Masks, find_degradations
from pytest_diffprivacy.restoration.plan import FILLS, Fill, RestorationPlan, fill_in
from pytest_diffprivacy.statistics import auroc

STRIPS_A_SIDE = 10
TITLE: Final = "What the model restores: original, degraded, restored"


def plan_of(parameters: Mapping[str, Any]) -> RestorationPlan:
    """How the model restores, of the parameters of `drc_scores`."""
    return RestorationPlan(**{name: parameters[name] for name in RestorationPlan.__annotations__ if name in parameters})


def control_scores(
    images: Tensor | ArrayLike,
    masks: Masks,
    *,
    fill: Fill = "harmonic",
    comparison: str | Embedding = "rms_hidden",
    seed: int = 0,
    model: Denoiser | None = None,
    prompts: list[Prompt] | None = None,
    batch_size: int = BATCH_SIZE,
) -> NDArray[np.float64]:
    """Score images as DRC does, with a restoration that knows no model.

    If these scores separate members from non-members (AUROC above 0.55, or its interval excludes 0.5), the split is
    confounded, and DRC's own AUROC counts only as far as it exceeds theirs.

    Args:
        images: (n, channels, height, width) in [0, 1].
        masks: what `drc_scores` was given.
        fill: "mean" of the known pixels; "harmonic" (the Laplace equation on hidden pixels) or "biharmonic". For blur
            and downsample there is nothing to fill: A^+ y itself is compared.
        comparison: what `drc_scores` was given.
        seed: seed of random masks.
        model: needed only where the masks come from it (`Saliency()` without maps); it restores nothing here.
        prompts: for those masks of a conditional model.
        batch_size: images handled at once.

    Returns:
        float64 (n,), higher = restored better, averaged over masks.

    Raises:
        UsageError: a bad argument.

    Source: Follows METHODS 3.11, controls 1 and 2.
    """
    if fill not in FILLS:
        raise UsageError(f"`fill` must be one of {', '.join(FILLS)}, got {fill!r}.")
    compare, found = find_comparison(comparison), find_degradations(masks)

    def restored_well(batch: ImageBatch) -> Tensor:
        parts = [d.degrade(batch) for d in found]
        return torch.stack([compare(fill_in(p, fill), batch.images, p.hidden) for p in parts]).mean(0)

    batches = image_batches(model, images, prompts=prompts, seed=seed, batch_size=batch_size)
    return finite_scores(map(restored_well, batches), called="The control of DRC")


@dataclass(frozen=True, slots=True)
class Strip:
    """What DRC shows of one image, in [0, 1].

    Attributes:
        original: (channels, height, width).
        degraded: the same shape, hidden pixels filled with the mean of the others.
        restored: the restoration of median distance: a typical one, neither the best nor the worst.
        hidden: bool (height, width), True where the model had to restore.
        restorations: (restorations, channels, height, width), all of them in the order they were drawn.
        distances: (restorations,) RMS to the original on hidden pixels.
        mask: name of the degradation.
    """

    original: NDArray[np.float64]
    degraded: NDArray[np.float64]
    restored: NDArray[np.float64]
    hidden: NDArray[np.bool_]
    restorations: NDArray[np.float64]
    distances: NDArray[np.float64]
    mask: str


@torch.no_grad()
def drc_strip(
    model: Denoiser,
    image: Tensor | ArrayLike,
    *,
    mask: str | Degradation = "left",
    plan: RestorationPlan | None = None,
    seed: int = 0,
    prompt: Prompt | None = None,
) -> Strip:
    """Original, degraded and restored image, as evidence.

    The restorations are those that `drc_scores` averaged for this image, mask, plan and seed.

    Args:
        model: grey-box access.
        image: (channels, height, width) in [0, 1].
        mask: one degradation.
        plan: how the model restores; the defaults of `drc_scores` where it is left out.
        seed: seed of noise and random masks.
        prompt: the image's prompt for conditional models.

    Raises:
        UsageError: as for `drc_scores`.

    Source: Follows METHODS 3.11; showing the median restoration is ours.
    """
    denoiser, plan = require_denoiser(model, "DRC"), plan or RestorationPlan()
    single = as_images(image[None] if isinstance(image, Tensor) else np.asarray(image)[None])
    (degradation,) = find_degradations(mask)
    (batch,) = image_batches(denoiser, single, prompts=None if prompt is None else [prompt], seed=seed)
    degraded = degradation.degrade(batch)
    restored = torch.cat(list(plan.restored(denoiser, batch, degraded, degradation.name)))
    count = plan.restorations
    rms = rms_hidden(restored, single.expand(count, -1, -1, -1), degraded.hidden.expand(count, -1, -1, -1))
    typical = int(rms.argsort(stable=True)[(len(rms) - 1) // 2])
    return Strip(
        original=single[0].double().numpy(),
        degraded=degraded.shown[0].numpy(),
        restored=restored[typical].numpy(),
        hidden=degraded.hidden[0, 0].numpy(),
        restorations=restored.numpy(),
        distances=rms.numpy(),
        mask=degradation.name,
    )


def drc_evidence(scored: ScoredProbes) -> MethodEvidence:
    """Restored images of both sides, and the AUROC of the harmonic fill on the same masks with a note that reads it.

    Above 0.5 the split itself gives members away, and DRC counts only as far as it exceeds this. Shown are the first
    members and the first non-members in the order of their digests, whatever their scores, by the first of the masks
    and with the seed that was scored.

    Source: Implements control (2) of METHODS 3.11.
    """
    model, parameters, seed, images = scored.model, scored.parameters, scored.seed, scored.images
    sides = (scored.probes.members, scored.probes.nonmembers)
    scores = [_restored_without_model(model, side, parameters, seed) for side in sides]
    area = auroc(*scores, confidence=scored.confidence)
    counts = f"{len(scores[0])} members, {len(scores[1])} non-members"
    name = "AUROC of restoration without the model"
    control = records.Estimate(
        name=name, value=area.value, low=area.low, high=area.high, confidence=area.confidence, counts=counts
    )
    separates = (
        "separates the two sides as well: members and non-members differ, and the attack's AUROC counts only as far "
        "as it exceeds this one."
    )
    found = separates if area.low > 0.5 or area.high < 0.5 else "does not separate the two sides."
    note = f"Restoration without the model (harmonic fill) {found}"
    if images == "none":
        return MethodEvidence((control,), (note,))
    redacted = images == "redacted"
    strips = [strip for side in sides for strip in _restored_strips(model, side, parameters, seed, redacted)]
    return MethodEvidence((control,), (note,), TITLE, tuple(strips))


def _restored_without_model(
    model: Denoiser, images: ImageSet, parameters: Mapping[str, Any], seed: int
) -> NDArray[np.float64]:
    parts = [
        control_scores(
            torch.from_numpy(batch),
            parameters["masks"],
            comparison=parameters["comparison"],
            seed=seed,
            model=model,
            prompts=images.prompts(part),
        )
        for part, batch in images.batches(BATCH_SIZE)
    ]
    return np.concatenate(parts)


def _restored_strips(
    model: Denoiser, images: ImageSet, parameters: Mapping[str, Any], seed: int, redacted: bool
) -> list[records.Strip]:
    plan, masks = plan_of(parameters), parameters["masks"]
    mask = masks if isinstance(masks, str) else masks[0]
    chosen = images.digest_order[:STRIPS_A_SIDE]
    ids, prompts, strips = images.ids(), images.prompts(chosen), []
    for place, index in enumerate(chosen):
        prompt = None if prompts is None else prompts[place]
        shown = drc_strip(model, images.load([index])[0], mask=mask, plan=plan, seed=seed, prompt=prompt)
        pictures = (
            picture(shown.original, "original", redacted=redacted),
            picture(shown.degraded, f"degraded: {shown.mask}", redacted=redacted),
            picture(shown.restored, "restored (median of the draws)", redacted=redacted),
        )
        caption = (
            f"{ids[index]}: RMS distance on hidden pixels {float(shown.distances.mean()):.3f} on average, "
            f"{float(shown.distances.min()):.3f} at best of {len(shown.distances)} restorations"
        )
        member = images.role == "member"
        strips.append(records.Strip(pictures=pictures, caption=caption, mark=images.role, conspicuous=member))
    return strips
