"""What holds for every attack: nothing is found where nothing is, perfect memory is seen, batches change nothing."""

import functools

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from pytest_diffprivacy.errors import AuditError, ModelError, UsageError
from pytest_diffprivacy.membership import ATTACKS, loss_scores, pia_scores, secmi_scores
from pytest_diffprivacy.methods import Kind, find_method
from pytest_diffprivacy.models import NoiseSchedule, PixelDiffusion, ReferenceTimestep
from pytest_diffprivacy.models.scheduler import schedule_of
from pytest_diffprivacy.statistics import auroc
from tests.models.builders import (
    binary_images,
    memorizer,
    population_images,
    population_model,
    smooth_images,
    tiny_unet,
)

SCORES = {"loss": functools.partial(loss_scores, draws=4), "secmi": secmi_scores, "pia": pia_scores}
attacks = pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)


@pytest.fixture(scope="module")
def network():
    return PixelDiffusion(tiny_unet(), DDPMScheduler())


@pytest.fixture(scope="module")
def labelled_network():
    return PixelDiffusion(tiny_unet(classes=4), DDPMScheduler())


class BrokenModel:
    """A population model whose output is NaN for the images whose first pixel is above one half."""

    def __init__(self):
        self._model = population_model()
        for name in ("schedule", "sample_shape", "image_shape", "device", "dtype", "identity"):
            setattr(self, name, getattr(self._model, name))
        self.condition, self.encode, self.decode = self._model.condition, self._model.encode, self._model.decode
        self.bad = 1

    def predict_eps(self, x_t, timestep, conditioning=None):
        eps = self._model.predict_eps(x_t, timestep)
        eps[self.bad] = torch.nan
        return eps


@attacks
def test_a_model_without_members_separates_nothing(scores):
    model = population_model()
    values = scores(model, population_images(240, 31))
    area = auroc(values[:120], values[120:])
    assert area.low <= 0.5 <= area.high


@attacks
def test_a_perfect_memory_is_recognised(scores):
    members, others = binary_images(64, 1), binary_images(64, 2)
    model = memorizer(members)
    assert auroc(scores(model, members), scores(model, others)).value > 0.99


@attacks
def test_a_perfect_memory_of_grey_images_is_recognised(scores):
    members, others = smooth_images(32, 1), smooth_images(32, 2)
    model = memorizer(members)
    assert auroc(scores(model, members), scores(model, others)).value > 0.99


@attacks
@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_change_nothing_beyond_rounding(scores, network, batch_size):
    images = smooth_images(7, 3)
    np.testing.assert_allclose(scores(network, images, batch_size=batch_size), scores(network, images), rtol=1e-5)


@attacks
def test_the_same_call_gives_the_same_bits(scores, network):
    images = smooth_images(5, 3)
    assert np.array_equal(scores(network, images), scores(network, images))


@attacks
def test_an_images_score_does_not_depend_on_its_neighbours(scores):
    model, images = memorizer(smooth_images(6, 1)), smooth_images(9, 2)
    order = np.random.default_rng(1).permutation(9)
    np.testing.assert_allclose(scores(model, images)[order], scores(model, images[order]), rtol=1e-9)


@attacks
def test_scores_are_float64_and_one_an_image(scores, network):
    values = scores(network, smooth_images(4, 1))
    assert values.dtype == np.float64
    assert values.shape == (4,)
    assert (values < 0).all()


@attacks
def test_arrays_and_tensors_are_the_same_images(scores, network):
    images = smooth_images(3, 1)
    assert np.array_equal(scores(network, images), scores(network, images.numpy()))


@attacks
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.full((2, 1, 8, 8), 1.5), r"`images` must lie in \[0, 1\], got values in \[1.5, 1.5\]"),
        (torch.full((2, 1, 8, 8), -0.5), r"must lie in \[0, 1\]"),
        (torch.full((2, 1, 8, 8), torch.nan), r"must lie in \[0, 1\], got values in \[nan"),
        (np.full((1, 1, 8, 8), 200, dtype=np.uint8), r"must lie in \[0, 1\], got values in \[200, 200\]"),
        (torch.zeros(8, 8), r"`images` must have shape \(n, channels, height, width\), n >= 1, got \(8, 8\)"),
        (torch.zeros(0, 1, 8, 8), "n >= 1"),
        (torch.zeros(1, 1, 6, 6), r"model's shape \(1, 8, 8\), got \(1, 6, 6\)"),
    ],
)
def test_images_that_are_none_are_refused(scores, network, images, message):
    with pytest.raises(UsageError, match=message):
        scores(network, images)


@attacks
def test_a_nan_from_the_model_is_an_error_that_names_the_image(scores):
    with pytest.raises(AuditError, match=r"not finite for 1 of 3 images, the first at position 1\. Check the checkpo"):
        scores(BrokenModel(), torch.full((3, 1, 2, 3), 0.25))


@attacks
def test_a_model_without_grey_box_access_is_refused(scores):
    with pytest.raises(ModelError, match="needs grey-box access"):
        scores(object(), smooth_images(1, 1))


@attacks
def test_a_conditional_model_needs_a_prompt_for_every_image(scores, labelled_network):
    images = smooth_images(3, 1)
    with pytest.raises(ModelError, match="every image needs its class index"):
        scores(labelled_network, images)
    with pytest.raises(UsageError, match="`prompts` must hold one prompt for each of the 3 images, got 2"):
        scores(labelled_network, images, prompts=[0, 1])


@attacks
def test_a_prompt_belongs_to_its_image_in_every_batch(scores, labelled_network):
    images, prompts = smooth_images(4, 1), [0, 1, 2, 3]
    values = scores(labelled_network, images, prompts=prompts)
    np.testing.assert_allclose(scores(labelled_network, images, prompts=prompts, batch_size=1), values, rtol=1e-5)
    assert not np.array_equal(scores(labelled_network, images, prompts=[3, 2, 1, 0]), values)


@attacks
def test_a_batch_size_below_one_is_refused(scores, network):
    with pytest.raises(UsageError, match="`batch_size` must be at least 1, got 0"):
        scores(network, smooth_images(1, 1), batch_size=0)


def test_given_noise_of_one_draw_may_leave_the_draws_out(network):
    images = smooth_images(4, 1)
    noise = torch.randn(3, 4, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    alone = loss_scores(network, images, noise=noise[0])
    assert np.array_equal(alone, loss_scores(network, images, noise=noise[:1]))
    np.testing.assert_allclose(loss_scores(network, images, noise=noise[0], batch_size=3), alone, rtol=1e-5)
    assert not np.array_equal(loss_scores(network, images, noise=noise), alone)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 1, 8, 8), (2, 3, 1, 8, 8), (4, 1, 8, 9), (1, 1, 4, 1, 8, 8)])
def test_noise_that_does_not_fit_the_images_is_refused(network, shape):
    with pytest.raises(UsageError, match=r"`noise` must have shape \(draws, 4, \(1, 8, 8\)\)"):
        loss_scores(network, smooth_images(4, 1), noise=torch.zeros(shape))


def test_another_seed_draws_other_noise(network):
    images = smooth_images(2, 1)
    assert not np.array_equal(loss_scores(network, images, draws=1), loss_scores(network, images, draws=1, seed=1))


def test_with_flip_the_loss_is_the_mean_over_the_image_and_its_mirror_image(network):
    images = smooth_images(4, 1)
    alone = [loss_scores(network, view, draws=2) for view in (images, images.flip(-1))]
    both = loss_scores(network, images, draws=2, flip=True)
    np.testing.assert_allclose(both, np.mean(alone, axis=0), rtol=1e-6)
    np.testing.assert_allclose(loss_scores(network, images, draws=2, flip=True, batch_size=3), both, rtol=1e-5)
    loss = ATTACKS["loss"]
    assert loss.evaluations(loss.defaults | {"flip": True}) == 2 * loss.evaluations(loss.defaults)


def test_with_flip_given_noise_serves_both_views(network):
    images, generator = smooth_images(4, 1), torch.Generator().manual_seed(2)
    noise = torch.randn(2, 4, 1, 8, 8, generator=generator)
    alone = [loss_scores(network, view, noise=noise) for view in (images, images.flip(-1))]
    np.testing.assert_allclose(loss_scores(network, images, noise=noise, flip=True), np.mean(alone, axis=0), rtol=1e-6)


def test_the_loss_over_several_timesteps_is_their_mean(network):
    images = smooth_images(2, 1)
    alone = [loss_scores(network, images, timesteps=[t], draws=2) for t in (50, 100)]
    np.testing.assert_allclose(loss_scores(network, images, timesteps=[50, 100], draws=2), np.mean(alone, 0), rtol=1e-6)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m, x: loss_scores(m, x, draws=0), "`draws` must be at least 1, got 0"),
        (lambda m, x: loss_scores(m, x, timesteps=[]), "`timesteps` must be at least one"),
        (lambda m, x: loss_scores(m, x, timesteps=[5, 5]), "distinct"),
        (lambda m, x: loss_scores(m, x, timesteps=[1000]), "`timesteps` must be between 0 and 999, got 1000"),
        (lambda m, x: secmi_scores(m, x, timestep=95), "`timestep` must be a multiple of `step` = 10, got 95"),
        (lambda m, x: secmi_scores(m, x, step=0), "multiple of `step` = 0"),
        (lambda m, x: secmi_scores(m, x, timestep=-10), "got -10"),
        (lambda m, x: secmi_scores(m, x, timestep=990), "between 0 and 999, got 1000"),
        (lambda m, x: pia_scores(m, x, timestep=1000), "`timestep` must be between 0 and 999, got 1000"),
        (lambda m, x: pia_scores(m, x, p=0), "`p` must be positive, got 0"),
        (lambda m, x: pia_scores(m, x, p=float("nan")), "`p` must be positive, got nan"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(network, ask, message):
    with pytest.raises(UsageError, match=message):
        ask(network, smooth_images(1, 1))


def test_default_timesteps_are_the_papers_and_follow_the_signal_to_noise_ratio():
    cosine = PixelDiffusion(tiny_unet(), DDPMScheduler(beta_schedule="squaredcos_cap_v2"))
    images = smooth_images(2, 1)
    assert np.array_equal(pia_scores(cosine, images), pia_scores(cosine, images, timestep=393))
    assert np.array_equal(loss_scores(cosine, images, draws=1), loss_scores(cosine, images, timesteps=[203], draws=1))


def test_secmi_matches_every_point_of_its_grid():
    from pytest_diffprivacy.membership.secmi import secmi_grid

    assert secmi_grid(NoiseSchedule.linear(), ReferenceTimestep(90), 10) == [*range(0, 101, 10)]
    cosine = schedule_of(DDPMScheduler(beta_schedule="squaredcos_cap_v2"))
    grid = secmi_grid(cosine, ReferenceTimestep(90), 10)
    assert (grid[0], grid[1], grid[5], grid[9], grid[10]) == (1, 22, 103, 183, 203)
    assert secmi_grid(cosine, 90, 10) == [*range(0, 101, 10)]


def test_the_attacks_are_found_by_name():
    assert {"loss", "secmi", "pia"} <= set(ATTACKS)
    assert find_method(Kind.MEMBERSHIP, "secmi").scores is secmi_scores
    with pytest.raises(UsageError, match=r"`attack` must be one of loss, secmi, pia.*, got 'magic'"):
        find_method(Kind.MEMBERSHIP, "magic")


@pytest.mark.parametrize(("name", "cost"), [("loss", 20), ("secmi", 11), ("pia", 2)])
def test_an_attack_states_its_cost_and_its_timesteps(name, cost):
    attack = ATTACKS[name]
    calls = []

    class Counting(BrokenModel):
        def predict_eps(self, x_t, timestep, conditioning=None):
            calls.append(timestep)
            return self._model.predict_eps(x_t, timestep)

    attack.scores(Counting(), torch.full((1, 1, 2, 3), 0.5), **attack.defaults)
    assert len(calls) == attack.evaluations(attack.defaults) == cost
    assert all(isinstance(t, ReferenceTimestep) for t in attack.timesteps(attack.defaults))
