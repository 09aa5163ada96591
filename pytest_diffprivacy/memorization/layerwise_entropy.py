"""Layer-wise entropy: does one early layer spread its attention over the prompt already in the first step?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.memorization.detector import Arrays, Detector, Needs, Scores, Seen
from pytest_diffprivacy.memorization.run import BATCH_SIZE, Sampling, detector_scores
from pytest_diffprivacy.statistics.arguments import check_count

LAYER = 3


def layerwise_entropy_scores(
    model: object,
    prompts: Sequence[str],
    *,
    latents: Tensor | NDArray[Any] | None = None,
    images_per_prompt: int = 4,
    layer: int = LAYER,
    sampling_steps: int = 50,
    guidance_scale: float = 7.5,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Scores:
    """Score prompts by the entropy of one layer's cross-attention at the first step (LE), averaged over images.

    `-sum_tokens a log a` of the conditional branch's attention, averaged over positions and heads.

    Args:
        model: a text-to-image model whose cross-attention can be read.
        prompts: texts, none of them empty.
        latents: x_T, (prompts, images, *model.sample_shape); None: drawn from the seed and each prompt.
        images_per_prompt: images a prompt; the latents' own if they are given.
        layer: index among the cross-attention layers in the order down, mid, up; 3 is the authors' for SD 1.x.
        sampling_steps: DDIM steps of a whole walk, which fixes the first timestep.
        guidance_scale: of no effect at the first step.
        seed: of x_T.
        batch_size: images in one network call.

    Returns:
        float64 (prompts,), higher = memorized.

    Raises:
        UsageError: empty prompts, or latents that do not fit.
        ModelError: the model takes no texts, its attention cannot be read, or it has no such layer.
        AuditError: the model's output is not finite.

    Source: Implements Ren et al. 2024, section 4.3 (LE), except that heads are averaged in each layer whatever their
        number (METHODS 4.4).
    """
    return detector_scores(
        LAYERWISE_ENTROPY, model, prompts, Sampling(images_per_prompt, sampling_steps, guidance_scale, seed),
        latents=latents, batch_size=batch_size, layer=layer,
    )  # fmt: skip


def entropy_terms(attention: Tensor) -> Tensor:
    """-a log a in at least single precision, with the limit 0 at a = 0; same shape.

    Source: METHODS 4.4; a clamp, because an underflow would give 0 * log 0.
    """
    wide = attention.double()
    return -wide * wide.clamp_min(torch.finfo(torch.float64).tiny).log()


@final
class _FirstLayer:
    """The layer's attention over tokens, (rows, tokens)."""

    def __init__(self, layer: int) -> None:
        self._layer = layer
        self._attention: Tensor | None = None

    def see(self, step: Seen) -> None:
        assert step.attention is not None, "attention was asked for"
        if self._layer >= len(step.attention.tokens):
            raise ModelError(
                f"`layer` must be below the network's {len(step.attention.tokens)} cross-attention layers, got "
                f"{self._layer!r}. Choose the second layer of its second down block."
            )
        self._attention = step.attention.tokens[self._layer]

    def arrays(self) -> Arrays:
        assert self._attention is not None
        return {"attention": self._attention.cpu().numpy()}


def _needs(sampling_steps: int, *, layer: int) -> Needs:
    check_count("layer", layer, least=0)
    return Needs(1, frozenset({0}))


def _scores(arrays: Arrays, *, layer: int) -> Scores:
    return np.asarray(entropy_terms(torch.from_numpy(arrays["attention"])).sum(-1).mean(1).numpy())


def _observer(*, layer: int) -> _FirstLayer:
    return _FirstLayer(layer)


def _evaluations(sampling_steps: int, *, layer: int) -> int:
    return 2


LAYERWISE_ENTROPY = Detector(
    name="layerwise_entropy",
    title="Layer-wise attention entropy",
    access="cross-attention",
    source="Ren et al. 2024, section 4.3 (LE)",
    needs=_needs,
    observer=_observer,
    scores=_scores,
    defaults={"layer": LAYER},
    version=1,
    evaluations=_evaluations,
)
