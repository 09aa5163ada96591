"""What does the landscape look like at the sharpest training images? Spectra and dimensions as charts of a record."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.evidence.records import Chart, Series
from pytest_diffprivacy.methods import Configured
from pytest_diffprivacy.models.noise import probe_noise
from pytest_diffprivacy.models.protocols import Denoiser, WhiteBoxDenoiser
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.sharpness import ScoreHessian, full_spectrum

LARGEST_DIMENSION = 1024
SHARPEST_SHOWN = 3
POINTS_DRAWN = 64


def landscape_charts(
    model: Denoiser,
    probes: ProbeSet,
    statistic: Configured,
    members: NDArray[np.float64],
    reference: NDArray[np.float64],
    *,
    seed: int,
    confidence: float,
) -> list[Chart]:
    """The spectra of the sharpest members beside a typical unseen image, and what the statistic shows besides.

    None where the model offers no derivatives or has more than 1,024 dimensions, as many products as a spectrum needs.

    Args:
        model: the audited model.
        probes: its images.
        statistic: what was measured.
        members: the members' sharpness.
        reference: the non-members' sharpness.
        seed: the run's seed.
        confidence: of each one-sided bound.
    """
    if not isinstance(model, WhiteBoxDenoiser) or int(np.prod(model.sample_shape)) > LARGEST_DIMENSION:
        return []
    shown = statistic.evidence(model, probes, seed=seed, confidence=confidence, images="none")
    timestep = statistic.parameters["timestep"]
    return [_spectra(model, probes, members, reference, timestep, seed), *shown.charts]


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
