"""Black-box reconstruction: how closely what a model makes of the caption comes back to the image, by images alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from pytest_diffprivacy.distances.embeddings import Embedding
from pytest_diffprivacy.engine.tasks import checked_images
from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.membership.shadow import digests_of
from pytest_diffprivacy.methods import Access, Need, method
from pytest_diffprivacy.models.protocols import Generator, Prompt, require_generator
from pytest_diffprivacy.models.scoring import BATCH_SIZE, as_images
from pytest_diffprivacy.slices import in_batches
from pytest_diffprivacy.statistics.arguments import check_count

Metric: TypeAlias = Literal["cosine", "manhattan"]
Matrix: TypeAlias = NDArray[np.float64]

GENERATIONS: Final = 3
STEPS: Final = 30
GUIDANCE: Final = 7.5
SIDE: Final = 16
RIDGE: Final = 1e-5
SEED_STRIDE: Final = 2**32


def reconstruction_similarity(
    query: ArrayLike, generated: ArrayLike, axis: int = 1, *, metric: Metric = "cosine"
) -> Matrix:
    """Return how alike each image and what was generated for it are, feature by feature or token by token.

    Args:
        query: (n, tokens, features) of the images.
        generated: (n, generations, tokens, features).
        axis: 1 compares along the tokens, one number a feature (as in the authors' code); 2 along the features, one
            number a token.
        metric: "cosine" (higher = closer), or "manhattan" (a distance, **lower** = closer).

    Returns:
        float64 (n, features) or (n, tokens), the mean over the generations; its mean over the second axis is the score
        that needs no training.

    Raises:
        UsageError: shapes do not fit, a value is not finite, or one token is to be compared along the tokens.

    Source: Implements Pang and Wang 2025, as METHODS 3.19.
    """
    x, y = np.asarray(query, dtype=np.float64), np.asarray(generated, dtype=np.float64)
    if x.ndim != 3 or y.ndim != 4 or y.shape[1] == 0 or (y.shape[0], *y.shape[2:]) != x.shape:
        raise UsageError(
            f"`query` must be (n, tokens, features) and `generated` (n, generations, tokens, features), got {x.shape} "
            f"and {y.shape}."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UsageError("`query` and `generated` must be finite, got NaN or infinity. Check the encoder.")
    if axis not in (1, 2) or metric not in ("cosine", "manhattan"):
        raise UsageError(f"`axis` must be 1 or 2 and `metric` cosine or manhattan, got {axis!r} and {metric!r}.")
    if x.shape[axis] == 1:
        raise UsageError(f"`axis` must not be {axis}, along which there is one value, got features of shape {x.shape}.")
    x = x[:, None]
    if metric == "manhattan":
        return np.asarray(np.abs(x - y).sum(axis + 1).mean(1), dtype=np.float64)
    lengths = np.linalg.norm(x, axis=axis + 1) * np.linalg.norm(y, axis=axis + 1)
    return np.asarray(((x * y).sum(axis + 1) / np.maximum(lengths, 1e-300)).mean(1), dtype=np.float64)


def fitted_similarity_scores(
    features: ArrayLike,
    shadow_members: ArrayLike,
    shadow_nonmembers: ArrayLike,
    *,
    form: Literal["distribution", "threshold", "threshold-max"] = "distribution",
) -> Matrix:
    """Return scores of similarities that are fitted to those of a shadow model, whose training set is known.

    Args:
        features: (n, k) similarities of the target, as by `reconstruction_similarity`.
        shadow_members: (m, k) of the shadow model's members.
        shadow_nonmembers: (m', k) of its non-members; m, m' > k for "distribution".
        form: "distribution": log density ratio of two Gaussians (covariance + 1e-5 I); "threshold": mean of the
            similarities, each standardized by the shadow's; "threshold-max": their maximum, as the authors' code takes
            it against its own text.

    Returns:
        float64 (n,), higher = more likely member.

    Raises:
        UsageError: shapes do not fit.

    Source: Follows Pang and Wang 2025; the mean of "threshold" is that of the text.
    """
    target, inside, outside = (np.asarray(one, np.float64) for one in (features, shadow_members, shadow_nonmembers))
    if {one.ndim for one in (target, inside, outside)} != {2} or len({one.shape[1] for one in (inside, outside)}) > 1:
        raise UsageError(f"Features must be (n, k) of one k, got {target.shape}, {inside.shape} and {outside.shape}.")
    if target.shape[1] != inside.shape[1] or min(len(inside), len(outside)) <= 1:
        raise UsageError(f"Features must be (n, k) of one k, got {target.shape}, {inside.shape} and {outside.shape}.")
    shadow = np.concatenate([inside, outside])
    spread = shadow.std(0)
    if not (spread > 0.0).all():
        raise UsageError("Shadow features must vary in every column, got a constant one. Leave it out.")
    target, inside, outside = ((one - shadow.mean(0)) / spread for one in (target, inside, outside))
    if form == "distribution":
        return _log_density(target, inside) - _log_density(target, outside)
    if form not in ("threshold", "threshold-max"):
        raise UsageError(f"`form` must be distribution, threshold or threshold-max, got {form!r}.")
    return np.asarray(target.max(1) if form == "threshold-max" else target.mean(1), dtype=np.float64)


def _log_density(points: Matrix, fitted: Matrix) -> Matrix:
    """Log density under the Gaussian of some points, without the constant that all share."""
    covariance = np.atleast_2d(np.cov(fitted.T)) + RIDGE * np.eye(fitted.shape[1])
    apart = points - fitted.mean(0)
    squares = (apart * np.linalg.solve(covariance, apart.T).T).sum(1)
    return np.asarray(-0.5 * (squares + np.linalg.slogdet(covariance)[1]), dtype=np.float64)


def reconstruction_scores(
    model: Generator,
    images: Tensor | ArrayLike,
    *,
    generations: int = GENERATIONS,
    steps: int = STEPS,
    guidance_scale: float | None = GUIDANCE,
    axis: int | None = None,
    embedding: Embedding | None = None,
    base: Generator | None = None,
    seed: int = 0,
    prompts: Sequence[Prompt] | None = None,
    batch_size: int = BATCH_SIZE,
) -> Matrix:
    """Score images by their similarity to what the model generates from their captions; no network is looked into.

    `score = mean of reconstruction_similarity`; with a base model, minus the same of what the base generates from the
    same captions and seeds: similarity also rises with plain backgrounds and with what the base knows already.

    Args:
        model: generates images by seed and prompt.
        images: (n, channels, height, width) in [0, 1].
        generations: images generated for each.
        steps: sampling steps.
        guidance_scale: of classifier-free guidance; None: the model's own.
        axis: as in `reconstruction_similarity`; None: along the tokens if there are several, else the features.
        embedding: of which images are compared: its function gives (n, features) or (n, tokens, features); None:
            colours averaged to at most 16x16 positions, each position a token.
        base: the model that was fine-tuned.
        seed: of the generations; an image's also depend on its own digest.
        prompts: the images' captions or classes.
        batch_size: images generated in one call.

    Returns:
        float64 (n,), higher = more likely member.

    Raises:
        UsageError: bad images, or no prompts.
        AuditError: a model does not generate images, or features are not finite.

    Source: Follows Pang and Wang 2025 without training; the difference to the base is ours (METHODS 3.19).
    """
    checked = as_images(images).float()
    if prompts is None or len(prompts) != len(checked):
        raise UsageError(f"`prompts` must be one for each of the {len(checked)} images. Give ProbeSet(..., captions=).")
    check_count("generations", generations, least=1)
    features = _features(embedding)
    rounded = (checked * 255.0).round() / 255.0  # as the generations come: both sides have one format
    query = features(rounded)
    direction = axis or (1 if query.shape[1] > 1 else 2)
    seeds = [_seeds(digest, seed, generations) for digest in digests_of(checked)]
    found = []
    for one in (model,) if base is None else (model, base):
        source = require_generator(one, "Black-box membership")
        options = {"steps": steps} | ({} if guidance_scale is None else {"guidance_scale": guidance_scale})
        made = _generated(source, [s for row in seeds for s in row], prompts, options, batch_size)
        seen = features(made).reshape(len(checked), generations, *query.shape[1:])
        found.append(reconstruction_similarity(query, seen, direction).mean(1))
    scores = found[0] if base is None else found[0] - found[1]
    return np.asarray(scores, dtype=np.float64)


reconstruction = method(
    name="reconstruction",
    title="Black-box reconstruction similarity",
    access=Access.BLACK_BOX,
    source="Pang and Wang 2025",
    version=1,
    needs=[Need.PROMPTS],
    evaluations=lambda p: int(p["generations"]) * int(p["steps"]) * (1 if p["guidance_scale"] == 1.0 else 2),
    timesteps=lambda p: (),
)(reconstruction_scores)


def _seeds(digest: bytes, seed: int, count: int) -> list[int]:
    own = int.from_bytes(digest[:4], "big")
    return [seed * SEED_STRIDE + (own + number) % SEED_STRIDE for number in range(count)]


def _generated(
    model: Generator, seeds: Sequence[int], prompts: Sequence[Prompt], options: dict[str, Any], batch_size: int
) -> Tensor:
    """Images as a user receives them, all of the first prompt first."""
    told = [prompt for prompt in prompts for _ in range(len(seeds) // len(prompts))]
    parts = []
    for part in in_batches(len(seeds), batch_size):
        made = checked_images(model.generate(list(seeds[part]), prompts=told[part], **options), part.stop - part.start)
        parts.append((made.float().cpu().clamp(0.0, 1.0) * 255.0).round() / 255.0)
    return torch.cat(parts)


def _features(embedding: Embedding | None) -> Callable[[Tensor], Matrix]:
    """Images to (n, tokens, features)."""

    def seen(images: Tensor) -> Matrix:
        if embedding is None:
            small = adaptive_avg_pool2d(images, (min(SIDE, images.shape[2]), min(SIDE, images.shape[3])))
            return np.asarray(small.flatten(2).transpose(1, 2).double().numpy() * 2.0 - 1.0)
        with torch.no_grad():
            parts = [torch.as_tensor(embedding.function(images[p])).double().cpu() for p in in_batches(len(images), 64)]
        found = torch.cat(parts)
        found = found[:, None] if found.ndim == 2 else found
        if found.ndim != 3 or len(found) != len(images) or not bool(torch.isfinite(found).all()):
            raise AuditError(
                f"{embedding.name} must give finite features ({len(images)}, tokens, features), got shape "
                f"{tuple(found.shape)}."
            )
        return np.asarray(found.numpy())

    return seen
