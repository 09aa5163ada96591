"""Bright ending: how strongly the prompt pulls where its end token lights up in the last step."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from pytest_diffprivacy.memorization.detector import detector
from pytest_diffprivacy.memorization.observation import Arrays, Attention, Observation, Observed, Seen, last_step
from pytest_diffprivacy.methods import Access, Need

LAYERS = 2


@detector(
    title="Bright ending",
    access=Access.GREY_BOX,
    source="Chen et al. 2025 (Bright Ending), section 3.3",
    version=1,
    needs={Need.ATTENTION},
)
def bright_ending() -> Observation:
    """Score prompts by `|| (eps_c - eps_u) * M ||_2 / mean(M)`, averaged over all steps and then over images (BE).

    M is the attention of the last step to the end token in the first two cross-attention layers: bright where an image,
    or a part of it, is memorized. One pass: the differences of all steps are kept until M is known.

    Source: Implements Chen et al. 2025 (Bright Ending), section 3.3, whatever the resolution and the number of heads
        (METHODS 4.5).
    """

    def pull(step: Seen) -> Mapping[str, Tensor]:
        if not step.last:
            return {"pull": step.pull}
        assert step.attention is not None, "attention is read at this step"
        size = (int(step.x_t.shape[-2]), int(step.x_t.shape[-1]))
        mask = end_token_mask(step.attention, torch.from_numpy(step.token_counts), size)
        return {"pull": step.pull, "mask": mask.double()}

    def under_the_mask(observed: Observed) -> Arrays:
        (mask,) = observed["mask"]
        brightness = mask.flatten(1).mean(1)
        norms = [
            torch.linalg.vector_norm((pull.double() * mask).flatten(1), dim=1) / brightness for pull in observed["pull"]
        ]
        return {"mask": mask[:, 0].cpu().numpy(), "norms": torch.stack(norms, 1).cpu().numpy()}

    return Observation(
        at=range,
        observe=pull,
        formula=lambda arrays: arrays["norms"].mean((1, 2)),
        kept=under_the_mask,
        attention=last_step,
        maps=LAYERS,
    )


bright_ending_scores = bright_ending.scores


def end_token_mask(attention: Attention, token_counts: Tensor, size: tuple[int, int]) -> Tensor:
    """Attention to the last of each row's tokens, averaged over the layers: (rows, 1, *size) of the latent.

    Layers that look at fewer positions than the first one are left out; a mask coarser than the latent is repeated.
    """
    finest = attention.maps[0].shape[1]
    layers = [kept for kept in attention.maps if kept.shape[1] == finest]
    shrink = round(math.sqrt(size[0] * size[1] / finest))
    end = (token_counts - 1).to(layers[0].device)
    rows = torch.arange(len(end), device=end.device)
    mask = torch.stack([kept[rows, :, end] for kept in layers]).mean(0)
    grid = mask.reshape(len(rows), 1, math.ceil(size[0] / shrink), -1)
    return torch.nn.functional.interpolate(grid, size=size, mode="nearest")
