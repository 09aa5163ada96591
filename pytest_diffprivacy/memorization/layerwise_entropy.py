"""Layer-wise entropy: whether one early layer spreads its attention over the prompt already in the first step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.memorization.detector import detector
from pytest_diffprivacy.memorization.observation import Observation, Seen, first_step, once
from pytest_diffprivacy.methods import Access, Need
from pytest_diffprivacy.statistics.arguments import check_count


@detector(
    title="Layer-wise attention entropy",
    access=Access.GREY_BOX,
    source="Ren et al. 2024, section 4.3 (LE)",
    version=1,
    needs={Need.ATTENTION},
)
def layerwise_entropy(*, layer: int = 3) -> Observation:
    """Score prompts by the entropy of one layer's cross-attention at the first step (LE), averaged over images.

    `-sum_tokens a log a` of the conditional branch's attention, averaged over positions and heads.

    Args:
        layer: index among the cross-attention layers in the order down, mid, up; 3 is the authors' for SD 1.x.

    Raises:
        ModelError: the model takes no texts, its attention cannot be read, or it has no such layer.

    Source: Implements Ren et al. 2024, section 4.3 (LE), except that heads are averaged in each layer whatever their
        number (METHODS 4.4).
    """
    check_count("layer", layer, least=0)

    def attention(step: Seen) -> Mapping[str, Tensor]:
        assert step.attention is not None, "attention is read at this step"
        layers = step.attention.tokens
        if layer >= len(layers):
            raise ModelError(
                f"`layer` must be below the network's {len(layers)} cross-attention layers, got {layer!r}. Choose the "
                "second layer of its second down block."
            )
        return {"attention": layers[layer]}

    return Observation(
        at=first_step,
        observe=attention,
        formula=lambda arrays: entropy_terms(torch.from_numpy(arrays["attention"])).sum(-1).mean(1).numpy(),
        kept=once,
        attention=first_step,
    )


layerwise_entropy_scores = layerwise_entropy.scores


def entropy_terms(attention: Tensor) -> Tensor:
    """-a log a in at least single precision, with the limit 0 at a = 0; same shape.

    Source: METHODS 4.4; a clamp, because an underflow would give 0 * log 0.
    """
    wide = attention.double()
    return -wide * wide.clamp_min(torch.finfo(torch.float64).tiny).log()
