"""Attention entropy: how far attention is still spread over the prompt, and over what follows it, in the last steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.memorization.detector import detector
from pytest_diffprivacy.memorization.layerwise_entropy import entropy_terms
from pytest_diffprivacy.memorization.observation import Arrays, Observation, Seen
from pytest_diffprivacy.methods import Access, Need
from pytest_diffprivacy.statistics.arguments import check_count


@detector(
    title="Attention entropy",
    access=Access.GREY_BOX,
    source="Ren et al. 2024, Eq. 7 (AE), with the authors' sign",
    version=1,
    needs={Need.ATTENTION},
)
def attention_entropy(*, last: int = 10, signed: bool = True) -> Observation:
    """Score prompts by the entropy of cross-attention in the last sampling steps (AE), averaged over images.

    `mean_last E_t + (mean_last E^S_t - E^S_0)`, E_t the entropy over all tokens of the attention averaged over
    positions, heads and layers, E^S_t its part from the prompt's end token on.

    Args:
        last: how many of the last steps are averaged; the authors' 10 of 50.
        signed: the difference as the authors' code takes it; False: its absolute value, as the paper prints it.

    Source: Implements Ren et al. 2024, Eq. 7 (AE), with the authors' sign; heads are averaged first, then layers
        (METHODS 4.4).
    """
    check_count("last", last, least=1)

    def first_and_last(sampling_steps: int) -> Collection[int]:
        if last >= sampling_steps:
            raise UsageError(f"`last` must be at least 1 and below `sampling_steps` = {sampling_steps}, got {last!r}.")
        return [0, *range(sampling_steps - last, sampling_steps)]

    def entropies(step: Seen) -> Mapping[str, Tensor]:
        assert step.attention is not None, "attention is read at this step"
        terms = entropy_terms(step.attention.tokens.double().mean(0)).cpu()
        place = torch.arange(terms.shape[1])[None, :]
        after = place >= torch.from_numpy(step.token_counts)[:, None] - 1
        return {"whole": terms.sum(1), "end": (terms * after).sum(1)}

    def formula(arrays: Arrays) -> NDArray[np.float64]:
        whole, end = arrays["whole"], arrays["end"]
        difference = end[..., 1:].mean(-1) - end[..., 0]
        per_image = whole[..., 1:].mean(-1) + (difference if signed else np.abs(difference))
        return np.asarray(per_image.mean(1))

    return Observation(at=first_and_last, observe=entropies, formula=formula, attention=first_and_last)


attention_entropy_scores = attention_entropy.scores
