"""The landscape at the sharpest training images: spectra of the Hessian as charts of a record."""

from __future__ import annotations

import numpy as np
import torch

from pytest_diffprivacy.evidence.records import Chart, Series
from pytest_diffprivacy.methods import MethodEvidence, ScoredProbes
from pytest_diffprivacy.models.noise import probe_noise
from pytest_diffprivacy.models.protocols import WhiteBoxDenoiser
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.sharpness.hessian import ScoreHessian
from pytest_diffprivacy.sharpness.spectrum import full_spectrum

LARGEST_DIMENSION = 1024
SHARPEST_SHOWN = 3
POINTS_DRAWN = 64
NOT_PLANTED = (
    "A model with perfect memory is equally sharp around every image that it knows of, planted or not; the statistics "
    "are checked against closed forms in the project's tests instead."
)


def spectra(scored: ScoredProbes) -> MethodEvidence:
    """Spectra of the log density's Hessian at the sharpest members, beside a typical unseen image.

    Nothing where the model offers no derivatives, or has more than 1,024 dimensions: a spectrum needs as many products.
    """
    model = scored.model
    if not isinstance(model, WhiteBoxDenoiser) or int(np.prod(model.sample_shape)) > LARGEST_DIMENSION:
        return MethodEvidence()
    return MethodEvidence(charts=(_spectra(model, scored),))


def _spectra(model: WhiteBoxDenoiser, scored: ScoredProbes) -> Chart:
    probes, timestep, seed = scored.probes, scored.parameters["timestep"], scored.seed
    sharpest = np.argsort(-scored.members, kind="stable")[:SHARPEST_SHOWN].tolist()
    typical = int(np.argsort(scored.nonmembers, kind="stable")[len(scored.nonmembers) // 2])
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
