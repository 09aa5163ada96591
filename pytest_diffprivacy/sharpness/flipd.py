"""FLIPD: number of dimensions in which an image can vary under the model. A memorized image in none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.evidence.records import Chart, Series
from pytest_diffprivacy.methods import Access, ImageBatch, Kind, MethodEvidence, ScoredProbes, method
from pytest_diffprivacy.models.protocols import Prompt, WhiteBoxDenoiser, require_white_box
from pytest_diffprivacy.models.schedule import ReferenceTimestep, match_all
from pytest_diffprivacy.models.scoring import BATCH_SIZE
from pytest_diffprivacy.sharpness.landscape import DRAWS, NOT_PLANTED, spectra

CURVE_IMAGES = 16
CURVE_TIMESTEPS = (5, 10, 20, 50, 100, 200)


def _curves(scored: ScoredProbes) -> MethodEvidence:
    """Spectra, and the dimension over noise levels of some images of either side."""
    shown = spectra(scored)
    if not shown.charts:
        return shown
    model = require_white_box(scored.model, "The intrinsic dimension (FLIPD)")
    probes, seed = scored.probes, scored.seed
    timesteps = sorted({model.schedule.match(ReferenceTimestep(t)).index for t in CURVE_TIMESTEPS})
    series = []
    for side, name in ((probes.members, "members"), (probes.nonmembers, "non-members")):
        chosen = np.random.default_rng([seed, 4]).permutation(len(side))[:CURVE_IMAGES].tolist()
        images = torch.from_numpy(side.load(chosen))
        curve = flipd_curve(model, images, timesteps=timesteps, seed=seed, prompts=side.prompts(chosen))
        x, y = tuple(float(s) for s in curve.sigmas), tuple(float(v) for v in np.median(curve.dimensions, axis=1))
        low, high = (tuple(np.quantile(curve.dimensions, q, axis=1).tolist()) for q in (0.1, 0.9))
        series.append(Series(name=f"{name} (median of {len(chosen)})", x=x, y=y, low=low, high=high))
    chart = Chart(
        title="Intrinsic dimension over noise levels",
        x_label="noise level sigma_t",
        y_label="dimension (FLIPD)",
        series=tuple(series),
        log_x=True,
        note="The band holds the middle 80 % of the images. The dimension of memorized images falls towards 0 with "
        "the noise.",
    )
    return MethodEvidence(charts=(*shown.charts, chart))


@method(
    kind=Kind.SHARPNESS,
    title="Intrinsic dimension (FLIPD), negated",
    called="The intrinsic dimension (FLIPD)",
    access=Access.WHITE_BOX,
    source="Kamkari et al. 2024; Ross et al. 2025",
    version=1,
    evaluations=lambda p: 2 * int(p["draws"]),
    noise="draws",
    uncontrolled=NOT_PLANTED,
    evidence=_curves,
)
def lid(batch: ImageBatch, *, timestep: int, draws: int = DRAWS) -> Tensor:
    """Minus the local intrinsic dimension of the model's density at each image; higher = sharper.

    `LID(x) = d - sigma_t tr J_eps(alpha_t x, t) + || eps(alpha_t x, t) ||^2` at the scaled clean image, the trace by
    Hutchinson's estimate with Rademacher vectors. It tends to 0 at a memorized image and to k on a k-dimensional
    manifold as t -> 0. Which t is right depends on the architecture and is not settled, hence no default: look at
    `flipd_curve` first.

    Args:
        model: white-box access (forward-mode derivatives).
        timestep: a small noise level; a ReferenceTimestep is matched by signal-to-noise ratio, a plain int is the
            model's own.
        draws: Rademacher vectors for the trace of each image.
        noise: replaces them by the signs of (draws, n, *model.sample_shape), or (n, *model.sample_shape) for one.
        seed: seed of the vectors; each image's also depend on its own digest.

    Returns:
        float64 (n,), in dimensions.

    Raises:
        UsageError: bad images, noise, timestep or prompts.

    Source: Implements FLIPD of Kamkari et al. 2024, used for memorization by Ross et al. 2025 (METHODS 4.7).
    """
    t, alpha, sigma = batch.at(timestep)
    x = alpha * batch.x0
    traces, norm = [], torch.empty(0)
    for vectors in torch.where(batch.noise(draws) < 0.0, -1.0, 1.0).to(x.dtype):
        eps, change = batch.white_box.eps_jvp(x, t, vectors, batch.conditioning)
        traces.append((vectors.double() * change.double()).flatten(1).sum(1))
        norm = eps.double().flatten(1).square().sum(1)
    return -(x[0].numel() - sigma * torch.stack(traces).mean(0) + norm)


flipd_scores = lid.scores


@dataclass(frozen=True, slots=True)
class LidCurve:
    """The intrinsic dimension of images over noise levels.

    Attributes:
        timesteps: the model's own indices.
        sigmas: float64 (timesteps,), their noise factors.
        dimensions: float64 (timesteps, images).
    """

    timesteps: tuple[int, ...]
    sigmas: NDArray[np.float64]
    dimensions: NDArray[np.float64]


def flipd_curve(
    model: WhiteBoxDenoiser,
    images: Tensor | ArrayLike,
    *,
    timesteps: Sequence[int],
    draws: int = DRAWS,
    seed: int = 0,
    prompts: Sequence[Prompt] | None = None,
    batch_size: int = BATCH_SIZE,
) -> LidCurve:
    """The intrinsic dimension at several noise levels: arguments as for `flipd_scores`.

    Raises:
        UsageError: bad images or prompts, or timesteps that are none, outside the schedule or the same.
        AuditError: the model's output is not finite.

    Source: Implements FLIPD of Kamkari et al. 2024 (METHODS 4.7).
    """
    matched = match_all(model.schedule, timesteps)
    rows = [
        -flipd_scores(model, images, timestep=m.index, draws=draws, seed=seed, prompts=prompts, batch_size=batch_size)
        for m in matched
    ]
    indices = tuple(m.index for m in matched)
    return LidCurve(indices, model.schedule.sigmas[list(indices)], np.stack(rows))
