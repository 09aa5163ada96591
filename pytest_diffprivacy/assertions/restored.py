"""What does DRC show a reader? Original, degraded and restored image of some members and some non-members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_diffprivacy.evidence.pictures import picture
from pytest_diffprivacy.evidence.records import Strip
from pytest_diffprivacy.membership import RestorationPlan, drc_strip
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.probes import ImageSet, ProbeSet

STRIPS_A_SIDE = 10
TITLE = "What the model restores: original, degraded, restored"


def restored_strips(
    model: Denoiser, probes: ProbeSet, parameters: Mapping[str, Any], *, seed: int, redacted: bool
) -> list[Strip]:
    """Strips of the first members and the first non-members in the order of their digests, whatever their scores.

    Args:
        model: the model under audit.
        probes: where the images come from.
        parameters: those of the DRC attack; the first of its masks is shown.
        seed: the run's seed, so that the strips are those that were scored.
        redacted: pixelate the pictures.
    """
    plan = RestorationPlan(
        **{key: value for key, value in parameters.items() if key in RestorationPlan.__annotations__}
    )
    masks = parameters["masks"]
    mask = masks if isinstance(masks, str) else masks[0]
    return [
        strip
        for side in (probes.members, probes.nonmembers)
        for strip in _side(model, side, mask, plan, seed, redacted)
    ]


def _side(
    model: Denoiser, images: ImageSet, mask: str, plan: RestorationPlan, seed: int, redacted: bool
) -> list[Strip]:
    chosen = sorted(range(len(images)), key=images.digests.__getitem__)[:STRIPS_A_SIDE]
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
        strips.append(Strip(pictures=pictures, caption=caption, mark=images.role, conspicuous=images.role == "member"))
    return strips
