"""Embeddings: unit vectors in which a copy detector compares images, from a network of the user's or from pixels."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.slices import in_batches

PIXEL_SIDE = 32
BLACK = 1e-3
BATCH = 64
IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """A function from images to vectors, with what a record says of it.

    Attributes:
        name: what records call it, with its version.
        digest: sha256 of what defines it, e.g. of the weights file.
        function: images (n, channels, height, width) in [0, 1], float32 -> (n, dimensions).
    """

    name: str
    digest: str
    function: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, function: Callable[[Tensor], Tensor], *, name: str, version: str) -> Embedding:
        """An embedding from any callable.

        Args:
            function: images (n, channels, height, width) in [0, 1], float32 -> (n, dimensions).
            name: what records call it.
            version: names everything that changes its output (weights, preprocessing): a function's own text cannot.

        Raises:
            UsageError: the name or the version is empty.
        """
        if not name or not version:
            raise UsageError(
                f"`name` and `version` must not be empty, got {name!r} and {version!r}. Records need them."
            )
        return cls(f"{name} {version}", hashlib.sha256(f"{name}|{version}".encode()).hexdigest(), function)

    @torch.no_grad()
    def vectors(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors of images: float32 (n, dimensions).

        Args:
            images: (n, channels, height, width) in [0, 1].

        Raises:
            UsageError: the function does not return one vector an image.
            AuditError: a vector is zero or not finite.
        """
        parts = []
        for part in in_batches(len(images), BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(images[part], dtype=np.float32))
            found = torch.as_tensor(self.function(batch)).detach().cpu().double()
            if found.ndim != 2 or len(found) != len(batch):
                raise UsageError(
                    f"`function` must give embeddings ({len(batch)}, dimensions), got {tuple(found.shape)}. "
                    "Flatten them to one row an image."
                )
            length = found.norm(dim=1, keepdim=True)
            if not bool(((length > 0) & length.isfinite()).all()):
                raise AuditError(
                    f"{self.name} gives an image a vector that is zero or not finite. Check the encoder and its input."
                )
            parts.append((found / length).float().numpy())
        return np.concatenate(parts)


def pixel_embedding(side: int = PIXEL_SIDE) -> Embedding:
    """Pixels as the embedding of small images; larger ones are shrunk to `side` x `side` first.

    Right for toy models; on photographs it sees layout and colour and is no copy detector. Black counts as a very dark
    grey, so that a black image has a direction too: that of every flat image.

    Source: METHODS 6.1, default for toy models.
    """

    def shrunk(images: Tensor) -> Tensor:
        if max(images.shape[2:]) > side:
            images = torch.nn.functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
        return images.flatten(1) + BLACK

    return Embedding.of(shrunk, name=f"pixels at {side}x{side}", version="1")


def torchscript_embedding(
    path: str | Path,
    *,
    sha256: str,
    size: int = 320,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Embedding:
    """A copy detector from a TorchScript file, such as SSCD's; the defaults are SSCD's preprocessing.

    **A TorchScript file is a program, and loading it runs it**: unlike weights it can read and write files. It is
    therefore loaded only if its digest is the one you give, which you took from where you trust the file to come from;
    it is never fetched.

    Args:
        path: the file, e.g. sscd_disc_mixup.torchscript.pt.
        sha256: hexadecimal digest that the file must have.
        size: images are resized to size x size.
        mean: subtracted from each channel.
        std: each channel is divided by it.

    Returns:
        An embedding for images with 1 (repeated) or 3 channels.

    Raises:
        UsageError: the file is missing, has another digest, or is no TorchScript.
        AuditError: later, of images that the program does not take.

    Source: Follows Pizzi et al. 2022 (SSCD) in preprocessing: square 320, ImageNet mean and deviation (METHODS 6.1).
    """
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"`path` must be a TorchScript file, got {str(path)!r}, which does not exist.")
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != sha256.lower():
        raise UsageError(
            f"`sha256` must be the digest of {file.name}, got {sha256!r}, while the file has {found}. "
            "Loading TorchScript runs it: find out which of the two you trust before you change the digest."
        )
    with warnings.catch_warnings():  # torch advises against TorchScript, but SSCD is published in no other form
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=r".*torch\.jit")
        try:
            network = torch.jit.load(file, map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise UsageError(f"`path` must be a TorchScript file, got {file.name!r}, which is none.") from error
    shift, scale = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

    def encoded(images: Tensor) -> Tensor:
        coloured = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        resized = torch.nn.functional.interpolate(coloured, (size, size), mode="bilinear", antialias=True)
        try:
            return torch.as_tensor(network((resized - shift) / scale))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise AuditError(
                f"{file.name} does not take images {tuple(resized.shape)}: {reason}. Give the `size` that it was "
                "trained at."
            ) from error

    return Embedding(f"TorchScript {file.name} at {size}x{size}", found, encoded)
