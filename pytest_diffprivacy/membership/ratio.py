"""Ratio attack: how much lower the target's loss is than that of one to four models which did not see the image.

A diffusion loss is no probability, so the ratio of probabilities becomes a difference of losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from torch import Tensor

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.membership.attack import shadow_attack
from pytest_diffprivacy.membership.shadow import PlannedShadows, ShadowScores
from pytest_diffprivacy.methods import Access, Method, Need, Published, register
from pytest_diffprivacy.models.protocols import Denoiser, Prompt
from pytest_diffprivacy.models.scoring import BATCH_SIZE

Form = Literal["offline", "online"]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

RATIO = Published(
    name="ratio",
    title="Ratio attack (RMIA)",
    access=Access.GREY_BOX,
    source="Zarifzadeh et al. 2024 (RMIA), in a log form for losses",
    needs=frozenset({Need.SHADOW_MODELS}),
    built_by="ratio_attack(references)",
)
register(RATIO)


def log_ratio_scores(
    target: ArrayLike,
    references: ArrayLike,
    seen: ArrayLike,
    *,
    form: Form = "offline",
    relative: bool = False,
    tau: float | None = None,
) -> FloatArray:
    """Score images by the references' loss minus the target's, all with the same noise.

    `s = mean_out - L`, the mean over the references that did not see the image; with `tau` their losses are averaged as
    likelihoods, `-tau log mean exp(-L_j / tau) - L`; "online": `(mean_out + mean_in) / 2 - L`; `relative`: divided by
    mean_out.

    Args:
        target: (images,) losses of the model under audit; lower = more likely member.
        references: (references, images) losses.
        seen: bool (references, images), whether the reference was trained on the image.
        form: "offline" needs for each image a reference that did not see it, "online" also one that did.
        relative: divide by the mean of the references that did not see the image, for losses of very different size.
        tau: temperature of the average, > 0; None: the mean, which is its limit for large tau. Offline only.

    Returns:
        float64 (images,), higher = more likely member.

    Raises:
        UsageError: shapes that do not fit, numbers that are not finite, an image without a reference, a bad argument.

    Source: Follows Zarifzadeh et al. 2024 (RMIA), except for losses in place of probabilities (METHODS 3.16).
    """
    loss, others, saw = checked_references(target, references, seen)
    if form not in get_args(Form):
        raise UsageError(f"`form` must be one of {', '.join(get_args(Form))}, got {form!r}.")
    if tau is not None and (form == "online" or not tau > 0.0):
        raise UsageError(f"`tau` must be positive, and left out online, got {tau!r} with form {form!r}.")
    out = mean_of(others, ~saw, "did not see")
    expected = out
    if form == "online":
        expected = (out + mean_of(others, saw, "saw")) / 2.0
    elif tau is not None:
        log_sum = logsumexp(np.where(saw, -np.inf, -others / tau), axis=0)
        expected = -tau * (log_sum - np.log((~saw).sum(axis=0)))
    difference = expected - loss
    if not relative:
        return np.asarray(difference)
    if not (out > 0.0).all():
        raise UsageError(f"`relative` needs positive losses, got a mean of {float(out.min()):g}. Leave it out.")
    return np.asarray(difference / out)


def ratio_attack(
    references: ShadowScores | PlannedShadows,
    *,
    form: Form = "offline",
    relative: bool = False,
    tau: float | None = None,
) -> Method:
    """The ratio attack with these reference models as an attack on a target; one to four of them are enough.

    The target is asked exactly what the references were asked, with the same noise. A reference that is the target's
    base measures fine-tuning, not membership, unless it saw neither members nor non-members.

    Args:
        references: measured with `loss_measure(...)`, by `train_shadows` or `score_shadows`; none may be the target.
        form: "offline" or "online", as in `log_ratio_scores`.
        relative: as in `log_ratio_scores`.
        tau: as in `log_ratio_scores`.

    Raises:
        UsageError: the references' measure is unknown, or an image has no reference that did not see it. The attack's
            `scores` refuses a target that is a reference, images they did not measure, and other parameters.

    Source: Follows Zarifzadeh et al. 2024 (RMIA), as `log_ratio_scores`.
    """
    chosen: dict[str, Any] = {"form": form, "relative": relative, "tau": tau}
    scores = None
    if isinstance(references, ShadowScores):
        log_ratio_scores(references.losses[0], references.losses, references.membership, **chosen)  # refuses now
        scores = partial(_attack_scores, references)
    many = f"{len(references)} reference models" if len(references) > 1 else "1 reference model"
    return shadow_attack(
        RATIO,
        references,
        title=f"Ratio attack, {many}",
        scores=scores,
        parameters={**references.asked.parameters, "shadows": references.digest, **chosen},
        uncontrolled="Its reference models belong to the audited model: they say nothing about an ideal denoiser.",
    )


def _attack_scores(
    given: ShadowScores,
    model: Denoiser,
    images: Tensor | ArrayLike,
    *,
    form: Form,
    relative: bool,
    tau: float | None,
    batch_size: int = BATCH_SIZE,
    prompts: Sequence[Prompt] | None = None,
    **measured: Any,
) -> FloatArray:
    losses, digests = given.asked_of_target(model, images, prompts, batch_size, measured)
    places = given.positions(digests)
    return log_ratio_scores(
        losses, given.losses[:, places], given.membership[:, places], form=form, relative=relative, tau=tau
    )


def leave_one_out(references: ShadowScores, **chosen: Any) -> FloatArray:
    """Score every image with each reference as the target once, and the others as its references.

    Models 2k and 2k + 1 of `train_shadows` are partners: one saw exactly what the other did not. A target's partner
    would put the label into the score and is left out wherever it is among the references.

    Args:
        references: at least 3 models, or 2 that are no partners.
        **chosen: `form`, `relative` and `tau`, as in `log_ratio_scores`.

    Returns:
        float64 (models, images), higher = more likely member; compare row m with `references.membership[m]`.

    Raises:
        UsageError: an image has no reference left that did not see it.

    Source: METHODS 3.16.
    """
    rows = []
    for model, losses in enumerate(references.losses):
        partner = (references.membership == ~references.membership[model]).all(axis=1)
        others = ~partner
        others[model] = False
        rows.append(log_ratio_scores(losses, references.losses[others], references.membership[others], **chosen))
    return np.stack(rows)


def checked_references(
    target: ArrayLike, references: ArrayLike, seen: ArrayLike
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Numbers of a target and of its references, and who saw what: (images,), (references, images) twice.

    Raises:
        UsageError: shapes that do not fit, or numbers that are not finite.
    """
    own, others, saw = np.asarray(target, dtype=np.float64), np.asarray(references, dtype=np.float64), np.asarray(seen)
    if own.ndim != 1 or own.size == 0 or others.ndim != 2 or others.shape[1] != own.size or len(others) == 0:
        raise UsageError(
            f"`references` must be (references, images) for a target of (images,), got {others.shape} and {own.shape}. "
            "Give one row a reference model and one column an image."
        )
    if saw.dtype != np.bool_ or saw.shape != others.shape:
        raise UsageError(f"`seen` must be bool {others.shape}, got {saw.dtype} {saw.shape}.")
    if not (np.isfinite(own).all() and np.isfinite(others).all()):
        raise AuditError("Losses of target and references must be finite, got NaN or infinite ones.")
    return own, others, saw


def mean_of(values: FloatArray, chosen: BoolArray, what: str) -> FloatArray:
    """Mean over the chosen references of each image: float64 (images,).

    Raises:
        UsageError: an image has none.
    """
    count = chosen.sum(axis=0)
    if not count.all():
        raise UsageError(
            f"`references` must hold a model that {what} each image, got none for {int((count == 0).sum())} of "
            f"{len(count)} images. Add a reference, or check that membership lists hold the probes' pixels."
        )
    return np.asarray(np.where(chosen, values, 0.0).sum(axis=0) / count)
