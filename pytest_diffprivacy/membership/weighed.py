"""What an attack whose error is weighed shows a reader: the same attack unweighed, on the same images and draws.

A gain on a split that differs in sharpness or compression is none; how far the damped part of the images alone tells
the sides apart stands beside it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.evidence.records import Estimate
from pytest_diffprivacy.membership.frequency_filter import FrequencyFilter
from pytest_diffprivacy.membership.latent_mask import LatentMask, latent_mask
from pytest_diffprivacy.methods import Configured, MethodEvidence, ScoredProbes
from pytest_diffprivacy.methods.method import Pair
from pytest_diffprivacy.models.protocols import require_latent
from pytest_diffprivacy.models.scoring import BATCH_SIZE
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.statistics import auroc, auroc_difference
from pytest_diffprivacy.statistics.paired_tests import AurocDifference
from pytest_diffprivacy.statistics.verdict import Bounded

RANDOM_MASKS: Final = 3


def weighed_evidence(scored: ScoredProbes) -> MethodEvidence:
    """What the frequency filter and the latent-dimension mask of an attack gain over it without them; nothing without.

    Every attack that is asked for this costs as many evaluations as the weighed one, of which they share what they can.

    Source: Implements the controls of METHODS 3.14 and 3.15.
    """
    filtered, masked = scored.parameters.get("frequency_filter"), scored.parameters.get("latent_mask")
    parts = [_filter_evidence(scored, filtered)] if isinstance(filtered, FrequencyFilter) else []
    if isinstance(masked, LatentMask):
        parts.append(_mask_evidence(scored, masked))
    return MethodEvidence(
        tuple(one for part in parts for one in part.estimates), tuple(note for part in parts for note in part.notes)
    )


def _filter_evidence(scored: ScoredProbes, used: FrequencyFilter) -> MethodEvidence:
    """The gain over the unfiltered attack, and what the damped part of the images alone gives away."""
    ((_, plain),) = scored.ask([_changed(scored, "unfiltered", frequency_filter=None)]).items()
    gain = _gain(scored, plain)
    sides = (scored.probes.members, scored.probes.nonmembers)
    apart = auroc(*(_damped_energy(scored, side, used) for side in sides), confidence=scored.confidence)
    shape = scored.model.sample_shape
    note = (
        f"The error was filtered on a grid of {shape[-2]} x {shape[-1]}: half-width {used.width(shape)}, "
        f"{used.fraction(shape):.2f} of Nyquist, other frequencies times {used.scale:g}. AUROC {gain.first:.3f}; "
        f"without the filter, on the same draws, {gain.second:.3f}."
    )
    separated = apart.low > 0.5 or apart.high < 0.5
    verb = "separates" if separated else "does not separate"
    doubt = ", so that a gain by the filter may be one in sharpness or compression" if separated else ""
    control = f"What the filter damps {verb} the two sides without the model{doubt}."
    estimates = (
        _estimate("AUROC gained by the frequency filter", gain, scored),
        _estimate("AUROC of the damped frequencies' energy", apart, scored),
    )
    return MethodEvidence(estimates, (note, control))


def _mask_evidence(scored: ScoredProbes, used: LatentMask) -> MethodEvidence:
    """The gain over the attack on all dimensions, on as many random ones, and on those that are stretched least."""
    masks: dict[str, LatentMask | None] = {"unmasked": None, "inverse mask": replace(used, choice="inverse")}
    random = {f"random mask {n}": replace(used, choice="random", seed=used.seed + n) for n in range(RANDOM_MASKS)}
    others = scored.ask([_changed(scored, name, latent_mask=mask) for name, mask in {**masks, **random}.items()])
    names = dict(zip((*masks, *random), others.values(), strict=True))
    gains = {name: _gain(scored, pair) for name, pair in names.items()}
    chance = [gains[name].second for name in random]
    kept = int(latent_mask(np.arange(math.prod(scored.model.sample_shape))[None], used.drop).sum())
    autoencoder = require_latent(scored.model, "The latent-dimension mask").autoencoder_digest()
    note = (
        f"{kept} of {math.prod(scored.model.sample_shape)} latent dimensions of each image were kept, ranked by "
        f"autoencoder {autoencoder[:12]}. AUROC {gains['unmasked'].first:.3f}; of all dimensions, on the same draws, "
        f"{gains['unmasked'].second:.3f}; of as many random ones {', '.join(f'{a:.3f}' for a in chance)}; of those "
        f"that are stretched least {gains['inverse mask'].second:.3f}. What random masks gain as well is no geometry."
    )
    strongest = max(random, key=lambda name: gains[name].second)
    estimates = (
        _estimate("AUROC gained by the latent-dimension mask", gains["unmasked"], scored),
        _estimate(f"AUROC gained over the best of {RANDOM_MASKS} random masks", gains[strongest], scored),
    )
    return MethodEvidence(estimates, (note,))


def _changed(scored: ScoredProbes, label: str, **parameters: object) -> Configured:
    return Configured(scored.used.method, {**scored.parameters, **parameters}, label)


def _gain(scored: ScoredProbes, other: Pair) -> AurocDifference:
    return auroc_difference((scored.members, scored.nonmembers), other, confidence=scored.confidence)


def damped_energy(x0: Tensor, used: FrequencyFilter) -> Tensor:
    """Energy of what a filter of scale 0 takes from images or latents (n, channels, height, width): float64 (n,)."""
    kept = FrequencyFilter(half_width=used.half_width, band=used.band, scale=0.0)
    x = x0.detach().double()
    return (x - kept(x)).square().flatten(1).sum(1)


def _damped_energy(scored: ScoredProbes, images: ImageSet, used: FrequencyFilter) -> NDArray[np.float64]:
    parts = [
        damped_energy(scored.model.encode(torch.from_numpy(batch)), used).cpu().numpy()
        for _, batch in images.batches(BATCH_SIZE)
    ]
    return np.concatenate(parts)


def _estimate(name: str, found: Bounded, scored: ScoredProbes) -> Estimate:
    return Estimate(
        name=name,
        value=found.value,
        low=found.low,
        high=found.high,
        confidence=found.confidence,
        counts=f"{len(scored.members)} members, {len(scored.nonmembers)} non-members",
    )
