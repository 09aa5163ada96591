"""Range membership (RaMIA): whether anything in a range around the image was trained on, such as a crop or a flip.

The unit is the range. Ranges of one image are sampled here; the pictures of one person are a range that is enumerated:
`ProbeSet(..., subjects=...)` and `unit="subject"`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias, final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.engine.code_identity import with_code
from pytest_diffprivacy.errors import AuditError, ProbeError, UsageError
from pytest_diffprivacy.evidence.records import Estimate
from pytest_diffprivacy.membership.shadow import digests_of
from pytest_diffprivacy.membership.trimmed_mean import Keep, trimmed_mean
from pytest_diffprivacy.methods import (
    Access,
    Configured,
    Kind,
    Method,
    MethodEvidence,
    Published,
    ScoredProbes,
    register,
    resolve,
)
from pytest_diffprivacy.models.protocols import Denoiser, Prompt
from pytest_diffprivacy.models.scoring import BATCH_SIZE, as_images
from pytest_diffprivacy.statistics import auroc
from pytest_diffprivacy.statistics.arguments import check_count

Sampler: TypeAlias = Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]]
"""One image (channels, height, width) in [0, 1] and a generator to one image of its range."""

SAMPLES: Final = 8
TRIM: Final = 0.5
TRIES: Final = 20
VERSION: Final = 1

RAMIA: Final = Published(
    name="ramia",
    title="Range membership (RaMIA)",
    access=Access.GREY_BOX,
    source="Tao and Shokri 2024",
    built_by="range_attack(...)",
    asks="Was anything in a range around this image used?",
)
register(RAMIA)


def augmented(
    image: NDArray[np.float32], rng: np.random.Generator, *, shift: float, brightness: float, flip: bool
) -> NDArray[np.float32]:
    """Draw one image of the range: mirrored or not, moved, and brightened or darkened.

    Args:
        image: (channels, height, width) in [0, 1].
        rng: draws.
        shift: largest move as a share of each side; the edge is repeated.
        brightness: largest relative change of all values.
        flip: whether half of the samples are mirrored.

    Source: Inspired by the geometric ranges of Tao and Shokri 2024.
    """
    _, height, width = image.shape
    up, left = (round(shift * side) for side in (height, width))
    y, x = int(rng.integers(-up, up + 1)), int(rng.integers(-left, left + 1))
    gain, mirrored = 1.0 + brightness * float(rng.uniform(-1.0, 1.0)), flip and bool(rng.integers(2))
    padded = np.pad(image, ((0, 0), (up, up), (left, left)), mode="edge")
    moved = padded[:, up + y : up + y + height, left + x : left + x + width]
    seen = np.float32(gain) * (moved[:, :, ::-1] if mirrored else moved)
    return np.asarray(np.clip(seen, 0.0, 1.0), dtype=np.float32)


DEFAULT_SAMPLER: Final = partial(augmented, shift=0.0625, brightness=0.1, flip=True)


def range_attack(
    inner: str | Method | Configured = "secmi",
    *,
    samples: int = SAMPLES,
    sampler: Sampler | None = None,
    trim: float = TRIM,
    keep: Keep = "highest",
    include_centre: bool = False,
    seed: int = 0,
) -> Method:
    """Build the attack that scores an image by what an inner attack says of samples of the range around it.

    The image itself is the centre of the range and not among the samples: with it, the range of a member holds the
    exact member, and the attack is the inner one. Members and non-members are sampled alike.

    Args:
        inner: name of an attack, or a configured one, e.g. `secmi(timestep=50)`.
        samples: of each range.
        sampler: draws an image of the range; None: mirrored or not, moved by up to 1/16 of each side, brightness up to
            10 % up or down.
        trim: share of the samples that is dropped; fixed before labels are seen.
        keep: which are kept, see `trimmed_mean`.
        include_centre: whether the image itself is one of the samples.
        seed: of the sampler; an image's samples also depend on its own digest.

    Raises:
        UsageError: an argument is wrong.

    Source: Follows Tao and Shokri 2024, without the centre and with an exact trim (METHODS 3.18).
    """
    check_count("samples", samples, least=1)
    check_count("seed", seed, least=0)
    trimmed_mean(np.zeros(samples), trim, keep)  # refuses what it does not take
    chosen = resolve(Kind.MEMBERSHIP, inner)
    if len(chosen) != 1:
        raise UsageError("`inner` must be one attack, got a family. Build a range attack of each.")
    (one,) = chosen
    ranges = _Ranges(one, sampler or DEFAULT_SAMPLER, samples, include_centre, seed)
    told = one.identity is not None
    defaults = {"trim": float(trim), "keep": keep, **ranges.fixed}
    title = f"Range membership of {one.title}, {samples} samples"
    return replace(
        RAMIA.built(
            title=title,
            scores=ranges.scores,
            defaults=defaults,
            version=1_000 * VERSION + (one.method.version or 0) if told else None,
            seeded=one.method.seeded,
            evaluations=None if one.evaluations is None else partial(_evaluations, samples * one.evaluations),
            timesteps=partial(_timesteps, one),
            decides_at_timestep=one.method.decides_at_timestep,
            uncontrolled=one.method.uncontrolled,
            evidence=ranges.evidence,
        ),
        source=f"{RAMIA.source}, on {one.method.source}",
        access=one.method.access,
        needs=one.method.needs,
    )


def _evaluations(count: int, parameters: Mapping[str, Any]) -> int:
    del parameters
    return count


def _timesteps(one: Configured, parameters: Mapping[str, Any]) -> tuple[int, ...]:
    del parameters
    return one.method.timesteps(one.parameters)


@final
class _Ranges:
    """The inner attack, and how ranges are sampled."""

    def __init__(self, inner: Configured, sampler: Sampler, samples: int, centre: bool, seed: int) -> None:
        self._inner, self._sampler, self._samples, self._centre, self._seed = inner, sampler, samples, centre, seed
        own = {f"inner_{name}": value for name, value in inner.parameters.items()}
        told = {"inner": inner.name, "inner_version": inner.method.version, "sampler": sampler, **own}
        if source := (inner.method.code or {}).get("source"):
            told["inner_source"] = source
        self.fixed = {"samples": samples, "include_centre": centre, "sampler_seed": seed, **told}

    def scores(
        self,
        model: Denoiser,
        images: Tensor | ArrayLike,
        *,
        trim: float = TRIM,
        keep: Keep = "highest",
        seed: int = 0,
        prompts: Sequence[Prompt] | None = None,
        batch_size: int = BATCH_SIZE,
        **fixed: Any,
    ) -> NDArray[np.float64]:
        """Scores of the ranges around images: float64 (n,), higher = more likely that a member is in it.

        Raises:
            UsageError: what the attack was built with was changed.
            ProbeError: a range holds its centre alone.
        """
        if changed := [n for n, value in self.fixed.items() if with_code(fixed.get(n, value)) != with_code(value)]:
            raise UsageError(f"`{changed[0]}` must be what the attack was built with. Call range_attack(...) again.")
        checked = as_images(images).float()
        drawn = np.concatenate([self._sampled(one) for one in checked.numpy()])
        told = None if prompts is None else [prompt for prompt in prompts for _ in range(self._samples)]
        flat = self._inner_scores(model, torch.from_numpy(drawn), seed, told, batch_size)
        return trimmed_mean(flat.reshape(len(checked), self._samples), trim, keep)

    def _inner_scores(
        self, model: Denoiser, images: Tensor, seed: int, prompts: Sequence[Prompt] | None, batch_size: int
    ) -> NDArray[np.float64]:
        task = self._inner.task(seed)
        given = {"prompts": prompts} if prompts is not None and task.takes_prompts else {}
        found = np.asarray(task.function(model, images, batch_size=batch_size, **task.parameters, **given))
        if found.shape != (len(images),) or not np.isfinite(found).all():
            raise AuditError(f"{self._inner.title} must give {len(images)} finite scores, got shape {found.shape}.")
        return found

    def _sampled(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """The samples of one image's range: (samples, channels, height, width)."""
        digest = hashlib.sha256(b"".join(digests_of(torch.from_numpy(image[None])))).digest()
        rng = np.random.default_rng([self._seed, *digest])
        first = [image] if self._centre else []
        return np.stack([*first, *(self._one(image, rng) for _ in range(self._samples - len(first)))])

    def _one(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        for _ in range(TRIES):
            sample = np.asarray(self._sampler(image, rng), dtype=np.float32)
            if sample.shape != image.shape:
                raise UsageError(f"`sampler` must return an image of shape {image.shape}, got {sample.shape}.")
            if self._centre or not np.array_equal(sample, image):
                return sample
        raise ProbeError(
            f"The range around an image must hold other images, got the image itself {TRIES} times in a row. Give "
            "`sampler` more strength, or set include_centre=True."
        )

    def evidence(self, scored: ScoredProbes) -> MethodEvidence:
        """How well the inner attack tells the images themselves: what is above the ranges is exact recognition."""
        sides = []
        for images in (scored.probes.members, scored.probes.nonmembers):
            parts = [
                self._inner_scores(
                    scored.model, torch.from_numpy(batch), scored.seed, images.prompts(places), BATCH_SIZE
                )
                for places, batch in images.batches(BATCH_SIZE)
            ]
            sides.append(np.concatenate(parts))
        if min(map(len, sides)) < 2:
            return MethodEvidence()
        area = auroc(*sides, confidence=scored.confidence)
        counts = f"{len(sides[0])} members, {len(sides[1])} non-members"
        text = (
            "Ranges were sampled without the image itself. What the inner attack tells of the images themselves beyond "
            "their ranges is recognition of exactly these images."
        )
        name = f"AUROC of the images themselves ({self._inner.title})"
        shown = Estimate(
            name=name, value=area.value, low=area.low, high=area.high, confidence=scored.confidence, counts=counts
        )
        return MethodEvidence(estimates=(shown,), notes=() if self._centre else (text,))
