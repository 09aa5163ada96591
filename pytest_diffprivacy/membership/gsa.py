"""GSA: gradient norms by which an image pulls at the weights, judged by a classifier.

The classifier learns from shadow models, whose members are known; the target's own labels take no part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.membership.attack import shadow_attack
from pytest_diffprivacy.membership.shadow import Measure, PlannedShadows, ShadowScores, check_asked
from pytest_diffprivacy.methods import Access, Method, Need, Published, register
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.protocols import Prompt, WhiteBoxDenoiser, require_white_box
from pytest_diffprivacy.models.schedule import ReferenceTimestep, match_all
from pytest_diffprivacy.models.scoring import ImageBatch, as_images, finite_scores, image_batches

TIMESTEPS: tuple[int, ...] = tuple(ReferenceTimestep(t) for t in range(99, 1000, 100))
TREES = 200

GSA = Published(
    name="gsa",
    title="GSA",
    access=Access.WHITE_BOX,
    source="Pang et al. 2025 (GSA), algorithms 1 and 2",
    needs=frozenset({Need.SHADOW_MODELS}),
    built_by="gsa_attack(shadows)",
)
register(GSA)


def gsa_features(
    model: WhiteBoxDenoiser,
    images: Tensor | ArrayLike,
    *,
    variant: Literal[1, 2] = 1,
    timesteps: Sequence[int] = TIMESTEPS,
    noise: Tensor | None = None,
    seed: int = 0,
    squared: bool = False,
    prompts: Sequence[Prompt] | None = None,
    batch_size: int = 1,
) -> NDArray[np.float64]:
    """Measure how strongly each image pulls at each parameter tensor.

    `L_t = mean over pixels of (eps_t - eps_theta(alpha_t x0 + sigma_t eps_t, t))^2`. Variant 1 (GSA1) is the L2 norm
    of the gradient of mean_t L_t, variant 2 (GSA2) the mean over t of the norms of the gradients of L_t.

    Args:
        model: white-box access with parameters, left as it was found.
        images: (n, channels, height, width) in [0, 1].
        variant: 1 or 2.
        timesteps: the default is the papers' 10 equidistant ones, matched by signal-to-noise ratio; plain ints are the
            model's own.
        noise: (n, timesteps, *model.sample_shape); None: drawn from the seed and each image's digest.
        seed: seed of the noise.
        squared: squared norms, as the paper prints; the authors' code takes plain ones.
        prompts: one prompt an image for conditional models; None is the unconditional branch.
        batch_size: has no effect: a gradient belongs to one image.

    Returns:
        float64 (n, parameter tensors), in the order of `model.named_parameters()`.

    Raises:
        UsageError: bad images, noise, timesteps or variant.
        ModelError: no parameters, or a noise prediction that cannot be differentiated with respect to them.
        AuditError: a gradient is not finite.

    Source: Implements Pang et al. 2025 (GSA), algorithms 1 and 2, with plain norms as in the authors' code.
    """
    white = require_white_box(model, "GSA")
    checked = as_images(images)
    if variant not in (1, 2):
        raise UsageError(f"`variant` must be 1 (GSA1) or 2 (GSA2), got {variant!r}.")
    times = [m.index for m in match_all(white.schedule, timesteps)]
    parameters = [tensor for _, tensor in white.named_parameters() if tensor.is_floating_point()]
    if not parameters:
        raise ModelError(
            f"GSA needs a model with parameters, but {white.identity.name} has none. Use a grey-box attack instead."
        )
    expected = (len(checked), len(times), *white.sample_shape)
    if noise is not None and tuple(noise.shape) != expected:
        raise UsageError(
            f"`noise` must have shape {expected}, one draw an image and timestep, got {tuple(noise.shape)}."
        )
    by_draw = None if noise is None else noise.transpose(0, 1)

    def features(batch: ImageBatch) -> Tensor:
        gradients = (
            _gradients(white, batch.x0, t, eps, batch.conditioning, parameters)
            for t, eps in zip(times, batch.noise_by_timestep(times), strict=True)
        )
        norms = _norm_of_mean(gradients) if variant == 1 else _mean_of_norms(gradients, squared)
        return torch.from_numpy(norms**2 if squared and variant == 1 else norms)[None]

    with _differentiable(parameters):
        batches = image_batches(white, checked, prompts=prompts, noise=by_draw, seed=seed, batch_size=1)
        return finite_scores(map(features, batches), called="GSA", what="the gradient is")


def gsa_measure(
    *, variant: Literal[1, 2] = 1, timesteps: Sequence[int] = TIMESTEPS, seed: int = 0, squared: bool = False
) -> Measure:
    """What GSA asks its shadow models: `gsa_features` with these arguments."""
    parameters = {"variant": variant, "timesteps": tuple(timesteps), "seed": seed, "squared": squared}
    return Measure(f"gsa{variant} features", 1, gsa_features, parameters, len(timesteps))


@contextmanager
def _differentiable(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Let gradients reach the parameters, and leave them as they were."""
    before = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for parameter, flag in zip(parameters, before, strict=True):
            parameter.requires_grad_(flag)


def _gradients(
    model: WhiteBoxDenoiser,
    x0: Tensor,
    timestep: int,
    eps: Tensor,
    condition: Conditioning | None,
    parameters: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """Gradient of the mean squared noise error by each parameter tensor; 0 where it does not depend on one."""
    alpha, sigma = model.schedule.at(timestep)
    loss = (eps - model.predict_eps(alpha * x0 + sigma * eps, timestep, condition)).square().mean()
    if not loss.requires_grad:
        raise ModelError(
            f"GSA needs a `predict_eps` that can be differentiated by the parameters, but {model.identity.name}'s "
            "cannot. Let it run without torch.no_grad() and on the tensors that `named_parameters` gives."
        )
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)


def _norms(gradients: Sequence[Tensor]) -> NDArray[np.float64]:
    return np.array([float(torch.linalg.vector_norm(g, dtype=torch.float64)) for g in gradients])


def _norm_of_mean(by_timestep: Iterator[tuple[Tensor, ...]]) -> NDArray[np.float64]:
    """GSA1. The gradient of a mean of losses, summed timestep by timestep so that one graph is held at a time."""
    total, count = list(next(by_timestep)), 1
    for gradients in by_timestep:
        total, count = [a + b for a, b in zip(total, gradients, strict=True)], count + 1
    return _norms(total) / count


def _mean_of_norms(by_timestep: Iterator[tuple[Tensor, ...]], squared: bool) -> NDArray[np.float64]:
    """GSA2."""
    return np.asarray(np.mean([_norms(g) ** 2 if squared else _norms(g) for g in by_timestep], axis=0))


@final
class GsaClassifier:
    """Gradient boosting over features that were standardized with the shadow models' mean and deviation.

    Args:
        pipeline: a fitted scikit-learn classifier with `decision_function`.
        width: number of features.
    """

    def __init__(self, pipeline: Any, width: int) -> None:
        self._pipeline, self.width = pipeline, width

    @classmethod
    def fit(cls, features: ArrayLike, membership: ArrayLike, *, random_state: int = 0) -> GsaClassifier:
        """Learn from shadow models what members' gradients look like.

        Args:
            features: (rows, features), every shadow model's features of every image, one below the other.
            membership: bool (rows,), whether the image was in that shadow model's training set.
            random_state: of the classifier.

        Raises:
            UsageError: shapes that do not fit, values that are not finite, or fewer than 2 rows of a kind.

        Source: Follows Pang et al. 2025 (GSA): gradient boosting with 200 trees; scikit-learn's in place of XGBoost,
            with XGBoost's defaults, and the scaler fitted on shadow data only (METHODS 3.9).
        """
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        rows, labels = _rows(features, None), np.asarray(membership)
        if labels.dtype != np.bool_ or labels.shape != (len(rows),):
            raise UsageError(f"`membership` must be bool ({len(rows)},), got {labels.dtype} {labels.shape}.")
        members = int(labels.sum())
        if min(members, len(rows) - members) < 2:
            raise UsageError(
                f"`membership` must hold at least 2 members and 2 non-members, got {members} and {len(rows) - members}."
            )
        trees = HistGradientBoostingClassifier(
            max_iter=TREES,
            learning_rate=0.3,
            max_depth=6,
            max_leaf_nodes=None,
            min_samples_leaf=4,
            l2_regularization=1.0,
            early_stopping=False,
            random_state=random_state,
        )
        return cls(make_pipeline(StandardScaler(), trees).fit(rows, labels), rows.shape[1])

    def scores(self, features: ArrayLike) -> NDArray[np.float64]:
        """Log odds of membership, float64 (rows,); higher = more likely member. An image's does not depend on others.

        Raises:
            UsageError: another number of features than the shadow models', or values that are not finite.
        """
        return np.asarray(self._pipeline.decision_function(_rows(features, self.width)), dtype=np.float64)


def gsa_attack(shadows: ShadowScores | PlannedShadows, *, random_state: int = 0) -> Method:
    """GSA with these shadow models as an attack on a target.

    The target is asked exactly what the shadows were asked; the classifier is fitted on them alone. `evaluations` is
    the number of the target's forward passes, each followed by a backward pass.

    Args:
        shadows: measured with `gsa_measure(...)`; none of the models may be the target.
        random_state: of the classifier.

    Raises:
        UsageError: the shadows' measure is unknown or gave no features. The attack's `scores` refuses a target that is
            one of the shadows or of another architecture, and parameters other than the shadows'.

    Source: Follows Pang et al. 2025 (GSA) except that nothing is fitted on the target's images (METHODS 3.9).
    """
    fixed: dict[str, Any] = {**shadows.asked.parameters, "shadows": shadows.digest, "random_state": random_state}
    scores = None
    if isinstance(shadows, ShadowScores):
        rows = shadows.features.reshape(-1, shadows.features.shape[2])
        classifier = GsaClassifier.fit(rows, shadows.membership.reshape(-1), random_state=random_state)
        scores = partial(_attack_scores, shadows, classifier, fixed)
    return shadow_attack(
        GSA,
        shadows,
        title=f"GSA, {shadows.asked.name}, {len(shadows)} shadow models",
        scores=scores,
        parameters=fixed,
        uncontrolled="Its classifier was fitted to gradients of shadow models; an ideal denoiser has no parameters.",
    )


def _attack_scores(
    given: ShadowScores,
    classifier: GsaClassifier,
    fixed: Mapping[str, Any],
    model: WhiteBoxDenoiser,
    images: Tensor | ArrayLike,
    *,
    batch_size: int = 1,
    prompts: Sequence[Prompt] | None = None,
    **measured: Any,
) -> NDArray[np.float64]:
    check_asked(measured, fixed)
    return classifier.scores(given.measured(model, as_images(images), prompts, batch_size))


def _rows(features: ArrayLike, width: int | None) -> NDArray[np.float64]:
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or 0 in rows.shape or not np.isfinite(rows).all():
        raise UsageError(f"`features` must be finite numbers (rows, features), got shape {rows.shape}.")
    if width is not None and rows.shape[1] != width:
        raise UsageError(
            f"`features` must be {width} an image, as the shadow models gave, got {rows.shape[1]}. "
            "The target and its shadow models need one architecture."
        )
    return rows
