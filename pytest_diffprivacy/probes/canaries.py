"""Canaries: images planted in the training set by fair coins, which whoever audits can toss again.

One training run proves something about differential privacy only if every canary was included by an independent fair
coin. So the coins are tossed here, from a seed that is stored beside them, and a set whose assignment is not that of
its seed is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_diffprivacy.distances.squares import floats_of
from pytest_diffprivacy.errors import EvidenceError, ProbeError, UsageError
from pytest_diffprivacy.evidence.arrays import read_arrays, write_arrays
from pytest_diffprivacy.models.noise import image_digest
from pytest_diffprivacy.probes.sources import ArrayReader

KIND = "canaries with coins"


@final
@dataclass(frozen=True, slots=True, eq=False)
class CanarySet:
    """Canaries with their coins.

    Attributes:
        images: float32 (m, channels, height, width) in [0, 1], all different.
        included: bool (m,), whether canary i was put into the training set.
        seed: the coins are `numpy.random.default_rng(seed).random(m) < 0.5`.
    """

    images: NDArray[np.float32]
    included: NDArray[np.bool_]
    seed: int

    def __post_init__(self) -> None:
        """Refuse coins that are not those of the seed, and canaries that occur twice.

        Raises:
            ProbeError: the message says which.
        """
        tossed = toss(len(self.images), self.seed)
        if self.included.dtype != np.bool_ or self.included.shape != tossed.shape:
            raise ProbeError(
                f"`included` must be {len(tossed)} booleans, got {self.included.dtype} {self.included.shape}."
            )
        wrong = int((self.included != tossed).sum())
        if wrong:
            raise ProbeError(
                f"`included` must be the fair coins of seed {self.seed}, got {wrong} of {len(tossed)} that differ. A "
                "one-run audit needs canaries that were included by independent coins, fixed before training: plant "
                "them with plant_canaries and train again."
            )
        if len({image_digest(image) for image in self.images}) < len(self.images):
            raise ProbeError("`images` must all differ: a canary that occurs twice is no independent coin.")

    def __len__(self) -> int:
        return len(self.images)

    def save(self, path: Path) -> None:
        """Store images, coins and seed as .safetensors; whole or not at all."""
        arrays = {"images": self.images, "included": self.included, "seed": np.array([self.seed], dtype=np.int64)}
        write_arrays(Path(path), arrays, {"kind": KIND})

    @classmethod
    def load(cls, path: Path) -> CanarySet:
        """Read a stored set, and toss its coins again.

        Raises:
            EvidenceError: the file is damaged, or holds no canaries.
            ProbeError: its assignment is not that of its seed.
        """
        arrays = read_arrays(Path(path))
        if set(arrays) != {"images", "included", "seed"}:
            raise EvidenceError(f"{str(path)!r} holds no canaries: it has the arrays {sorted(arrays)}.")
        return cls(arrays["images"], arrays["included"].astype(np.bool_), int(arrays["seed"][0]))


@dataclass(frozen=True, slots=True, eq=False)
class PlantedTraining:
    """A training set with canaries in it.

    Attributes:
        images: float32, the training images followed by the canaries whose coin said so.
        canaries: all canaries; store them with `save` before training starts.
    """

    images: NDArray[np.float32]
    canaries: CanarySet


def plant_canaries(training: ArrayLike, canaries: ArrayLike, *, seed: int) -> PlantedTraining:
    """Put about half of the canaries into a training set, each by its own fair coin.

    Args:
        training: the training images, uint8 or float in [0, 1]: (n, h, w), (n, c, h, w) or (n, h, w, c).
        canaries: images of the same size, all different, none of them among the training images.
        seed: of the coins, 0 to 2^63 - 1. Take one that nobody chose, e.g. `secrets.randbits(63)`, and use it once.

    Raises:
        UsageError: the seed is out of range.
        ProbeError: images that cannot be used, another size, canaries that occur twice or in the training set.

    Source: Implements the inclusion of Steinke, Nasr and Jagielski (2023), Algorithm 1; METHODS 7.5.
    """
    if isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise UsageError(f"`seed` must be a whole number from 0 to 2^63 - 1, got {seed!r}. Take secrets.randbits(63).")
    rest, own = _images(training, "training"), _images(canaries, "canaries")
    if rest.shape[1:] != own.shape[1:]:
        raise ProbeError(f"Canaries must have the training images' shape {rest.shape[1:]}, got {own.shape[1:]}.")
    known = {image_digest(image) for image in rest}
    shared = sum(image_digest(image) in known for image in own)
    if shared:
        raise ProbeError(f"Canaries must not be in the training set already, got {shared} of {len(own)} that are.")
    chosen = CanarySet(own, toss(len(own), seed), seed)
    return PlantedTraining(np.concatenate([rest, own[chosen.included]]), chosen)


def toss(count: int, seed: int) -> NDArray[np.bool_]:
    """The coins of a seed: bool (count,)."""
    return np.asarray(np.random.default_rng(seed).random(count) < 0.5)


def _images(source: ArrayLike, role: str) -> NDArray[np.float32]:
    reader = ArrayReader(np.asarray(source), role)
    return np.stack([floats_of(reader.read(index)) for index in range(len(reader))])
