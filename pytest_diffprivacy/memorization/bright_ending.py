"""Bright ending: how strongly does the prompt pull where its end token lights up in the last step?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.memorization.detector import Arrays, Attention, Detector, Needs, Scores, Seen
from pytest_diffprivacy.memorization.run import BATCH_SIZE, Sampling, detector_scores

LAYERS = 2


def bright_ending_scores(
    model: object,
    prompts: Sequence[str],
    *,
    latents: Tensor | NDArray[Any] | None = None,
    images_per_prompt: int = 4,
    sampling_steps: int = 50,
    guidance_scale: float = 7.5,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Scores:
    """Score prompts by `|| (eps_c - eps_u) * M ||_2 / mean(M)`, averaged over all steps and then over images (BE).

    M is the attention of the last step to the end token in the first two cross-attention layers: bright where an image,
    or a part of it, is memorized. One pass: the differences of all steps are kept until M is known.

    Args:
        model: a text-to-image model whose cross-attention can be read.
        prompts: texts, none of them empty.
        latents: x_T, (prompts, images, *model.sample_shape); None: drawn from the seed and each prompt.
        images_per_prompt: images a prompt; the latents' own if they are given.
        sampling_steps: DDIM steps.
        guidance_scale: of the walk.
        seed: of x_T.
        batch_size: images in one network call.

    Returns:
        float64 (prompts,), higher = memorized.

    Raises:
        UsageError: empty prompts, or latents that do not fit.
        ModelError: the model takes no texts, or its attention cannot be read.
        AuditError: the model's output is not finite.

    Source: Implements Chen et al. 2025 (Bright Ending), section 3.3, whatever the resolution and the number of heads
        (METHODS 4.5).
    """
    return detector_scores(
        BRIGHT_ENDING, model, prompts, Sampling(images_per_prompt, sampling_steps, guidance_scale, seed),
        latents=latents, batch_size=batch_size,
    )  # fmt: skip


def end_token_mask(attention: Attention, token_counts: Tensor, size: tuple[int, int]) -> Tensor:
    """Attention to the end token, averaged over the layers, (rows, 1, height, width) of the latent.

    Layers that look at fewer positions than the first one are left out; a mask coarser than the latent is repeated.

    Args:
        attention: of the last step.
        token_counts: (rows,), tokens with their ends, at most as many as the encoder takes.
        size: height and width of the latent.
    """
    finest = attention.maps[0].shape[1]
    layers = [kept for kept in attention.maps if kept.shape[1] == finest]
    shrink = round(math.sqrt(size[0] * size[1] / finest))
    end = (token_counts - 1).to(layers[0].device)
    rows = torch.arange(len(end), device=end.device)
    mask = torch.stack([kept[rows, :, end] for kept in layers]).mean(0)
    grid = mask.reshape(len(rows), 1, math.ceil(size[0] / shrink), -1)
    return torch.nn.functional.interpolate(grid, size=size, mode="nearest")


@final
class _Bright:
    """The mask (rows, height, width), and norms (rows, steps) under it."""

    def __init__(self) -> None:
        self._differences: list[Tensor] = []
        self._mask: Tensor | None = None

    def see(self, step: Seen) -> None:
        self._differences.append(step.eps_c - step.eps_u)
        if step.last:
            assert step.attention is not None, "attention was asked for"
            size = (int(step.x_t.shape[-2]), int(step.x_t.shape[-1]))
            self._mask = end_token_mask(step.attention, torch.from_numpy(step.token_counts), size).double()

    def arrays(self) -> Arrays:
        assert self._mask is not None, "the last step was seen"
        mask = self._mask
        brightness = mask.flatten(1).mean(1)
        norms = [
            torch.linalg.vector_norm((difference.double() * mask).flatten(1), dim=1) / brightness
            for difference in self._differences
        ]
        return {"mask": mask[:, 0].cpu().numpy(), "norms": torch.stack(norms, 1).cpu().numpy()}


def _scores(arrays: Arrays) -> Scores:
    return np.asarray(arrays["norms"].mean((1, 2)))


def _needs(sampling_steps: int) -> Needs:
    return Needs(sampling_steps, frozenset({sampling_steps - 1}), LAYERS)


def _evaluations(sampling_steps: int) -> int:
    return 2 * sampling_steps


BRIGHT_ENDING = Detector(
    name="bright_ending",
    title="Bright ending",
    access="cross-attention",
    source="Chen et al. 2025 (Bright Ending), section 3.3",
    needs=_needs,
    observer=_Bright,
    scores=_scores,
    defaults={},
    version=1,
    evaluations=_evaluations,
)
