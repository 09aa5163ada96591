"""CLiD: how much more the image's own prompt helps the model than a shortened one. It overfits to pairs, not to images.

The two terms have no common scale. It comes from data that is not scored: fit_clid_scale on a shadow model or on other
images. Without it the terms are added as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership.frequency_filter import FrequencyFilter, filtered
from pytest_diffprivacy.membership.shadow import digests_of
from pytest_diffprivacy.membership.weighed import weighed_evidence
from pytest_diffprivacy.methods import Access, ImageBatch, Need, method, score_function, with_parameters_of
from pytest_diffprivacy.models.protocols import Denoiser, Prompt
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from pytest_diffprivacy.statistics import auroc

TIMESTEPS: tuple[int, ...] = tuple(ReferenceTimestep(t) for t in (166, 500, 833))
REDUCTIONS = 3
WEIGHTS: Final = tuple(round(0.05 * i, 2) for i in range(21))


@dataclass(frozen=True, slots=True)
class ClidTerms:
    """What CLiD measures of each image, before anything is weighed.

    Attributes:
        differences: float64 (k, n), D_i: loss with the i-th reduced prompt minus loss with the image's own; the last
            row is the empty prompt or null class.
        fit: float64 (n,), Lc: minus the loss with the image's own prompt.
        model: digest of the model.
        images: digest of each image.
    """

    differences: NDArray[np.float64]
    fit: NDArray[np.float64]
    model: str
    images: tuple[bytes, ...]

    @property
    def gain(self) -> NDArray[np.float64]:
        """Mean of the D_i: float64 (n,)."""
        return np.asarray(self.differences.mean(axis=0))

    def released_fremia(self, alpha: float = 0.4) -> NDArray[np.float64]:
        """`(1 - alpha) L(c) - alpha (L(c) + sum_i D_i)` of FreMIA's released code: float64 (n,), **lower** = member.

        For comparison with published numbers only: the sum holds L(c) itself, is no mean, and neither term has a scale.
        """
        return np.asarray(-(1.0 - alpha) * self.fit - alpha * (self.differences.sum(axis=0) - self.fit))


@dataclass(frozen=True, slots=True)
class ClidScale:
    """How CLiD's two terms become one score: `weight * S(gain) + (1 - weight) * S(fit)`, S(v) = (v - center) / iqr.

    Attributes:
        gain: (center, interquartile range) of mean D_i.
        fit: (center, interquartile range) of Lc.
        weight: share of the gain, in [0, 1].
        model: digest of the model it was fitted on, "" for none.
        images: digests of the images it was fitted on, in order; not shown.
    """

    gain: tuple[float, float]
    fit: tuple[float, float]
    weight: float
    model: str = ""
    images: tuple[bytes, ...] = field(default=(), repr=False)

    def apply(self, gain: NDArray[np.float64], fit: NDArray[np.float64]) -> NDArray[np.float64]:
        """The score of images with these terms: float64 (n,), higher = more likely member."""
        scaled_gain = (gain - self.gain[0]) / self.gain[1]
        return np.asarray(self.weight * scaled_gain + (1.0 - self.weight) * (fit - self.fit[0]) / self.fit[1])


UNSCALED: Final = ClidScale(gain=(0.0, 1.0), fit=(0.0, 1.0), weight=0.9)


@score_function(access=Access.GREY_BOX, called="CLiD", noise="a draw a timestep")
def _losses(
    batch: ImageBatch,
    *,
    timesteps: Sequence[int] = TIMESTEPS,
    reductions: int = REDUCTIONS,
    frequency_filter: FrequencyFilter | None = None,
) -> Tensor:
    """The loss with an image's own prompt, with each reduced one, and without: (b, reductions + 2)."""
    if batch.prompts is None:
        raise UsageError("`prompts` must be given: CLiD compares each image's own prompt with shorter ones, got None.")
    if len(batch.prompts) != batch.total:
        raise UsageError(
            f"`prompts` must hold one prompt for each of the {batch.total} images, got {len(batch.prompts)}."
        )
    if reductions < 0:
        raise UsageError(f"`reductions` must be at least 0, got {reductions!r}.")
    times, model = batch.times(timesteps), batch.model
    drawn = batch.noise_by_timestep(times)
    conditions = [batch.conditioned(c) for c in (batch.prompts, *_reduced_prompts(batch.prompts, reductions), None)]
    loss = torch.zeros(len(conditions), len(batch.images), dtype=torch.float64, device=model.device)
    for t, eps in zip(times, drawn, strict=True):
        alpha, sigma = model.schedule.at(t)
        x_t = alpha * batch.x0 + sigma * eps
        for row, condition in zip(loss, conditions, strict=True):
            error = filtered(model.predict_eps(x_t, t, condition) - eps, frequency_filter, (alpha, sigma))
            row += error.square().flatten(1).sum(1)
    return (loss / len(times)).T


@with_parameters_of(_losses)
def clid_scores(  # noqa: D417 - the others are handed on
    model: Denoiser, images: Tensor | ArrayLike, *, scale: ClidScale | None = None, **asked: Any
) -> NDArray[np.float64]:
    """Score images by how much their own prompt helps the model to predict their noise, and by how well it does.

    `score = a * S(mean_i D_i) + (1 - a) * S(Lc)`. **Without a scale the score is unscaled:** `a * mean_i D_i +
    (1 - a) * Lc` with a = 0.9 and both terms as sums over pixels, so their balance depends on the model.

    Args:
        model: grey-box access to a conditional model.
        images: (n, channels, height, width) in [0, 1].
        timesteps: the papers' draw them uniformly; the default is the middle of each third of the papers' schedule,
            matched by signal-to-noise ratio. Plain ints are the model's own.
        frequency_filter: damps the error's high spatial frequencies; fix it before labels are seen. None: none.
        reductions: shortened prompts beside the empty one (k - 1 of the paper); class indices have none.
        scale: from `fit_clid_scale`, fitted on a shadow model or on images that are not scored here.
        noise: replaces the draws: (timesteps, n, *model.sample_shape), row j for timesteps[j].
        seed: seed of the draws; draw j of the image's own stream belongs to timesteps[j] and serves all prompts.
        prompts: the caption or class index each image was trained with, one an image. With any other prompt this is
            another attack: say so.
        batch_size: images in one network call.

    Returns:
        float64 (n,), higher = more likely member.

    Raises:
        UsageError: no prompts, bad images, noise or timesteps, or a scale fitted on these images and this model.
        ModelError: the model takes no prompts, or has no empty prompt or null class.
        AuditError: the model's output is not finite.

    Source: Follows Zhai et al. 2024 (CLiD, threshold variant), except for fixed timesteps and a scale that never sees
    the scored images (METHODS 3.10); frequency filter of FreMIA (METHODS 3.14).
    """
    terms, chosen = clid_terms(model, images, **asked), scale or UNSCALED
    if chosen.model == terms.model and (seen := set(chosen.images).intersection(terms.images)):
        raise UsageError(
            f"`scale` must come from images that are not scored: {len(seen)} of {len(terms.images)} were used to fit "
            "it on this model. Fit it on a shadow model or on other images."
        )
    return chosen.apply(terms.gain, terms.fit)


@wraps(_losses, assigned=())
def clid_terms(model: Denoiser, images: Tensor | ArrayLike, **asked: Any) -> ClidTerms:
    """Measure D_1..D_k and Lc of each image; arguments and errors as in `clid_scores`.

    Source: Implements Zhai et al. 2024 (CLiD): D_i = mean_t [L(c*_i) - L(c)], Lc = -mean_t L(c).
    """
    losses = _losses(model, images, **asked).T
    digests = tuple(digests_of(images))
    return ClidTerms(losses[1:] - losses[0], -losses[0], model.identity.digest, digests)


def fit_clid_scale(
    calibration: ClidTerms, *, members: ArrayLike | None = None, weight: float = UNSCALED.weight
) -> ClidScale:
    """Fit center, spread and, where membership is known, weight on data that is not scored.

    Args:
        calibration: terms of a shadow model, or of images that are not scored.
        members: boolean (n,), which of them the *shadow* model was trained on; the weight is then the one of 0, 0.05,
            ..., 1 with the largest AUROC. None: `weight` is kept.
        weight: share of the gain; 0.9 was best in a public replay.

    Returns:
        The scale; it remembers its model and images, and `clid_scores` refuses to score them with it.

    Raises:
        UsageError: a term has no spread, the weight is outside [0, 1], or members do not fit.

    Source: Follows Zhai et al. 2024 (CLiD): center = mean, spread = interquartile range; weight by shadow data.
    """
    if not 0.0 <= weight <= 1.0:
        raise UsageError(f"`weight` must be between 0 and 1, got {weight!r}.")
    scale = ClidScale(
        _spread("gain", calibration.gain), _spread("fit", calibration.fit), weight, calibration.model,
        tuple(sorted(calibration.images)),
    )  # fmt: skip
    if members is None:
        return scale
    inside = np.asarray(members)
    if inside.dtype != np.bool_ or inside.shape != calibration.fit.shape:
        raise UsageError(
            f"`members` must be {len(calibration.fit)} booleans, got dtype {inside.dtype} and shape {inside.shape}."
        )

    def success(candidate: ClidScale) -> float:
        scores = candidate.apply(calibration.gain, calibration.fit)
        return auroc(scores[inside], scores[~inside]).value

    return max((replace(scale, weight=a) for a in reversed(WEIGHTS)), key=success)  # ties: the larger weight


def shortened(caption: str, pieces: int) -> list[str]:
    """The caption without its first, second, ... of `pieces` equal parts; each lacks at least one word it has."""
    words = caption.split()
    starts = [i * len(words) // pieces for i in range(pieces)]
    ends = [max(start + 1, (i + 1) * len(words) // pieces) for i, start in enumerate(starts)]
    return [" ".join(words[:start] + words[end:]) for start, end in zip(starts, ends, strict=True)]


def _reduced_prompts(prompts: Sequence[Prompt], reductions: int) -> list[list[str]]:
    """The reduced prompts of all images, one list a reduction; none for class indices."""
    captions = [p for p in prompts if isinstance(p, str)]
    if not captions:
        return []
    if len(captions) != len(prompts):
        raise UsageError(f"`prompts` must be all texts or all class indices, got {len(captions)} texts among them.")
    return [list(row) for row in zip(*(shortened(c, reductions) for c in captions), strict=True)]


def _spread(name: str, values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, [0.25, 0.75])
    if not high > low:
        raise UsageError(
            f"`calibration` must have a spread in its {name}, got an interquartile range of {high - low:g}."
        )
    return float(values.mean()), float(high - low)


def _evaluations(p: Mapping[str, Any]) -> int:
    """Network evaluations of an image; class indices, if the parameters name them, have no reduced prompts."""
    indexed = any(not isinstance(c, str) for c in p.get("prompts") or ())
    return len(p["timesteps"]) * (2 + (0 if indexed else int(p["reductions"])))


clid = method(
    name="clid",
    title="CLiD (threshold)",
    access=Access.GREY_BOX,
    source="Zhai et al. 2024 (CLiD), with fixed timesteps and a scale from calibration data",
    version=1,
    evaluations=_evaluations,
    needs={Need.PROMPTS},
    evidence=weighed_evidence,
)(clid_scores)
