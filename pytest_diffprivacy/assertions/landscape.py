"""What does the landscape look like at the sharpest training images? Spectra and dimensions as charts of a record."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.evidence.records import Chart, Series
from pytest_diffprivacy.models.noise import probe_noise
from pytest_diffprivacy.models.protocols import Denoiser, WhiteBoxDenoiser
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.sharpness import LID, ScoreHessian, SharpnessStatistic, flipd_curve, full_spectrum

LARGEST_DIMENSION = 1024
SHARPEST_SHOWN = 3
POINTS_DRAWN = 64
CURVE_IMAGES = 16
CURVE_TIMESTEPS = (5, 10, 20, 50, 100, 200)


def landscape_charts(
    model: Denoiser,
    probes: ProbeSet,
    statistic: SharpnessStatistic,
    members: NDArray[np.float64],
    reference: NDArray[np.float64],
    *,
    timestep: int,
    seed: int,
) -> list[Chart]:
    """The spectra of the sharpest members beside a typical unseen image; for FLIPD its curve over noise levels too.

    None where the model offers no derivatives or has more than 1,024 dimensions, as many products as a spectrum needs.

    Args:
        model: the audited model.
        probes: its images.
        statistic: what was measured.
        members: the members' sharpness.
        reference: the non-members' sharpness.
        timestep: noise level of the statistic.
        seed: the run's seed.
    """
    if not isinstance(model, WhiteBoxDenoiser) or int(np.prod(model.sample_shape)) > LARGEST_DIMENSION:
        return []
    charts = [_spectra(model, probes, members, reference, timestep, seed)]
    return [*charts, _dimensions(model, probes, seed)] if statistic is LID else charts


def _spectra(
    model: WhiteBoxDenoiser,
    probes: ProbeSet,
    members: NDArray[np.float64],
    reference: NDArray[np.float64],
    timestep: int,
    seed: int,
) -> Chart:
    sharpest = np.argsort(-members, kind="stable")[:SHARPEST_SHOWN].tolist()
    typical = int(np.argsort(reference, kind="stable")[len(reference) // 2])
    shown = [(probes.members, i, "sharp") for i in sharpest] + [(probes.nonmembers, typical, "typical")]
    series, asymmetries = [], []
    for images, index, kind in shown:
        spectrum = full_spectrum(_hessian(model, images, index, timestep, seed))
        ranks = np.unique(np.linspace(0, len(spectrum.eigenvalues) - 1, POINTS_DRAWN).round().astype(int))
        drawn = tuple(spectrum.eigenvalues[ranks].tolist())
        series.append(Series(name=f"{kind} {images.ids()[index]}", x=tuple((ranks + 1.0).tolist()), y=drawn))
        asymmetries.append(spectrum.asymmetry)
    return Chart(
        title="Spectrum of the log density's Hessian",
        x_label="rank of the eigenvalue",
        y_label="eigenvalue",
        series=tuple(series),
        note="At one noised copy of each image. Sharp images have larger negative eigenvalues and fewer that are not "
        f"negative. Asymmetry of the Hessians: at most {max(asymmetries):.2g} of their norm.",
    )


def _hessian(model: WhiteBoxDenoiser, images: ImageSet, index: int, timestep: int, seed: int) -> ScoreHessian:
    image = torch.from_numpy(images.load([index]))
    prompts = images.prompts([index])
    alpha, sigma = model.schedule.at(model.schedule.match(timestep).index)
    eps = probe_noise(image, 1, model.sample_shape, seed)[0].to(device=model.device, dtype=model.dtype)
    x_t = (alpha * model.encode(image) + sigma * eps)[0]
    return ScoreHessian(model, x_t, timestep, prompt=None if prompts is None else prompts[0])


def _dimensions(model: WhiteBoxDenoiser, probes: ProbeSet, seed: int) -> Chart:
    timesteps = _distinct(model, [ReferenceTimestep(t) for t in CURVE_TIMESTEPS])
    series = []
    for images, name in ((probes.members, "members"), (probes.nonmembers, "non-members")):
        chosen = np.random.default_rng([seed, 4]).permutation(len(images))[:CURVE_IMAGES].tolist()
        curve = flipd_curve(
            model,
            torch.from_numpy(images.load(chosen)),
            timesteps=timesteps,
            seed=seed,
            prompts=images.prompts(chosen),
        )
        x, y = tuple(float(s) for s in curve.sigmas), tuple(float(v) for v in np.median(curve.dimensions, axis=1))
        low, high = (tuple(np.quantile(curve.dimensions, q, axis=1).tolist()) for q in (0.1, 0.9))
        series.append(Series(name=f"{name} (median of {len(chosen)})", x=x, y=y, low=low, high=high))
    return Chart(
        title="Intrinsic dimension over noise levels",
        x_label="noise level sigma_t",
        y_label="dimension (FLIPD)",
        series=tuple(series),
        log_x=True,
        note="The band holds the middle 80 % of the images. The dimension of memorized images falls towards 0 with "
        "the noise.",
    )


def _distinct(model: Denoiser, timesteps: Sequence[int]) -> list[int]:
    """The model's own indices, each once, increasing."""
    return sorted({model.schedule.match(t).index for t in timesteps})
