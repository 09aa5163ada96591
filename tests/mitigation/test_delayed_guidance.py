"""Delayed guidance: the scale before and after, its limits, and the first local minimum."""

import pytest
import torch

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.mitigation import DdimSampling, DelayedGuidance, DynamicGuidance, Unmitigated
from pytest_diffprivacy.mitigation.delayed_guidance import TransitionPoint
from pytest_diffprivacy.mitigation.method import prompt_conditioning, seeded_noise
from pytest_diffprivacy.models.ddim import ddim_step
from tests.models.text_builders import prompted_mixtures

SAMPLING = DdimSampling(steps=10, guidance_scale=3.0)
SEEDS = [1, 2]


@pytest.fixture(scope="module")
def mixtures():
    return prompted_mixtures()


def by_hand(model, scale_at, steps=10):
    """Guided DDIM written out."""
    schedule, x = model.schedule, seeded_noise(model, SEEDS)
    times = schedule.sampling_timesteps(steps)
    conditioning = prompt_conditioning(model, ["needle"] * 2)
    for t, target in zip(times, [*[schedule.at(t) for t in times[1:]], schedule.final], strict=True):
        eps_u, eps_c = model.predict_eps(x, t), model.predict_eps(x, t, conditioning)
        x = ddim_step(x, eps_u + scale_at(t) * (eps_c - eps_u), schedule.at(t), target)
    return model.decode(x)


def test_guidance_sets_in_at_the_timestep(mixtures):
    found = DelayedGuidance(until=500).sample(mixtures, "needle", SEEDS, SAMPLING)
    torch.testing.assert_close(found.images, by_hand(mixtures, lambda t: 1.0 if t > 500 else 3.0))
    assert mixtures.schedule.sampling_timesteps(10)[4] == 500


def test_opposite_guidance_leads_away_first(mixtures):
    found = DelayedGuidance.opposite().sample(mixtures, "needle", SEEDS, SAMPLING)
    torch.testing.assert_close(found.images, by_hand(mixtures, lambda t: -2.0 if t > 650 else 3.0))
    assert DelayedGuidance.opposite().card.name == "opposite"


def test_without_delay_it_is_plain_guidance(mixtures):
    plain = Unmitigated().sample(mixtures, "needle", SEEDS, SAMPLING)
    found = DelayedGuidance(until=999).sample(mixtures, "needle", SEEDS, SAMPLING)
    torch.testing.assert_close(found.images, plain.images)
    assert found.cost == plain.cost
    assert plain.cost.evaluations == 2 * 2 * 10


def test_at_guidance_one_the_unconditional_branch_is_not_asked(mixtures):
    found = Unmitigated().sample(mixtures, "needle", SEEDS, DdimSampling(steps=10, guidance_scale=1.0))
    assert found.cost.evaluations == 2 * 10
    torch.testing.assert_close(found.images, by_hand(mixtures, lambda t: 1.0))


def test_the_transition_is_the_first_local_minimum_of_each_image():
    rule = TransitionPoint(3, before=1.0, after=7.5)
    norms = torch.tensor([[5.0, 3.0, 4.0, 2.0, 9.0], [5.0, 4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 1.5, 1.6, 3.0]])
    scales = torch.stack([rule(0, torch.zeros(3, 1), column[:, None]).flatten() for column in norms.T], 1)
    assert scales.tolist() == [[1.0, 1.0, 7.5, 7.5, 7.5], [1.0] * 5, [1.0, 1.0, 1.0, 7.5, 7.5]]
    assert rule.passed.tolist() == [True, False, True]


def test_an_image_without_a_minimum_is_counted(mixtures):
    found = DynamicGuidance().sample(mixtures, "needle", SEEDS, DdimSampling(steps=2, guidance_scale=3.0))
    assert found.cost.over_budget == 2  # two steps have no minimum between them
    torch.testing.assert_close(found.images, by_hand(mixtures, lambda t: 1.0, steps=2))


def test_a_timestep_outside_the_schedule_is_refused(mixtures):
    with pytest.raises(UsageError, match="`until` must be between 0 and 999, got 1000"):
        DelayedGuidance(until=1000).sample(mixtures, "needle", SEEDS, SAMPLING)
