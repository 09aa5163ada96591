"""Noise schedules: equal to diffusers', and matched between each other by signal-to-noise ratio."""

import numpy as np
import pytest
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.models import NoiseSchedule, ReferenceTimestep
from pytest_diffprivacy.models.schedule import match_all
from pytest_diffprivacy.models.scheduler import schedule_of

STABLE_DIFFUSION = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}

# METHODS 0.5: t on the linear schedule, alpha, sigma, SNR, index on Stable Diffusion's schedule and on the cosine one
TABLE = [
    (0, 0.99995, 0.0100, 9999, 0, 1),
    (10, 0.9989, 0.0468, 454.9, 2, 22),
    (50, 0.9849, 0.1733, 32.28, 32, 103),
    (90, 0.9556, 0.2945, 10.53, 84, 183),
    (100, 0.9461, 0.3238, 8.537, 99, 203),
    (200, 0.8102, 0.5862, 1.910, 261, 393),
    (300, 0.6277, 0.7785, 0.650, 419, 564),
    (450, 0.3547, 0.9350, 0.144, 639, 766),
]


def saved(**config):
    return schedule_of(DDPMScheduler(**config))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"t={row[0]}")
def test_the_linear_schedule_has_the_published_signal_and_noise(row):
    t, alpha, sigma, snr, _, _ = row
    schedule = NoiseSchedule.linear()
    assert schedule.at(t) == pytest.approx((alpha, sigma), abs=6e-5)
    assert np.exp(schedule.log_snr[t]) == pytest.approx(snr, rel=6e-4, abs=6e-4)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"t={row[0]}")
def test_a_reference_timestep_finds_the_same_signal_to_noise_ratio_elsewhere(row):
    t, *_, on_stable_diffusion, on_cosine = row
    assert saved(**STABLE_DIFFUSION).match(ReferenceTimestep(t)).index == on_stable_diffusion
    assert saved(**COSINE).match(ReferenceTimestep(t)).index == on_cosine
    assert NoiseSchedule.linear().match(ReferenceTimestep(t)).index == t


def test_a_plain_timestep_is_always_the_models_own():
    matched = saved(**STABLE_DIFFUSION).match(100)
    assert (matched.requested, matched.index, matched.matched) == (100, 100, False)
    assert matched.log_snr == matched.requested_log_snr


def test_a_matched_timestep_states_both_signal_to_noise_ratios():
    schedule = saved(**STABLE_DIFFUSION)
    matched = schedule.match(ReferenceTimestep(0))
    assert matched.matched
    assert np.exp(matched.requested_log_snr) == pytest.approx(9999, rel=1e-3)
    assert np.exp(matched.log_snr) == pytest.approx(1175, rel=1e-3)


def test_a_reference_timestep_says_what_it_refers_to():
    assert repr(ReferenceTimestep(90)) == "ReferenceTimestep(90)"
    assert ReferenceTimestep(90) == 90


def test_the_nearest_index_minimizes_the_difference_of_log_snr():
    schedule = saved(**COSINE)
    for wanted in (-20.0, -1.3, 0.0, 2.2, 50.0):
        assert schedule.nearest(wanted) == min(range(1000), key=lambda t: abs(schedule.log_snr[t] - wanted))


@pytest.mark.parametrize("config", [{}, STABLE_DIFFUSION, COSINE], ids=["linear", "scaled linear", "cosine"])
def test_a_schedulers_own_arrays_are_used(config):
    scheduler = DDPMScheduler(**config)
    schedule = schedule_of(scheduler)
    np.testing.assert_allclose(schedule.alphas**2, scheduler.alphas_cumprod.numpy(), rtol=1e-12)
    np.testing.assert_allclose(schedule.alphas**2 + schedule.sigmas**2, 1.0, rtol=1e-12)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [1, 3, 7, 10, 50, 1000])
def test_sampling_visits_the_timesteps_that_diffusers_visits(spacing, steps):
    scheduler = DDIMScheduler(timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    ours = schedule_of(scheduler).sampling_timesteps(steps)
    assert list(ours) == scheduler.timesteps.tolist()


def test_the_offset_of_stable_diffusion_makes_981_the_first_timestep():
    scheduler = DDIMScheduler(**STABLE_DIFFUSION, steps_offset=1, set_alpha_to_one=False)
    schedule = schedule_of(scheduler)
    times = schedule.sampling_timesteps(50)
    assert (times[0], times[-1]) == (981, 1)
    assert schedule.at(981)[0] ** 2 == pytest.approx(0.005776, rel=1e-3)
    assert schedule.final == pytest.approx(schedule.at(0))


def test_the_spacing_can_be_overridden():
    assert NoiseSchedule.linear().sampling_timesteps(4, spacing="trailing") == (999, 749, 499, 249)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_steps_outside_the_schedule_are_refused(steps):
    with pytest.raises(UsageError, match=rf"`steps` must be between 1 and 1000, got {steps}"):
        NoiseSchedule.linear().sampling_timesteps(steps)


@pytest.mark.parametrize("timestep", [-1, 1000])
def test_timesteps_outside_the_schedule_are_refused(timestep):
    schedule = NoiseSchedule.linear()
    for ask in (schedule.at, schedule.match):
        with pytest.raises(UsageError, match=rf"`timestep` must be between 0 and 999, got {timestep}"):
            ask(timestep)


def test_two_timesteps_that_fall_on_one_index_are_refused():
    schedule = NoiseSchedule.linear(steps=20)
    with pytest.raises(UsageError, match="distinct on the model's schedule"):
        match_all(schedule, [ReferenceTimestep(800), ReferenceTimestep(999)])
    with pytest.raises(UsageError, match="at least one"):
        match_all(schedule, [])


@pytest.mark.parametrize(
    ("alphas", "sigmas", "message"),
    [
        ([0.9, 0.5], [0.1], "vectors of one length"),
        ([0.9], [0.1], "vectors of one length"),
        ([0.9, np.nan], [0.1, 0.5], "finite"),
        ([0.9, 0.5], [0.0, 0.5], "> 0"),
        ([0.5, 0.9], [0.5, 0.1], "Reverse the schedule"),
    ],
)
def test_a_schedule_that_is_none_is_refused(alphas, sigmas, message):
    with pytest.raises(UsageError, match=message):
        NoiseSchedule(np.array(alphas), np.array(sigmas))


def test_a_vanishing_signal_is_a_schedule_with_log_snr_of_minus_infinity():
    schedule = NoiseSchedule(np.array([0.9, 0.0]), np.array([0.4, 1.0]))
    assert schedule.log_snr[1] == -np.inf
    assert schedule.nearest(-3.0) == 0


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with NumPy 2
@pytest.mark.parametrize("betas", ["linear", "scaled_linear"])
@pytest.mark.parametrize("kind", [DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler])
def test_a_schedule_that_ends_without_signal_keeps_the_last_bit_of_it_and_its_timesteps(kind, betas):
    settings = {"beta_schedule": betas, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    schedule = schedule_of(kind(**settings))
    assert len(schedule) == 1000
    assert schedule.sampling_timesteps(5)[0] == 999
    assert 0.0 < schedule.alphas[999] <= 2.0**-12
    rest = DDIMScheduler(**settings).alphas_cumprod.double().numpy()[:999]
    np.testing.assert_allclose(schedule.alphas[:999] ** 2, rest, rtol=1e-6)


def test_a_scheduler_without_a_noise_table_is_refused():
    with pytest.raises(ModelError, match=r"object has no `alphas_cumprod`. Pass a DDPMScheduler"):
        schedule_of(object())


def test_trailing_steps_are_as_many_as_were_asked_for_and_lie_on_the_schedule():
    schedule = NoiseSchedule.linear()
    for steps in range(1, 1001):
        times = schedule.sampling_timesteps(steps, spacing="trailing")
        assert (len(times), times[0]) == (steps, 999)
        assert min(times) >= 0
