"""Would the images tell members apart without any model? The same masks and comparison, restored model-free."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership.drc.compare import Embedding, find_comparison
from pytest_diffprivacy.models.protocols import Denoiser, Prompt
from pytest_diffprivacy.models.scoring import BATCH_SIZE, as_images, batch_condition, score_images
from pytest_diffprivacy.restoration.degrade import Batch
from pytest_diffprivacy.restoration.masks import Masks, find_degradations
from pytest_diffprivacy.restoration.plan import FILLS, Fill, fill_in


def control_scores(
    images: Tensor | ArrayLike,
    masks: Masks,
    *,
    fill: Fill = "harmonic",
    comparison: str | Embedding = "rms_hidden",
    seed: int = 0,
    model: Denoiser | None = None,
    prompts: list[Prompt] | None = None,
    batch_size: int = BATCH_SIZE,
) -> NDArray[np.float64]:
    """Score images as DRC does, with a restoration that knows no model.

    If these scores separate members from non-members (AUROC above 0.55, or its interval excludes 0.5), the split is
    confounded, and DRC's own AUROC counts only as far as it exceeds theirs.

    Args:
        images: (n, channels, height, width) in [0, 1].
        masks: what `drc_scores` was given.
        fill: "mean" of the known pixels; "harmonic" (the Laplace equation on hidden pixels) or "biharmonic". For blur
            and downsample there is nothing to fill: A^+ y itself is compared.
        comparison: what `drc_scores` was given.
        seed: seed of random masks.
        model: needed only where the masks come from it (`Saliency()` without maps); it restores nothing here.
        prompts: for those masks of a conditional model.
        batch_size: images handled at once.

    Returns:
        float64 (n,), higher = restored better, averaged over masks.

    Raises:
        UsageError: a bad argument.

    Source: Follows METHODS 3.11, controls 1 and 2.
    """
    checked = as_images(images)
    if fill not in FILLS:
        raise UsageError(f"`fill` must be one of {', '.join(FILLS)}, got {fill!r}.")
    compare, found = find_comparison(comparison), find_degradations(masks)

    def score_batch(part: slice, batch: Tensor) -> Tensor:
        condition = None if model is None else batch_condition(model, prompts, part, len(checked))
        whole = Batch(batch, part, len(checked), seed, model, condition)
        parts = [d.degrade(whole) for d in found]
        return torch.stack([compare(fill_in(p, fill), batch, p.hidden) for p in parts]).mean(0)

    return score_images(checked, score_batch, batch_size=batch_size, method="The control of DRC")
