"""SimA: size of the noise that the model sees in the clean image itself."""

from __future__ import annotations

from torch import Tensor

from pytest_diffprivacy.membership.latent_mask import LatentMask, kept
from pytest_diffprivacy.membership.pia import POWER, check_power, power_sum
from pytest_diffprivacy.membership.weighed import weighed_evidence
from pytest_diffprivacy.methods import Access, ImageBatch, method
from pytest_diffprivacy.models.schedule import ReferenceTimestep


@method(
    title="SimA",
    access=Access.GREY_BOX,
    source="Rao et al. 2025 (SimA)",
    version=1,
    evaluations=lambda _: 1,
    decides_at_timestep=True,
    evidence=weighed_evidence,
)
def sima(
    batch: ImageBatch,
    *,
    timestep: int = ReferenceTimestep(100),
    p: float = POWER,
    latent_mask: LatentMask | None = None,
) -> Tensor:
    """Score images by minus the size of the noise predicted for the clean image.

    `score = -sum | eps_theta(x0, t) |^p` with the clean image in the place of x_t: the p-th power of the paper's norm,
    as the authors' code returns it (same ranking). One network call; no randomness enters.

    Args:
        timestep: the paper reports the best of 10..300 on the labels it scores; the default t = 100 is this project's
            choice, fixed beforehand and matched by signal-to-noise ratio. A plain int is the model's own.
        p: power of the norm, > 0.
        latent_mask: of latent models, which dimensions of the error count; None: all.

    Raises:
        UsageError: p is not positive, or the timestep leaves the schedule.

    Source: Implements Rao et al. 2025 (SimA) without the root; the timestep is ours (METHODS 3.5);
    latent-dimension mask of Rao, Qu and Moyer 2026 (METHODS 3.15).
    """
    check_power(p)
    seen = batch.predict(batch.x0, batch.at(timestep)[0])
    return -power_sum(seen * kept(batch, latent_mask), p)


sima_scores = sima.scores
