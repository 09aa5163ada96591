"""How are prompts shown to detectors? Sampled once by guided DDIM, with every detector watching the same steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.memorization.detector import Arrays, Asked, Attention, Detector, Needs, Scores, Seen
from pytest_diffprivacy.models.attention import AttentionRecord
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.guidance import guided_ddim
from pytest_diffprivacy.models.noise import prompt_noise
from pytest_diffprivacy.models.protocols import PromptedDenoiser, require_cross_attention, require_prompted
from pytest_diffprivacy.statistics.arguments import check_count, check_finite

BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class Sampling:
    """How prompts are sampled, alike for all detectors of a run.

    Attributes:
        images_per_prompt: images a prompt, each from its own noise.
        sampling_steps: DDIM steps of a whole walk.
        guidance_scale: moves x_t from the second step on; scores use the two branches as they are.
        seed: of x_T; each image's noise also depends on its prompt.
    """

    images_per_prompt: int = 4
    sampling_steps: int = 50
    guidance_scale: float = 7.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("images_per_prompt", "sampling_steps"):
            check_count(name, getattr(self, name), least=1)
        check_finite("guidance_scale", self.guidance_scale)


def watch_prompts(
    model: object,
    prompts: Sequence[str],
    asked: Mapping[str, Asked],
    sampling: Sampling,
    *,
    latents: Tensor | NDArray[Any] | None = None,
    batch_size: int = BATCH_SIZE,
) -> dict[str, Arrays]:
    """Sample prompts once and let every detector watch.

    Args:
        model: grey-box access to a text-to-image model; more where a detector needs it.
        prompts: texts, none of them empty.
        asked: detectors by a name of the caller's.
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
    purpose = " and ".join(sorted({entry.detector.title for entry in asked.values()}))
    denoiser = require_prompted(model, purpose)
    texts = checked_prompts(prompts)
    noise = _noise(denoiser, texts, sampling, latents)
    images = noise.shape[1]
    for entry in asked.values():
        if images < entry.detector.least_images:
            raise UsageError(
                f"`images_per_prompt` must be at least {entry.detector.least_images} for {entry.detector.title}, "
                f"got {images}."
            )
    check_count("batch_size", batch_size, least=1)
    needs = {name: entry.needs(sampling.sampling_steps) for name, entry in asked.items()}
    if any(need.attention for need in needs.values()):
        require_cross_attention(model, purpose)
    rows, flat = [text for text in texts for _ in range(images)], noise.flatten(0, 1)
    kept: dict[str, list[Arrays]] = {name: [] for name in asked}
    for start in range(0, len(rows), batch_size):
        part = slice(start, start + batch_size)
        for name, arrays in _watch_batch(denoiser, rows[part], flat[part], asked, needs, sampling).items():
            kept[name].append(arrays)
    return {name: _gathered(asked[name].detector, parts, len(texts), images) for name, parts in kept.items()}


def detector_scores(
    detector: Detector,
    model: object,
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    latents: Tensor | NDArray[Any] | None,
    batch_size: int,
    **parameters: Any,
) -> Scores:
    """Scores (prompts,) of one detector that runs alone."""
    entry = Asked(detector, parameters)
    arrays = watch_prompts(model, prompts, {detector.name: entry}, sampling, latents=latents, batch_size=batch_size)
    return entry.scores(arrays[detector.name])


def checked_prompts(prompts: Sequence[str]) -> list[str]:
    """The prompts as a list.

    Raises:
        UsageError: none, one text instead of a list of them, or an empty one.
    """
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


def _noise(
    model: PromptedDenoiser, texts: list[str], sampling: Sampling, latents: Tensor | NDArray[Any] | None
) -> Tensor:
    if latents is None:
        return prompt_noise(texts, sampling.images_per_prompt, model.sample_shape, sampling.seed)
    noise = torch.from_numpy(np.ascontiguousarray(latents)) if isinstance(latents, np.ndarray) else latents
    if not isinstance(noise, Tensor) or not noise.is_floating_point():
        kind = noise.dtype if isinstance(noise, Tensor) else type(latents).__name__
        raise UsageError(f"`latents` must be a tensor or an array of floats, standard normal noise, got {kind}.")
    wanted = (len(texts), noise.shape[1] if noise.ndim > 1 else 0, *model.sample_shape)
    if tuple(noise.shape) != wanted or not wanted[1]:
        asked = ", ".join(map(str, model.sample_shape))
        raise UsageError(
            f"`latents` must have shape ({len(texts)}, images, {asked}): one x_T for each image of each prompt, got "
            f"{tuple(noise.shape)}."
        )
    if not bool(noise.isfinite().all()):
        raise UsageError("`latents` must be finite, got NaN or infinite values. Draw them with torch.randn.")
    return noise


@torch.no_grad()
def _watch_batch(
    model: PromptedDenoiser,
    texts: list[str],
    x_T: Tensor,
    asked: Mapping[str, Asked],
    needs: Mapping[str, Needs],
    sampling: Sampling,
) -> dict[str, Arrays]:
    told = model.condition(texts, len(texts))
    assert told is not None, "a text-to-image model is told its prompts"
    counts = np.minimum(np.asarray(model.token_counts(texts), dtype=np.int64), model.token_limit)
    observers = {name: entry.detector.observer(**entry.chosen) for name, entry in asked.items()}
    for step in _steps(model, x_T, told, counts, list(needs.values()), sampling):
        for name, observer in observers.items():
            if step.index < needs[name].steps:
                observer.see(step)
    return {name: observer.arrays() for name, observer in observers.items()}


def _steps(
    model: PromptedDenoiser,
    x_T: Tensor,
    told: Conditioning,
    counts: NDArray[np.int64],
    needs: Sequence[Needs],
    sampling: Sampling,
) -> Iterator[Seen]:
    """As many steps as the most demanding observer needs, with attention where one reads it."""
    total = sampling.sampling_steps
    times = model.schedule.sampling_timesteps(total)
    walk = guided_ddim(model, x_T, told, steps=total, guidance_scale=sampling.guidance_scale)
    for index in range(max(need.steps for need in needs)):
        readers = [need for need in needs if index in need.attention]
        maps = max((need.maps for need in readers), default=0)
        with _conditional_attention(model, maps, len(x_T)) if readers else nullcontext() as record:
            step = next(walk)
        attention = None if record is None else Attention(record.tokens, tuple(record.maps))
        yield Seen(model, index, total, times, step.x_t, step.eps_u, step.eps_c, step.x_next, told, counts, attention)


def _conditional_attention(model: PromptedDenoiser, maps: int, rows: int) -> AbstractContextManager[AttentionRecord]:
    """Watch the conditional half, which a guided evaluation holds after so many rows without the prompt."""
    return require_cross_attention(model, "").cross_attention(maps=maps, skip=rows)


def _gathered(detector: Detector, parts: list[Arrays], prompts: int, images: int) -> Arrays:
    """The batches' arrays, one after the other, as (prompts, images, ...)."""
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            broken = int((~np.isfinite(array.reshape(prompts * images, -1)).all(1)).sum())
            raise AuditError(
                f"{detector.title}: the model's output is not finite for {broken} of {prompts * images} images. Check "
                "the checkpoint and its precision (try dtype float32)."
            )
        arrays[name] = array.reshape(prompts, images, *array.shape[1:])
    return arrays
