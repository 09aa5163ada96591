"""The landscape at a point: the score s and H s over noised images, and spectra of H as charts of a record."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pytest_diffprivacy.evidence.records import Chart, Series
from pytest_diffprivacy.methods import ImageBatch, MethodEvidence, ScoredProbes
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.noise import probe_noise
from pytest_diffprivacy.models.protocols import Denoiser, WhiteBoxDenoiser
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.sharpness.hessian import ScoreHessian, full_spectrum

DRAWS = 4


def score(model: Denoiser, x_t: Tensor, timestep: int, conditioning: Conditioning | None = None) -> Tensor:
    """The score s = -eps / sigma_t = grad log p_t(x_t), same shape as x_t.

    Source: Implements the identity of METHODS 0.3 (Song et al. 2021).
    """
    return -model.predict_eps(x_t, timestep, conditioning) / model.schedule.at(timestep)[1]


def hessian_score_product(
    model: WhiteBoxDenoiser, x_t: Tensor, timestep: int, conditioning: Conditioning | None = None
) -> tuple[Tensor, Tensor]:
    """The score s and the product H s with H = grad s = -J_eps / sigma_t, by forward-mode differentiation.

    A reverse-mode product would give H^T s, which differs for a trained network.

    Returns:
        (s, H s), each of x_t's shape.

    Source: Implements the unconditional form of the product in Jeon et al. 2025, section 4.
    """
    sigma = model.schedule.at(timestep)[1]
    with torch.no_grad():
        s = score(model, x_t, timestep, conditioning)
    _, eps_change = model.eps_jvp(x_t, timestep, s, conditioning)
    return s, -eps_change / sigma


def mean_over_draws(batch: ImageBatch, timestep: int, draws: int, measure: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Mean of a measure of (x_t, t) over noised copies x_t = alpha_t x0 + sigma_t eps of each image: float64 (b,)."""
    t, alpha, sigma = batch.at(timestep)
    return torch.stack([measure(alpha * batch.x0 + sigma * eps, t).double() for eps in batch.draws(draws)]).mean(0)


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
