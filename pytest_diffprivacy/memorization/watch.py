"""Prompts watched by detectors: sampled once for all of them, checked before and after, and cut into units of work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.engine import Unit
from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.memorization.observation import Arrays, PromptSampling, observe_walks
from pytest_diffprivacy.models.noise import prompt_noise
from pytest_diffprivacy.models.protocols import PromptedDenoiser, require_cross_attention, require_prompted
from pytest_diffprivacy.probes import PromptSet
from pytest_diffprivacy.slices import in_batches
from pytest_diffprivacy.statistics.arguments import check_count

if TYPE_CHECKING:
    from pytest_diffprivacy.memorization.detector import ConfiguredDetector

BATCH_SIZE: Final = 64


def watch_prompts(
    model: object,
    prompts: Sequence[str],
    detectors: Mapping[str, ConfiguredDetector],
    sampling: PromptSampling,
    *,
    latents: Tensor | NDArray[Any] | None = None,
    batch_size: int = BATCH_SIZE,
) -> dict[str, Arrays]:
    """Sample prompts once and let every detector observe.

    Args:
        model: grey-box access to a text-to-image model; more where a detector needs it.
        prompts: texts, none of them empty.
        detectors: by a name of the caller's.
        sampling: how prompts are sampled.
        latents: replaces the noise: (prompts, images, *model.sample_shape); `images_per_prompt` is then theirs.
        batch_size: images in one network call, which holds two rows for each.

    Returns:
        For each detector its arrays, (prompts, images, ...). Scores of a prompt do not depend on those beside it.

    Raises:
        UsageError: empty prompts, or latents or parameters that do not fit.
        ModelError: the model takes no texts, or its attention cannot be captured.
        AuditError: what a detector kept is not finite.

    Source: METHODS 4.0.
    """
    purpose = " and ".join(sorted({chosen.title for chosen in detectors.values()}))
    denoiser = require_prompted(model, purpose)
    texts = checked_prompts(prompts)
    noise = _noise(denoiser, texts, sampling, latents)
    images, total = noise.shape[1], sampling.sampling_steps
    for chosen in detectors.values():
        check_images(chosen, images)
    check_count("batch_size", batch_size, least=1)
    observations = [chosen.observation() for chosen in detectors.values()]
    for observation in observations:
        observation.at(total)  # refuses a walk that is too short for it before anything runs
    if any(observation.reads(total) for observation in observations):
        require_cross_attention(model, purpose)
    rows = [text for text in texts for _ in range(images)]
    makers = {name: chosen.observation for name, chosen in detectors.items()}
    kept = observe_walks(denoiser, rows, noise.flatten(0, 1), makers, sampling, batch_size)
    return {name: _by_prompt(detectors[name], arrays, len(texts), images) for name, arrays in kept.items()}


def prompt_units(
    prompts: PromptSet, detectors: Mapping[str, ConfiguredDetector], sampling: PromptSampling
) -> list[Unit]:
    """Units of about 64 images: their arrays are {"name/array": (prompts, images, ...)} for each detector.

    Labels, events and keys hold digests of the prompts, never their texts.
    """
    identities = {name: chosen.identity for name, chosen in detectors.items()}
    stored = None not in identities.values()
    units = []
    for part in in_batches(len(prompts), max(1, BATCH_SIZE // sampling.images_per_prompt)):
        depends = {
            "method": "watch prompts",
            "version": 1,
            "detectors": identities,
            "sampling": asdict(sampling),
            "prompts": prompts.part_digest(part.start, part.stop),
        }
        label = f"{' + '.join(detectors)}, {prompts.role}s {part.start}-{part.stop - 1}"
        compute = partial(_watch_part, tuple(prompts.texts[part]), dict(detectors), sampling)
        size = (part.stop - part.start) * sampling.images_per_prompt
        units.append(Unit(label, depends if stored else None, compute, size))
    return units


def joined_units(parts: Iterable[Mapping[str, Any]]) -> dict[str, Arrays]:
    """The arrays of all units by detector, (prompts, images, ...)."""
    collected: dict[str, dict[str, list[Any]]] = {}
    for part in parts:
        for key, array in part.items():
            name, _, kind = key.rpartition("/")
            collected.setdefault(name, {}).setdefault(kind, []).append(array)
    return {name: {kind: np.concatenate(rows) for kind, rows in kinds.items()} for name, kinds in collected.items()}


def checked_prompts(prompts: Sequence[str]) -> list[str]:
    """The prompts as a list; refuses none, one text instead of a list of them, or an empty one."""
    if isinstance(prompts, str) or not isinstance(prompts, Iterable):
        raise UsageError(f"`prompts` must be a list of at least one text, got {prompts!r}.")
    texts = list(prompts)
    if not texts:
        raise UsageError("`prompts` must be a list of at least one text, got an empty one.")
    for position, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise UsageError(
                f"`prompts` must be texts that say something, got {text!r} at position {position}. The empty prompt is "
                "what every prompt is compared with."
            )
    return texts


def check_images(chosen: ConfiguredDetector, images: int) -> None:
    """Refuse fewer images a prompt than the detector needs."""
    least = chosen.method.least_images
    if images < least:
        raise UsageError(f"`images_per_prompt` must be at least {least} for {chosen.title}, got {images}.")


def _watch_part(
    texts: tuple[str, ...],
    detectors: dict[str, ConfiguredDetector],
    sampling: PromptSampling,
    model: Any,
    batch_size: int,
) -> Arrays:
    seen = watch_prompts(model, texts, detectors, sampling, batch_size=min(batch_size, BATCH_SIZE))
    return {f"{name}/{kind}": array for name, arrays in seen.items() for kind, array in arrays.items()}


def _noise(
    model: PromptedDenoiser, texts: list[str], sampling: PromptSampling, latents: Tensor | NDArray[Any] | None
) -> Tensor:
    if latents is None:
        return prompt_noise(texts, sampling.images_per_prompt, model.sample_shape, sampling.seed)
    noise = torch.from_numpy(np.ascontiguousarray(latents)) if isinstance(latents, np.ndarray) else latents
    if not isinstance(noise, Tensor) or not noise.is_floating_point():
        kind = noise.dtype if isinstance(noise, Tensor) else type(latents).__name__
        raise UsageError(f"`latents` must be a tensor or an array of floats, standard normal noise, got {kind}.")
    wanted = (len(texts), noise.shape[1] if noise.ndim > 1 else 0, *model.sample_shape)
    if tuple(noise.shape) != wanted or not wanted[1]:
        shape = ", ".join(map(str, model.sample_shape))
        raise UsageError(
            f"`latents` must have shape ({len(texts)}, images, {shape}): one x_T for each image of each prompt, got "
            f"{tuple(noise.shape)}."
        )
    if not bool(noise.isfinite().all()):
        raise UsageError("`latents` must be finite, got NaN or infinite values. Draw them with torch.randn.")
    return noise


def _by_prompt(chosen: ConfiguredDetector, arrays: Arrays, prompts: int, images: int) -> Arrays:
    """Finite arrays of prompts x images, as (prompts, images, ...)."""
    for array in arrays.values():
        finite = np.isfinite(array.reshape(prompts * images, -1)).all(1)
        if not finite.all():
            raise AuditError(
                f"{chosen.title}: the model's output is not finite for {int((~finite).sum())} of {prompts * images} "
                "images. Check the checkpoint and its precision (try dtype float32)."
            )
    return {name: array.reshape(prompts, images, *array.shape[1:]) for name, array in arrays.items()}
