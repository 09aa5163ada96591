"""Closeness of a generation to the training images, by pixels or by a copy detector, and whether it is a copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances import Embedding, rms
from pytest_diffprivacy.errors import UsageError


class Closeness(Protocol):
    """A measure of how close images are to training images, with the limit at which they are copies."""

    @property
    def name(self) -> str:
        """What a record says of it, preprocessing and digest of weights included."""
        ...

    @property
    def label(self) -> str:
        """What its numbers are, e.g. "RMS distance (lower = closer)"."""
        ...

    def measure(self, images: NDArray[np.float32], training: NDArray[np.float32]) -> NDArray[np.float64]:
        """The closeness of each image to the nearest of the training images of its prompt: (n,)."""
        ...

    def copies(self, closeness: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of these are copies."""
        ...


@final
@dataclass(frozen=True, slots=True)
class PixelDistance:
    """RMS pixel distance on [0, 1]; a copy is at most `delta` away.

    Args:
        delta: 0.15 is the limit of Carlini et al. for 512-pixel images; small images need a smaller one.

    Source: Implements the (l2, delta) rule of Carlini et al. 2023 (METHODS 1.1).
    """

    delta: float = 0.15

    def __post_init__(self) -> None:
        if not 0.0 < self.delta <= 1.0:
            raise UsageError(f"`delta` must be an RMS distance in (0, 1], got {self.delta!r}.")

    @property
    def name(self) -> str:
        """What a record says of it."""
        return f"RMS pixel distance on [0, 1], copy at {self.delta:g} or less"

    @property
    def label(self) -> str:
        """What its numbers are."""
        return "RMS distance (lower = closer)"

    def measure(self, images: NDArray[np.float32], training: NDArray[np.float32]) -> NDArray[np.float64]:
        """The RMS distance to the nearest training image: (n,)."""
        nearest: NDArray[np.float64] = rms(images[:, None], training[None]).min(1)
        return nearest

    def copies(self, closeness: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which are at most delta away."""
        return closeness <= self.delta


@final
@dataclass(frozen=True, slots=True)
class DetectorSimilarity:
    """Cosine similarity of a copy detector's embeddings; a copy has at least `limit`.

    Args:
        embedding: e.g. distances.torchscript_embedding(...) of SSCD.
        limit: similarity of a copy; 0.75 is SSCD's own for 90 % precision.

    Source: Follows Pizzi et al. 2022 (METHODS 6.1).
    """

    embedding: Embedding
    limit: float = 0.75

    @property
    def name(self) -> str:
        """What a record says of it."""
        e = self.embedding
        return f"cosine similarity of {e.name} ({e.digest[:12]}), copy at {self.limit:g} or more"

    @property
    def label(self) -> str:
        """What its numbers are."""
        return "similarity (higher = closer)"

    def measure(self, images: NDArray[np.float32], training: NDArray[np.float32]) -> NDArray[np.float64]:
        """The similarity to the most similar training image: (n,)."""
        own, theirs = (self.embedding.vectors(x).astype(np.float64) for x in (images, training))
        most: NDArray[np.float64] = (own @ theirs.T).max(1)
        return most

    def copies(self, closeness: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which are at least as similar as the limit."""
        return closeness >= self.limit
