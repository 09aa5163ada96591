"""What an attack whose error is weighed shows a reader: the same attack unweighed, on the same images and draws.

A gain on a split that differs in sharpness or compression is none; how far the damped part of the images alone tells
the sides apart stands beside it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.evidence.records import Estimate
from pytest_diffprivacy.membership.frequency_filter import FrequencyFilter
from pytest_diffprivacy.methods import Configured, MethodEvidence, ScoredProbes
from pytest_diffprivacy.models.scoring import BATCH_SIZE
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.statistics import auroc, auroc_difference
from pytest_diffprivacy.statistics.verdict import Bounded


def weighed_evidence(scored: ScoredProbes) -> MethodEvidence:
    """The AUROC without the frequency filter, and that of the damped part of the images alone; nothing without one.

    The unfiltered attack costs as many evaluations as the filtered one.

    Source: Implements the controls of METHODS 3.14.
    """
    used = scored.parameters.get("frequency_filter")
    if not isinstance(used, FrequencyFilter):
        return MethodEvidence()
    plain = Configured(scored.used.method, {**scored.parameters, "frequency_filter": None}, "unfiltered")
    ((_, unfiltered),) = scored.ask([plain]).items()
    gain = auroc_difference((scored.members, scored.nonmembers), unfiltered, confidence=scored.confidence)
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
