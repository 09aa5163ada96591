"""LiRA: whether the target's loss is that of models which saw the image, or of models which did not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.membership.attack import shadow_attack
from pytest_diffprivacy.membership.loss import DRAWS, TIMESTEPS, loss_scores
from pytest_diffprivacy.membership.shadow import (
    Measure,
    PlannedShadows,
    ShadowScores,
)
from pytest_diffprivacy.methods import Access, Method, Need, Published, register
from pytest_diffprivacy.models.protocols import Denoiser, Prompt
from pytest_diffprivacy.models.scoring import BATCH_SIZE

Variant = Literal["online", "offline"]
Variance = Literal["pooled", "per_example"]
FEW = 64  # shadows a side; with fewer, an example's own variance is worth less than the pooled one
FLOOR = 1e-3

LIRA = Published(
    name="lira",
    title="LiRA",
    access=Access.GREY_BOX,
    source="Carlini et al. 2022 (LiRA), algorithm 1; Carlini et al. 2023, section 5.2",
    needs=frozenset({Need.SHADOW_MODELS}),
    built_by="lira_attack(shadows)",
)
register(LIRA)

FloatArray = NDArray[np.float64]


def averaged_losses(model: Denoiser, images: Tensor | ArrayLike, *, flip: bool = True, **parameters: Any) -> FloatArray:
    """Measure the denoising loss averaged over noise draws and, with `flip`, over the image and its mirror image.

    Noise comes from the seed and each view's own digest, so that it is the same for the target and every shadow model.

    Args:
        model: grey-box access.
        images: (n, channels, height, width) in [0, 1].
        flip: whether training flipped images horizontally; the image itself always counts too.
        **parameters: the others of `loss_scores`.

    Returns:
        float64 (n,), the loss summed over pixels; **lower = more likely member**.

    Raises:
        UsageError: bad images, timesteps or prompts.
        AuditError: the model's output is not finite.

    Source: Implements the averaging of strong LiRA, Carlini et al. 2023, section 5.2, as METHODS 3.2 reads it.
    """
    return -loss_scores(model, images, flip=flip, **parameters)


def loss_measure(
    *, timesteps: Sequence[int] = TIMESTEPS, draws: int = DRAWS, flip: bool = True, seed: int = 0
) -> Measure:
    """What LiRA asks its shadow models: `averaged_losses` with these arguments; draws=1, flip=False is plain LiRA."""
    parameters = {"timesteps": tuple(timesteps), "draws": draws, "flip": flip, "seed": seed}
    return Measure("averaged losses", 1, averaged_losses, parameters, len(timesteps) * draws * (2 if flip else 1))


def lira_scores(
    target_losses: ArrayLike,
    shadows: ShadowScores,
    *,
    digests: Sequence[bytes] | None = None,
    variant: Variant = "online",
    variance: Variance = "pooled",
) -> FloatArray:
    """Score images by how much better their loss fits the shadow models that saw them than those that did not.

    Online: `log N(L; mu_in, s_in) - log N(L; mu_out, s_out)`. Offline, from the models that did not see the image:
    `(mu_out - L) / s_out`. Means are each image's own. Deviations are

    - "pooled": one for all images a side, the root of the mean of the images' variances (ddof 1); for fewer than 64
      shadows a side.
    - "per_example": the image's own variance of n shadows, averaged with the pooled one in the proportion n - 1 : 64.

    and never below 1e-3 of the larger pooled one. They come from all images of `shadows`, so that an image's score does
    not depend on what it is scored with.

    Args:
        target_losses: (images,), from the model under audit, with the noise that the shadows had; lower = member.
        shadows: losses of the shadow models.
        digests: which image each target loss belongs to; None: those of `shadows`, in their order.
        variant: "online" needs 2 shadows with and 2 without each image, "offline" only the latter.
        variance: as above.

    Returns:
        float64 (images,), higher = more likely member.

    Raises:
        UsageError: too few shadows for a variance, images that the shadows did not measure, or a bad argument.
        AuditError: the shadows' losses do not vary.

    Source: Implements Carlini et al. 2022 (LiRA), algorithm 1 and section 6.2 (offline), on the loss itself, with the
        variances of METHODS 3.2; the proportion n - 1 : 64 is ours.
    """
    _check_choice("variant", variant, get_args(Variant))
    _check_choice("variance", variance, get_args(Variance))
    columns = np.arange(shadows.losses.shape[1]) if digests is None else shadows.positions(digests)
    target = np.asarray(target_losses, dtype=np.float64)
    if target.shape != columns.shape or not np.isfinite(target).all():
        raise UsageError(
            f"`target_losses` must be {len(columns)} finite numbers, got shape {target.shape}. Give one an image."
        )
    sides = {"out": ~shadows.membership} | ({"in": shadows.membership} if variant == "online" else {})
    moments = {side: _moments(shadows.losses, chosen, side) for side, chosen in sides.items()}
    pooled = {side: np.sqrt(variances.mean()) for side, (_, variances, _) in moments.items()}
    floor = FLOOR * max(pooled.values())
    if floor == 0.0:
        raise AuditError(
            "The shadow models' losses do not vary: every model gives each image the same loss. "
            "Were they trained on different images?"
        )
    fits = {}
    for side, (mean, variances, count) in moments.items():
        own = np.sqrt(((count - 1) * variances + FEW * pooled[side] ** 2) / (count - 1 + FEW))
        deviation = own if variance == "per_example" else np.full(len(mean), pooled[side])
        fits[side] = (mean[columns], np.maximum(deviation, floor)[columns])
    mean, deviation = fits["out"]
    if variant == "offline":
        return np.asarray((mean - target) / deviation)
    return _log_normal(target, *fits["in"]) - _log_normal(target, mean, deviation)


def leave_one_out(shadows: ShadowScores, *, variant: Variant = "online", variance: Variance = "pooled") -> FloatArray:
    """Score every image with each model as the target once and the others as its shadows.

    The target's own losses and membership take no part in the fit. Compare row m with `shadows.membership[m]`.

    Where every image is in exactly half of the models, a member is left with one model less that saw it, and its mean
    is known a little worse. Online scores are therefore conservative: without any leak the pooled AUROC is 0.46 for 6
    models, 0.49 for 16 and 0.50 for 32 (per-example: 0.45, 0.47, 0.47); offline scores are not affected.

    Returns:
        float64 (models, images), higher = more likely member.

    Raises:
        UsageError: an image has fewer than 3 shadows on a side that is needed, one of which becomes the target.

    Source: Follows METHODS 3.2 (leave-one-out of Carlini et al. 2023).
    """
    rows = [
        lira_scores(losses, shadows.without(model), variant=variant, variance=variance)
        for model, losses in enumerate(shadows.losses)
    ]
    return np.stack(rows)


def lira_attack(
    shadows: ShadowScores | PlannedShadows, *, variant: Variant = "online", variance: Variance = "pooled"
) -> Method:
    """LiRA with these shadow models as an attack on a target.

    The target is asked exactly what the shadows were asked, with the same noise, so the noise's seed is the shadows'
    and not the session's. `evaluations` counts the target's; training and measuring the shadows is extra.

    Args:
        shadows: measured with `loss_measure(...)`; none of the models may be the target.
        variant: "online" or "offline", as in `lira_scores`.
        variance: "pooled" or "per_example", as in `lira_scores`.

    Raises:
        UsageError: the shadows' measure is unknown, or they are too few. The attack's `scores` refuses a target that is
            one of the shadows, images that they did not measure, and parameters other than theirs.

    Source: Implements Carlini et al. 2022 (LiRA), algorithm 1, with the averaging of Carlini et al. 2023, section 5.2.
    """
    fixed: dict[str, Any] = {**shadows.asked.parameters, "shadows": shadows.digest}
    scores = None
    if isinstance(shadows, ShadowScores):
        lira_scores(shadows.losses[0], shadows, variant=variant, variance=variance)  # refuses now, not after an hour
        scores = partial(_attack_scores, shadows, variant=variant, variance=variance)
    return shadow_attack(
        LIRA,
        shadows,
        title=f"LiRA, {len(shadows)} shadow models",
        scores=scores,
        parameters={**fixed, "variant": variant, "variance": variance},
        uncontrolled="Its shadow models belong to the audited model: their scores say nothing about an ideal denoiser.",
    )


def _attack_scores(
    given: ShadowScores,
    model: Denoiser,
    images: Tensor | ArrayLike,
    *,
    variant: Variant,
    variance: Variance,
    batch_size: int = BATCH_SIZE,
    prompts: Sequence[Prompt] | None = None,
    **measured: Any,
) -> FloatArray:
    losses, digests = given.asked_of_target(model, images, prompts, batch_size, measured)
    return lira_scores(losses, given, digests=digests, variant=variant, variance=variance)


def _moments(
    losses: FloatArray, chosen: NDArray[np.bool_], side: str
) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Mean, variance (ddof 1) and number of the chosen models' losses of each image."""
    count = chosen.sum(axis=0)
    short = int((count < 2).sum())
    if short:
        raise UsageError(
            f"`shadows` must hold at least 2 models {_HAVING[side]} each image, got fewer for {short} of {len(count)} "
            "images. A variance needs two: add shadow models, or check that membership lists hold the probes' pixels."
        )
    mean = np.where(chosen, losses, 0.0).sum(axis=0) / count
    return mean, np.where(chosen, (losses - mean) ** 2, 0.0).sum(axis=0) / (count - 1), count


_HAVING = {"in": "trained with", "out": "trained without"}


def _log_normal(x: FloatArray, mean: FloatArray, deviation: FloatArray) -> FloatArray:
    """Log density up to a constant."""
    return np.asarray(-np.log(deviation) - 0.5 * ((x - mean) / deviation) ** 2)


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise UsageError(f"`{name}` must be one of {', '.join(allowed)}, got {value!r}.")
