"""Latent-dimension mask: a latent model remembers those dimensions best that its decoder stretches most.

The decoder alone ranks the dimensions of each image; the denoiser is not asked. One ranking serves every attack and
every model with the same autoencoder.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.methods import ImageBatch
from pytest_diffprivacy.models.noise import image_digest, noise_stream
from pytest_diffprivacy.models.protocols import Denoiser, LatentDenoiser, require_latent
from pytest_diffprivacy.models.scoring import as_images
from pytest_diffprivacy.slices import in_batches

DROP: Final = 0.4
PROBES: Final = 16
TINY: Final = 1e-12
BATCH_SIZE: Final = 8
KEPT_BYTES: Final = 2**28

Choice = Literal["stretched", "random", "inverse"]
Key = tuple[str, str, bytes, int, bool, int]

_stretches: OrderedDict[Key, NDArray[np.float32]] = OrderedDict()
"""c_k of the latest images of this process: they are asked for by every attack and release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentMask:
    """What `latent_mask=` of SimA, PIA, SecMI and the loss attack takes. Fix it before labels are seen.

    Attributes:
        drop: share of an image's latent dimensions that do not count, in [0, 1).
        probes: vector-Jacobian products of the decoder an image.
        exact: c_k from the whole Jacobian, one product an output element: for small decoders.
        seed: of the probes, and of random masks.
        choice: "stretched" keeps the dimensions of the largest c_k; the controls keep as many "random" ones, or the
            "inverse", as many of the smallest.
    """

    drop: float = DROP
    probes: int = PROBES
    exact: bool = False
    seed: int = 0
    choice: Choice = "stretched"

    def __post_init__(self) -> None:
        """Refuse settings that keep nothing or ask for nothing."""
        _check_drop(self.drop)
        if self.probes < 1:
            raise UsageError(f"`probes` must be at least 1, got {self.probes!r}.")
        if self.choice not in get_args(Choice):
            raise UsageError(f"`choice` must be one of {', '.join(get_args(Choice))}, got {self.choice!r}.")

    def __str__(self) -> str:
        how = "exact" if self.exact else f"{self.probes} probes"
        return f"{self.choice}, {self.drop:.0%} dropped, {how}, seed {self.seed}"


def latent_stretch(
    model: Denoiser,
    images: Tensor | ArrayLike,
    probes: Tensor | ArrayLike | None = None,
    exact: bool = False,
    *,
    count: int = PROBES,
    seed: int = 0,
) -> NDArray[np.float64]:
    """How much the decoder stretches each latent dimension of each image: `c_k = 0.5 log((J^T J)_kk + 1e-12)`.

    J = d decode(z) / d z at the image's own latents z, in the model's scale, the image in [-1, 1] and not clamped;
    `(J^T J)_kk` is estimated by the mean of `(J^T v)_k^2` over standard normal v.

    Args:
        model: a latent model; only its autoencoder is asked.
        images: (n, channels, height, width) in [0, 1].
        probes: (n, probes, channels * height * width), the v of each image; None: drawn from the seed and the image's
            own digest.
        exact: the whole Jacobian instead; one product an output element.
        count: probes that are drawn.
        seed: of the probes.

    Returns:
        float64 (n, dimensions), in the order of the flattened latents.

    Raises:
        ModelError: the model has no differentiable decoder.
        UsageError: bad images or probes.
        AuditError: the decoder's derivatives are not finite.

    Source: Implements Rao, Qu and Moyer 2026 (arXiv 2511.20592), at the posterior's mode (METHODS 3.15).
    """
    latent, checked = require_latent(model, "The latent-dimension mask"), as_images(images)
    given = None if probes is None else torch.as_tensor(np.asarray(probes), dtype=torch.float64)
    if given is not None and (given.ndim != 3 or given.shape[::2] != (len(checked), checked[0].numel())):
        raise UsageError(
            f"`probes` must have shape ({len(checked)}, probes, {checked[0].numel()}), got {tuple(given.shape)}."
        )
    parts = []
    for part in in_batches(len(checked), BATCH_SIZE):
        batch = checked[part]
        if exact:
            squares = _exact(latent, batch)
        else:
            v = _drawn(batch, count, seed) if given is None else given[part]
            squares = _products(latent, batch, v.transpose(0, 1)).square().mean(0)
        parts.append(0.5 * (squares + TINY).log().cpu().numpy())
    found: NDArray[np.float64] = np.concatenate(parts)
    if not np.isfinite(found).all():
        raise AuditError("The decoder's derivatives are not finite. Load the model in float32.")
    return found


def latent_mask(c: ArrayLike, drop: float = DROP) -> NDArray[np.bool_]:
    """Which latent dimensions count: those whose c_k is strictly above the image's own `drop` quantile.

    Args:
        c: (n, dimensions), what `latent_stretch` returned.
        drop: share that does not count, in [0, 1); the quantile is interpolated linearly. 0 keeps all.

    Returns:
        bool (n, dimensions).

    Raises:
        UsageError: `c` has another shape, or `drop` is no such share.

    Source: Implements Rao, Qu and Moyer 2026.
    """
    values = np.asarray(c)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise UsageError(f"`c` must be finite numbers (images, dimensions), got shape {values.shape}.")
    if _check_drop(drop) == 0.0:
        return np.ones(values.shape, dtype=np.bool_)
    return np.asarray(values > np.quantile(values, drop, axis=1, keepdims=True))


def kept(batch: ImageBatch, chosen: LatentMask | None) -> Tensor:
    """1 for the dimensions of a batch's errors that count and 0 for others: float64 (b, *sample_shape), or () for all.

    Raises:
        UsageError: something else than a mask.
        ModelError: the model has no differentiable decoder.
    """
    if chosen is None:
        return torch.ones((), dtype=torch.float64, device=batch.model.device)
    if not isinstance(chosen, LatentMask):
        raise UsageError(f"`latent_mask` must be a membership.LatentMask or None, got {chosen!r}.")
    digests = [image_digest(image) for image in batch.images.float().numpy()]
    if chosen.choice == "random":
        dimensions = int(np.prod(batch.model.sample_shape))
        ranks = [noise_stream("latent mask", chosen.seed, digest).permutation(dimensions) for digest in digests]
        masks = latent_mask(np.stack(ranks), chosen.drop)
    else:
        latent = require_latent(batch.model, "The latent-dimension mask")
        c = np.stack(_remembered(latent, batch.images, digests, chosen))
        masks = latent_mask(-c if chosen.choice == "inverse" else c, chosen.drop)
    shaped = torch.from_numpy(masks).reshape(len(masks), *batch.model.sample_shape)
    return shaped.to(batch.model.device, torch.float64)


def _remembered(
    model: LatentDenoiser, images: Tensor, digests: list[bytes], chosen: LatentMask
) -> list[NDArray[np.float32]]:
    """c_k of each image, computed where it is not among the latest."""
    autoencoder, dtype = model.autoencoder_digest(), str(model.dtype)
    keys: list[Key] = [(autoencoder, dtype, d, chosen.probes, chosen.exact, chosen.seed) for d in digests]
    if missing := [i for i, key in enumerate(keys) if key not in _stretches]:
        settings = {"count": chosen.probes, "seed": chosen.seed}
        for i, row in zip(missing, latent_stretch(model, images[missing], exact=chosen.exact, **settings), strict=True):
            _stretches[keys[i]] = row.astype(np.float32)
    found = [_stretches[key] for key in keys]
    for key in keys:
        _stretches.move_to_end(key)
    most = max(len(keys), KEPT_BYTES // max(1, found[0].nbytes))
    while len(_stretches) > most:
        _stretches.popitem(last=False)
    return found


def _drawn(images: Tensor, count: int, seed: int) -> Tensor:
    """Standard normal probes (b, count, elements); probe j does not depend on how many there are."""
    rows = [
        noise_stream("latent stretch", seed, image_digest(image)).standard_normal((count, image.size))
        for image in images.float().numpy()
    ]
    return torch.from_numpy(np.stack(rows))


def _products(model: LatentDenoiser, images: Tensor, v: Tensor) -> Tensor:
    """J^T v of each image, float64 (probes, b, dimensions); v (probes, b, elements)."""
    shaped = v.reshape(len(v), *images.shape)
    return model.decoder_products(model.encode(images), shaped).flatten(2)


def _exact(model: LatentDenoiser, images: Tensor) -> Tensor:
    """The diagonal of J^T J, float64 (b, dimensions), one output element after the other."""
    elements, total = images[0].numel(), torch.zeros((), dtype=torch.float64)
    for part in in_batches(elements, 64):
        units = torch.eye(elements, dtype=torch.float64)[part]
        products = _products(model, images, units[:, None].expand(-1, len(images), -1))
        total = total.to(products.device) + products.square().sum(0)
    return total


def _check_drop(drop: float) -> float:
    if not 0.0 <= drop < 1.0:
        raise UsageError(f"`drop` must be at least 0 and below 1, got {drop!r}. Write 40 % as 0.4.")
    return float(drop)
