"""Codecs between images and what a network sees: pixels in [-1, 1], or an autoencoder's latents of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.identity import weights_digest

HALVES = (torch.bfloat16, torch.float16)


class Codec(Protocol):
    """Between images in [0, 1] and x0."""

    def encode(self, images: Tensor) -> Tensor:
        """x0 of images in [0, 1], on the model's device and in its precision."""

    def decode(self, x0: Tensor) -> Tensor:
        """Images in [0, 1] of x0, clamped."""


@final
class PixelCodec:
    """Between images (n, *image_shape) in [0, 1] and pixels x0 in [-1, 1] on a device in a precision."""

    def __init__(self, image_shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype) -> None:
        self.image_shape, self._device, self._dtype = image_shape, device, dtype

    def encode(self, images: Tensor) -> Tensor:
        """Pixels in [0, 1] to [-1, 1], computed in float64.

        Raises:
            ModelError: the images have another size or number of channels than the model.
        """
        if tuple(images.shape[1:]) != self.image_shape:
            raise ModelError(
                f"Images must have the model's shape {self.image_shape}, got {tuple(images.shape[1:])}. "
                "Resize them as the training pipeline did."
            )
        return (images.to(device=self._device, dtype=torch.float64) * 2.0 - 1.0).to(self._dtype)

    def decode(self, x0: Tensor) -> Tensor:
        """Pixels in [-1, 1] to [0, 1], clamped."""
        return ((x0 + 1.0) / 2.0).clamp(0.0, 1.0)


@final
class LatentCodec:
    """An AutoencoderKL between images in [0, 1] and latents (n, *latent_shape), x0 = (mode - shift) * scale.

    Shift and scale are one number each, or one a channel where the configuration has `latents_mean` and `latents_std`.
    With `upcast`, an autoencoder that says `force_upcast` runs in float32 wherever its family's pipelines do so: in
    half precision it overflows.
    """

    def __init__(self, vae: Any, latent_shape: tuple[int, int, int], *, upcast: bool = False) -> None:
        kinds = [kind.__name__ for kind in type(vae).__mro__]
        if not any(kind.endswith("AutoencoderKL") for kind in kinds):
            raise ModelError(
                f"The autoencoder must be an AutoencoderKL, got a {kinds[0]}, whose latents have no posterior. "
                "Audit the pipeline with the autoencoder that its network was trained with."
            )
        config = vae.config
        self._vae, self._upcast = vae, upcast and bool(config.force_upcast)
        self._known: tuple[tuple[tuple[int, int], ...], str] = ((), "")
        self._scale: float | Tensor = float(config.scaling_factor)
        self._shift: float | Tensor = float(config.get("shift_factor") or 0.0)
        self.factor = 2 ** (len(config.block_out_channels) - 1)
        channels, height, width = latent_shape
        if int(config.latent_channels) != channels:
            raise ModelError(
                f"The autoencoder's latents have {config.latent_channels} channels, the network takes {channels}. "
                "Save the pipeline with the parts it was trained with."
            )
        mean, std = config.get("latents_mean"), config.get("latents_std")
        if mean is not None and std is not None:
            self._shift, deviation = (
                torch.tensor(values, device=vae.device, dtype=vae.dtype).reshape(-1, 1, 1) for values in (mean, std)
            )
            self._scale = self._scale / deviation
        self.image_shape = (int(config.out_channels), height * self.factor, width * self.factor)
        encodes_in = torch.float32 if self._upcast and vae.dtype in HALVES else vae.dtype
        self._pixels = PixelCodec(self.image_shape, vae.device, encodes_in)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Latents of images in [0, 1]: the posterior's mode, not a sample."""
        with self._in_float32(HALVES) as dtype:
            mode: Tensor = self._vae.encode(self._pixels.encode(images)).latent_dist.mode()
        return (mode.to(dtype) - self._shift) * self._scale

    @torch.no_grad()
    def decode(self, x0: Tensor) -> Tensor:
        """Images in [0, 1], clamped."""
        with self._in_float32((torch.float16,)):
            latents = x0.to(self._vae.dtype) / self._scale + self._shift
            return self._pixels.decode(self._vae.decode(latents, return_dict=False)[0])

    def decoder_products(self, x0: Tensor, cotangents: Tensor) -> Tensor:
        """J^T v for J = d decode(x0) / d x0, the image in [-1, 1] and not clamped.

        Args:
            x0: latents (b, *latent_shape), in the model's scale.
            cotangents: v, (k, b, *image_shape).

        Returns:
            float64 (k, b, *latent_shape), on the model's device.
        """
        with torch.enable_grad(), self._in_float32((torch.float16,)):
            latents = x0.detach().to(self._vae.dtype).requires_grad_(True)
            image = self._vae.decode(latents / self._scale + self._shift, return_dict=False)[0]
            rows = [
                torch.autograd.grad(image, latents, v.to(image), retain_graph=number + 1 < len(cotangents))[0].double()
                for number, v in enumerate(cotangents)
            ]
        return torch.stack(rows)

    def autoencoder_digest(self) -> str:
        """sha256 over the autoencoder's weights: models with the same one, such as a base and its fine-tunes, share it.

        The weights are read again where they are no longer the tensors that they were.
        """
        weights = self._vae.state_dict()
        state = tuple((tensor.data_ptr(), tensor._version) for tensor in weights.values())
        if self._known[0] != state:
            self._known = state, weights_digest(weights.items(), {"shift": self._shift, "scale": self._scale})
        return self._known[1]

    @contextmanager
    def _in_float32(self, precisions: tuple[torch.dtype, ...]) -> Iterator[torch.dtype]:
        """A block in which an autoencoder of these precisions runs in float32 where it must; gives its own."""
        own: torch.dtype = self._vae.dtype
        upcast = self._upcast and own in precisions
        if upcast:
            self._vae.to(dtype=torch.float32)
        try:
            yield own
        finally:
            if upcast:
                self._vae.to(dtype=own)
