"""Curvature along the score: how sharply the log density bends in the direction in which it rises."""

from __future__ import annotations

from torch import Tensor

from pytest_diffprivacy.methods import Access, ImageBatch, Kind, method
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from pytest_diffprivacy.sharpness.landscape import DRAWS, NOT_PLANTED, hessian_score_product, mean_over_draws, spectra


@method(
    kind=Kind.SHARPNESS,
    title="Curvature along the score",
    called="The curvature along the score",
    access=Access.WHITE_BOX,
    source="ours, inspired by Jeon et al. 2025, section 4",
    version=1,
    evaluations=lambda p: 2 * int(p["draws"]),
    noise="draws",
    uncontrolled=NOT_PLANTED,
    evidence=spectra,
)
def curvature(batch: ImageBatch, *, timestep: int = ReferenceTimestep(20), draws: int = DRAWS) -> Tensor:
    """Mean over noise draws of `-s . H s / s . s` at x_t = alpha_t x0 + sigma_t eps; higher = sharper.

    The Rayleigh quotient of -H at the score. Around a memorized image H is near -I / sigma_t^2 and the quotient near
    its largest value 1 / sigma_t^2; in a smooth region of variance q it is 1 / (alpha_t^2 q + sigma_t^2). Unlike the
    norms it does not grow with the score itself, on which an overfitted network is erratic away from its training
    images. For s = 0 the quotient is undefined and an error.

    Args:
        model: white-box access (forward-mode derivatives).
        timestep: the default is a small noise level of the papers' schedule, matched by signal-to-noise ratio; a plain
            int is the model's own.
        draws: noise draws for each image.

    Raises:
        UsageError: bad images, noise, timestep or prompts.
        AuditError: the model's output is not finite, or a score is exactly zero.

    Source: Inspired by Jeon et al. 2025, section 4: the curvature that their product H s carries, here normalized by
    the score; the quotient and its noise level are ours.
    """

    def quotient(x_t: Tensor, t: int) -> Tensor:
        s, product = hessian_score_product(batch.white_box, x_t, t, batch.conditioning)
        s, product = s.double().flatten(1), product.double().flatten(1)
        return -(s * product).sum(1) / (s * s).sum(1)

    return mean_over_draws(batch, timestep, draws, quotient)


curvature_scores = curvature.scores
