"""SecMI: error of one deterministic step up and back from where the image's own trajectory is."""

from __future__ import annotations

from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership.frequency_filter import FrequencyFilter, filtered
from pytest_diffprivacy.membership.latent_mask import LatentMask, kept
from pytest_diffprivacy.membership.weighed import weighed_evidence
from pytest_diffprivacy.methods import Access, ImageBatch, method
from pytest_diffprivacy.models.ddim import ddim_invert, ddim_step
from pytest_diffprivacy.models.schedule import NoiseSchedule, ReferenceTimestep, match_all


@method(
    title="SecMI (statistic)",
    called="SecMI",
    access=Access.GREY_BOX,
    source="Duan et al. 2023 (SecMI), Eq. 8-10; timestep as in the authors' code",
    version=1,
    evaluations=lambda p: int(p["timestep"]) // int(p["step"]) + 2,
    decides_at_timestep=True,
    evidence=weighed_evidence,
)
def secmi(
    batch: ImageBatch,
    *,
    timestep: int = ReferenceTimestep(90),
    step: int = 10,
    last_step: int | None = None,
    frequency_filter: FrequencyFilter | None = None,
    latent_mask: LatentMask | None = None,
) -> Tensor:
    """Score images by minus SecMI's t-error (the paper's statistic, SecMI stat).

    The image is inverted 0 -> step -> ... -> timestep by DDIM; one step to timestep + last_step and back gives x'.
    `score = -|| x' - x_timestep ||_2^2`, a sum over pixels. No randomness enters.

    Args:
        timestep: the default is what the authors' code runs, 90; the paper prints 100. The default grid is that of
            the papers' schedule, matched by signal-to-noise ratio; a plain int is the model's own.
        step: distance of the grid's timesteps; must divide timestep.
        last_step: length of the step up and back; None: as the others.
        frequency_filter: damps the error's high spatial frequencies; fix it before labels are seen. None: none.
        latent_mask: of latent models, which dimensions of the error count; None: all.

    Raises:
        UsageError: step does not divide timestep, or the grid leaves the schedule.

    Source: Implements Duan et al. 2023 (SecMI), Eq. 8-10, with the timestep of the authors' code; frequency filter of
    FreMIA (METHODS 3.14), latent-dimension mask of Rao, Qu and Moyer 2026 (METHODS 3.15).
    """
    model, condition = batch.model, batch.conditioning
    *path, above = secmi_grid(model.schedule, timestep, step, last_step)
    top = path[-1]
    x = ddim_invert(model, batch.images, timesteps=path, conditioning=condition)
    here, there = model.schedule.at(top), model.schedule.at(above)
    eps = model.predict_eps(x, top, condition)
    eps_above = model.predict_eps(ddim_step(x, eps, here, there), above, condition)
    # D(D(x; here -> there); there -> here) - x: x cancels in the formula, so its rounding does not enter
    error = (here[0] * there[1] / there[0] - here[1]) * (eps - eps_above).double()
    return -(filtered(error, frequency_filter) * kept(batch, latent_mask)).square().flatten(1).sum(1)


secmi_scores = secmi.scores


def secmi_grid(schedule: NoiseSchedule, timestep: int, step: int, last_step: int | None = None) -> list[int]:
    """The model's own timesteps that SecMI visits: 0, step, ..., timestep, timestep + last_step (None: + step).

    Raises:
        UsageError: step does not divide timestep, the last step is none, or two points of the grid are one timestep of
            this schedule.
    """
    if step < 1 or timestep < 0 or timestep % step:
        raise UsageError(f"`timestep` must be a multiple of `step` = {step!r}, got {int(timestep)!r}.")
    last = step if last_step is None else last_step
    if last < 1:
        raise UsageError(f"`last_step` must be at least 1, got {last_step!r}.")
    kind = ReferenceTimestep if isinstance(timestep, ReferenceTimestep) else int
    wanted = [kind(t) for t in (*range(0, int(timestep) + 1, step), int(timestep) + last)]
    return [m.index for m in match_all(schedule, wanted)]
