"""Attention entropy: is attention still spread over the prompt, and over what follows it, in the last steps?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.memorization.detector import Arrays, Detector, Needs, Scores, Seen
from pytest_diffprivacy.memorization.layerwise_entropy import entropy_terms
from pytest_diffprivacy.memorization.run import BATCH_SIZE, Sampling, detector_scores
from pytest_diffprivacy.statistics.arguments import check_count

LAST = 10


def attention_entropy_scores(
    model: object,
    prompts: Sequence[str],
    *,
    latents: Tensor | NDArray[Any] | None = None,
    images_per_prompt: int = 4,
    last: int = LAST,
    signed: bool = True,
    sampling_steps: int = 50,
    guidance_scale: float = 7.5,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Scores:
    """Score prompts by the entropy of cross-attention in the last sampling steps (AE), averaged over images.

    `mean_last E_t + (mean_last E^S_t - E^S_0)`, E_t the entropy over all tokens of the attention averaged over
    positions, heads and layers, E^S_t its part from the prompt's end token on.

    Args:
        model: a text-to-image model whose cross-attention can be read.
        prompts: texts, none of them empty.
        latents: x_T, (prompts, images, *model.sample_shape); None: drawn from the seed and each prompt.
        images_per_prompt: images a prompt; the latents' own if they are given.
        last: how many of the last steps are averaged; the authors' 10 of 50.
        signed: the difference as the authors' code takes it; False: its absolute value, as the paper prints it.
        sampling_steps: DDIM steps.
        guidance_scale: of the walk.
        seed: of x_T.
        batch_size: images in one network call.

    Returns:
        float64 (prompts,), higher = memorized.

    Raises:
        UsageError: empty prompts, or latents or steps that do not fit.
        ModelError: the model takes no texts, or its attention cannot be read.
        AuditError: the model's output is not finite.

    Source: Implements Ren et al. 2024, Eq. 7 (AE), with the authors' sign; heads are averaged first, then layers
        (METHODS 4.4).
    """
    return detector_scores(
        ATTENTION_ENTROPY, model, prompts, Sampling(images_per_prompt, sampling_steps, guidance_scale, seed),
        latents=latents, batch_size=batch_size, last=last, signed=signed,
    )  # fmt: skip


@final
class _Entropies:
    """Entropy over all tokens and over the end, (rows, steps that were read)."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._whole, self._end = list[Tensor](), list[Tensor]()

    def see(self, step: Seen) -> None:
        if step.attention is None or (0 < step.index < step.total - self._last):
            return
        terms = entropy_terms(step.attention.tokens.double().mean(0)).cpu()
        place = torch.arange(terms.shape[1])[None, :]
        after = place >= torch.from_numpy(step.token_counts)[:, None] - 1
        self._whole.append(terms.sum(1))
        self._end.append((terms * after).sum(1))

    def arrays(self) -> Arrays:
        return {"whole": torch.stack(self._whole, 1).numpy(), "end": torch.stack(self._end, 1).numpy()}


def _needs(sampling_steps: int, *, last: int, signed: bool) -> Needs:
    if not check_count("last", last, least=1) < sampling_steps:
        raise UsageError(f"`last` must be at least 1 and below `sampling_steps` = {sampling_steps}, got {last!r}.")
    return Needs(sampling_steps, frozenset({0, *range(sampling_steps - last, sampling_steps)}))


def _scores(arrays: Arrays, *, last: int, signed: bool) -> Scores:
    whole, end = arrays["whole"], arrays["end"]
    difference = end[..., 1:].mean(-1) - end[..., 0]
    per_image = whole[..., 1:].mean(-1) + (difference if signed else np.abs(difference))
    return np.asarray(per_image.mean(1))


def _observer(*, last: int, signed: bool) -> _Entropies:
    return _Entropies(last)


def _evaluations(sampling_steps: int, *, last: int, signed: bool) -> int:
    return 2 * sampling_steps


ATTENTION_ENTROPY = Detector(
    name="attention_entropy",
    title="Attention entropy",
    access="cross-attention",
    source="Ren et al. 2024, Eq. 7 (AE), with the authors' sign",
    needs=_needs,
    observer=_observer,
    scores=_scores,
    defaults={"last": LAST, "signed": True},
    version=1,
    evaluations=_evaluations,
)
