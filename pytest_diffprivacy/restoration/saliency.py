"""Saliency masks: the pixels that matter most, by the user's own maps or by the gradient of the model's loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.models.noise import probe_noise
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from pytest_diffprivacy.models.scoring import ImageBatch
from pytest_diffprivacy.restoration.degrade import Degraded, Given, given_rows, hide

SALIENT_SHARE = 0.2


@final
@dataclass(frozen=True, slots=True, eq=False)
class Saliency:
    """The most salient pixels of every image are hidden.

    Without maps the model itself says what is salient: the pixels with the largest |grad_x L|, L the denoising loss,
    summed over channels and averaged over noise draws. Such masks differ from model to model; compare two releases on
    maps of your own.

    Args:
        maps: (n, height, width), larger = more salient, or a callable (images) -> such maps; None: as above.
        share: hidden share of the pixels, in (0, 1).
        draws: noise draws of the loss.
        timestep: timestep of the loss; the default is the papers' t = 100, matched by signal-to-noise ratio.

    Source: Follows METHODS 3.11, mask family `saliency`; the gradient is the idea of Dubinski et al. 2025 (CDI).
    """

    maps: Given | None = None
    share: float = SALIENT_SHARE
    draws: int = 4
    timestep: int = ReferenceTimestep(100)

    def __post_init__(self) -> None:
        if not 0.0 < self.share < 1.0:
            raise UsageError(f"`share` must be strictly between 0 and 1, got {self.share!r}. CDI takes 0.2.")
        if self.draws < 1:
            raise UsageError(f"`draws` must be at least 1, got {self.draws!r}.")

    @property
    def name(self) -> str:
        """Family and share."""
        return f"saliency:{self.share:g}"

    @property
    def evaluations(self) -> int:
        """One forward pass a draw, and as many backward passes, which are not counted."""
        return self.draws if self.maps is None else 0

    def degrade(self, batch: ImageBatch) -> Degraded:
        """Hide the most salient pixels.

        Raises:
            UsageError: maps of another size or with values that are not finite.
            ModelError: no maps, and no model that can be differentiated.
        """
        b, _, height, width = batch.images.shape
        maps = self._gradient(batch) if self.maps is None else given_rows(self.maps, batch, "maps").double()
        if tuple(maps.shape) != (b, height, width) or not bool(maps.isfinite().all()):
            raise UsageError(
                f"`maps` must be finite (n, {height}, {width}), got rows of {tuple(maps.shape[1:])}. Resize them."
            )
        count = min(max(1, round(self.share * height * width)), height * width - 1)
        largest = maps.flatten(1).sort(dim=1, descending=True, stable=True).indices[:, :count]
        known = torch.ones(b, height * width, dtype=torch.float64).scatter_(1, largest, 0.0)
        return hide(batch, known.reshape(b, 1, height, width))

    def _gradient(self, batch: ImageBatch) -> Tensor:
        """Mean over draws of |dL/dx0| summed over channels, (b, height, width)."""
        remedy = "Give saliency maps, Saliency(maps=...), or other masks."
        model = batch.model
        if model is None:
            raise ModelError(f"Saliency masks without maps need the model. {remedy}")
        t = model.schedule.match(self.timestep).index
        alpha, sigma = model.schedule.at(t)
        x0 = model.encode(batch.images).detach()
        total = torch.zeros_like(x0[:, 0])
        for noise in probe_noise(batch.images, self.draws, model.sample_shape, batch.seed).to(x0):
            with torch.enable_grad():
                x = x0.clone().requires_grad_()
                try:
                    eps = model.predict_eps(alpha * x + sigma * noise, t, batch.conditioning)
                    (slope,) = torch.autograd.grad((noise - eps).square().sum(), x)
                except RuntimeError as error:
                    raise ModelError(
                        f"Saliency masks need gradients through predict_eps, which {model.identity.name} does not give "
                        f"({str(error).splitlines()[0]}). {remedy}"
                    ) from error
            total += slope.abs().sum(1)
        size = (int(batch.images.shape[2]), int(batch.images.shape[3]))
        return torch.nn.functional.interpolate(total[:, None].double().cpu(), size=size, mode="nearest")[:, 0]
