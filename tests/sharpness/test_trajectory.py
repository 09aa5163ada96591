"""Along sampling: the points are the sampler's, and norms meet the traces that they equal in expectation."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models import AnalyticDenoiser, PixelDiffusion
from pytest_diffprivacy.models.ddim import ddim_sample, ddim_step
from pytest_diffprivacy.models.densities import GaussianMixture
from pytest_diffprivacy.models.noise import start_noise
from pytest_diffprivacy.sharpness import ScoreHessian, sampling_spectra, trajectory_moments
from pytest_diffprivacy.sharpness.hessian import full_matrix
from pytest_diffprivacy.sharpness.trajectory import sampling_states
from tests.models.builders import population_model, tiny_unet
from tests.models.text_builders import prompted_mixtures
from tests.sharpness.matrices import gauss_hermite

STEPS = 10


def noise(model, count):
    return start_noise(range(count), model.sample_shape)


def test_the_states_are_those_of_the_sampler():
    model = PixelDiffusion(tiny_unet(), DDPMScheduler(), dtype=torch.float64)
    states = list(sampling_states(model, noise(model, 2), steps=STEPS))
    assert [t for t, _ in states] == list(model.schedule.sampling_timesteps(STEPS))
    last, x = states[-1]
    with torch.no_grad():
        x0 = ddim_step(x, model.predict_eps(x, last), model.schedule.at(last), model.schedule.final)
    torch.testing.assert_close(x0, ddim_sample(model, noise(model, 2), steps=STEPS))


def test_spectra_at_both_ends_are_the_closed_forms():
    model = population_model()
    found = sampling_spectra(model, noise(model, 1)[0], steps=STEPS)
    states = list(sampling_states(model, noise(model, 1), steps=STEPS))
    for spectrum, (t, x) in ((found.start, states[0]), (found.end, states[-1])):
        expected = np.linalg.eigvalsh(model.hessian(x, t)[0].numpy())
        np.testing.assert_allclose(spectrum.eigenvalues, expected, rtol=1e-8)
    assert found.timesteps == (states[0][0], states[-1][0])
    assert found.end.eigenvalues[0] < 5 * found.start.eigenvalues[0] < 0


def test_moments_are_the_closed_forms_at_every_point():
    model = population_model()
    found = trajectory_moments(model, noise(model, 3), steps=STEPS, every=4)
    states = list(sampling_states(model, noise(model, 3), steps=STEPS))[::4]
    assert found.timesteps == tuple(t for t, _ in states)
    for row, (t, x) in enumerate(states):
        hessian, s = model.hessian(x, t), model.score(x, t).flatten(1)
        product = torch.einsum("nij,nj->ni", hessian, s)
        np.testing.assert_allclose(found.score_squared[row], s.square().sum(1), rtol=1e-8)
        np.testing.assert_allclose(found.product_squared[row], product.square().sum(1), rtol=1e-8)
        np.testing.assert_allclose(found.minus_trace[row], -hessian.diagonal(dim1=1, dim2=2).sum(1), rtol=1e-8)
        cubed = (hessian @ hessian @ hessian).diagonal(dim1=1, dim2=2).sum(1)
        np.testing.assert_allclose(found.minus_cubed_trace[row], -cubed, rtol=1e-8)
    assert (found.trace_error == 0).all()


def test_estimated_traces_agree_with_exact_ones_within_their_error():
    model = population_model()
    exact = trajectory_moments(model, noise(model, 2), steps=4)
    found = trajectory_moments(model, noise(model, 2), steps=4, probes=200, seed=1)
    assert (np.abs(found.minus_trace - exact.minus_trace) < 4.5 * found.trace_error + 1e-9).all()
    assert (np.abs(found.minus_cubed_trace - exact.minus_cubed_trace) < 4.5 * found.cubed_trace_error + 1e-9).all()
    assert np.array_equal(found.score_squared, exact.score_squared)
    assert found.trace_error.max() > 0


def test_norms_and_traces_meet_in_expectation_over_samples_of_one_gaussian():
    # DDIM moves Gaussian noise linearly, so a few weighted start points give the expectation over all samples.
    covariance = torch.diag(torch.tensor([0.05, 0.6], dtype=torch.float64))[None]
    model = AnalyticDenoiser(GaussianMixture(torch.zeros(1, 2), covariance), (1, 1, 2))
    x_T, weights = gauss_hermite([0.0, 0.0], np.eye(2), order=3)
    found = trajectory_moments(model, x_T, steps=1000, every=333)
    mean = weights.numpy()
    np.testing.assert_allclose(found.score_squared @ mean, found.minus_trace @ mean, rtol=0.02)
    np.testing.assert_allclose(found.product_squared @ mean, found.minus_cubed_trace @ mean, rtol=0.03)
    assert (np.diff(found.minus_cubed_trace @ mean) > 0).all()  # sharper towards the image


@pytest.mark.slow
def test_prompts_condition_sampling_and_derivative():
    model = PixelDiffusion(tiny_unet(classes=4), DDPMScheduler(), null_label=3)
    found = trajectory_moments(model, noise(model, 2), steps=1, prompts=[0, 1], probes=2)
    alone = trajectory_moments(model, noise(model, 2)[1:], steps=1, prompts=[1], probes=2)
    np.testing.assert_allclose(found.minus_trace[:, 1:], alone.minus_trace, rtol=1e-4)
    other = sampling_spectra(model, noise(model, 1)[0], steps=1, prompt=2)
    same = sampling_spectra(model, noise(model, 1)[0], steps=1, prompt=0)
    assert not np.allclose(other.start.eigenvalues, same.start.eigenvalues)


def test_guidance_moves_the_points_and_the_spectra_are_of_the_prompt_or_of_what_it_changes():
    model = prompted_mixtures()
    x_T = noise(model, 1)[0]
    guided = sampling_spectra(model, x_T, steps=4, prompt="needle", guidance_scale=2.0)
    states = list(sampling_states(model, x_T[None], steps=4, prompts=["needle"], guidance_scale=2.0))
    plain = list(sampling_states(model, x_T[None], steps=4, prompts=["needle"]))
    assert [t for t, _ in states] == [t for t, _ in plain]
    torch.testing.assert_close(states[0][1], plain[0][1])
    assert not torch.allclose(states[-1][1], plain[-1][1])
    t, x = states[-1]
    of_prompt, of_none = (full_matrix(ScoreHessian(model, x[0], t, prompt=p)) for p in ("needle", None))
    np.testing.assert_allclose(guided.end.eigenvalues, np.linalg.eigvalsh(of_prompt), rtol=1e-8)
    delta = sampling_spectra(model, x_T, steps=4, prompt="needle", guidance_scale=2.0, minus_unconditional=True)
    np.testing.assert_allclose(delta.end.eigenvalues, np.linalg.eigvalsh(of_prompt - of_none), rtol=1e-8, atol=1e-8)
    moments = trajectory_moments(model, x_T[None], steps=4, every=3, prompts=["needle"], guidance_scale=2.0)
    assert moments.minus_trace[-1, 0] == pytest.approx(-np.trace(of_prompt), rel=1e-8)
    with pytest.raises(UsageError, match=r"`guidance_scale` must be 1\.0 without prompts, got 2\.0"):
        sampling_spectra(model, x_T, guidance_scale=2.0)


def test_arguments_that_make_no_sense_are_refused():
    model = population_model()
    with pytest.raises(UsageError, match="`every` must be at least 1, got 0"):
        trajectory_moments(model, noise(model, 1), every=0)
    with pytest.raises(UsageError, match=r"`x_T` must have shape \(n, \(1, 2, 3\)\)"):
        sampling_spectra(model, torch.zeros(1, 1, 2, 3))
    with pytest.raises(UsageError, match="`probes` must be a whole number of at least 2, got 1"):
        trajectory_moments(model, noise(model, 1), steps=2, probes=1)
