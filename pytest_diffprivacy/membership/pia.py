"""PIA: how well the model's own noise guess for the clean image returns when it is used as the noise."""

from __future__ import annotations

from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership.frequency_filter import FrequencyFilter, filtered
from pytest_diffprivacy.membership.latent_mask import LatentMask, kept
from pytest_diffprivacy.membership.weighed import weighed_evidence
from pytest_diffprivacy.methods import Access, ImageBatch, method
from pytest_diffprivacy.models.schedule import ReferenceTimestep

POWER = 4


@method(
    title="PIA",
    access=Access.GREY_BOX,
    source="Kong et al. 2024 (PIA), Eq. 9",
    version=1,
    evaluations=lambda _: 2,
    decides_at_timestep=True,
    evidence=weighed_evidence,
)
def pia(
    batch: ImageBatch,
    *,
    timestep: int = ReferenceTimestep(200),
    p: float = POWER,
    frequency_filter: FrequencyFilter | None = None,
    latent_mask: LatentMask | None = None,
) -> Tensor:
    """Score images by minus the proximal initialization error.

    `e0 = eps_theta(x0, 0)`, `score = -sum | e0 - eps_theta(alpha_t x0 + sigma_t e0, t) |^p`: the p-th power of the
    paper's norm, as the authors' code returns it (same ranking). No randomness enters.

    Args:
        timestep: the default is the papers' t = 200, matched by signal-to-noise ratio; a plain int is the model's own.
        p: power of the norm, > 0.
        frequency_filter: damps the error's high spatial frequencies; fix it before labels are seen. None: none.
        latent_mask: of latent models, which dimensions of the error count; None: all.

    Raises:
        UsageError: p is not positive, or the timestep leaves the schedule.

    Source: Implements Kong et al. 2024 (PIA), Eq. 9, without the root; frequency filter of FreMIA (METHODS 3.14),
    latent-dimension mask of Rao, Qu and Moyer 2026 (METHODS 3.15).
    """
    check_power(p)
    t, alpha, sigma = batch.at(timestep)
    e0 = batch.predict(batch.x0, 0)
    error = e0 - batch.predict(alpha * batch.x0 + sigma * e0, t)
    return -power_sum(filtered(error, frequency_filter, (alpha, sigma)) * kept(batch, latent_mask), p)


pia_scores = pia.scores


def check_power(p: float) -> None:
    """Refuse a power that is not positive."""
    if not p > 0:
        raise UsageError(f"`p` must be positive, got {p!r}.")


def power_sum(error: Tensor, p: float) -> Tensor:
    """The sum of |error|^p of each row, float64: the p-th power of its p-norm."""
    return error.double().abs().pow(p).flatten(1).sum(1)
