"""SimA: known answers on ideal denoisers."""

import numpy as np
import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership.sima import sima, sima_scores
from pytest_diffprivacy.statistics import auroc
from tests.membership.grey_box import evaluations
from tests.models.builders import binary_images, memorizer, population_model, smooth_images

MEMBERS, OTHERS = binary_images(20, 1), binary_images(20, 2)


@pytest.mark.parametrize("timestep", [10, 100])
@pytest.mark.parametrize("p", [4, 2, 1])
def test_an_ideal_denoiser_sees_a_known_multiple_of_a_member_as_noise(timestep, p):
    model = memorizer(MEMBERS)
    alpha, sigma = model.schedule.at(timestep)
    expected = -MEMBERS[0].numel() * ((1 - alpha) / sigma) ** p  # every pixel of these images is -1 or 1
    np.testing.assert_allclose(sima_scores(model, MEMBERS, timestep=timestep, p=p), expected, rtol=1e-8)


def test_an_ideal_denoiser_gives_its_members_away():
    model = memorizer(MEMBERS)
    assert auroc(sima_scores(model, MEMBERS), sima_scores(model, OTHERS)).value > 0.99


def test_a_batch_scores_as_its_images_do_alone():
    model, images = population_model(), smooth_images(7, 3)[:, :, :2, :3]
    np.testing.assert_allclose(sima_scores(model, images), sima_scores(model, images, batch_size=1), rtol=1e-9)


def test_an_image_costs_the_evaluations_that_the_record_names():
    assert evaluations(memorizer(MEMBERS), sima_scores, OTHERS) == sima.evaluations(sima.defaults) == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"p": -1}, "`p` must be positive, got -1"),
        ({"timestep": -1}, "between 0 and 999, got -1"),
        ({"prompts": ["a cat"]}, "one prompt for each of the 20 images, got 1"),
    ],
)
def test_a_bad_argument_is_named(parameters, message):
    with pytest.raises(UsageError, match=message):
        sima_scores(memorizer(MEMBERS), MEMBERS, **parameters)
