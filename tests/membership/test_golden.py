"""The attacks give the numbers of their authors' own code."""

import numpy as np
import pytest
import torch

from pytest_diffprivacy.membership import loss_scores, pia_scores, secmi_scores
from tests.models.builders import golden_images, golden_inputs, golden_model, golden_tolerances, golden_values

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


@pytest.fixture(scope="module", params=PRECISIONS)
def precision(request):
    return PRECISIONS[request.param]


@pytest.fixture(scope="module")
def model(precision):
    return golden_model(precision)


def check_agreement(scores, errors, key, precision):
    """Our score is minus the published error; 1e-4 in float32, the measured tolerance in float64."""
    tolerance = 1e-4 if precision is torch.float32 else golden_tolerances()[key]["rtol_float64"]
    np.testing.assert_allclose(scores, -errors.double().numpy(), rtol=tolerance)


@pytest.mark.parametrize(("row", "timestep"), [(0, 50), (1, 100), (2, 200), (3, 400)])
def test_the_loss_is_the_published_codes_loss(model, precision, row, timestep):
    scores = loss_scores(model, golden_images(), timesteps=[timestep], noise=golden_inputs()["loss_noise"][row])
    check_agreement(scores, golden_values(precision)["loss"][row], "loss", precision)


def test_the_loss_over_several_draws_is_their_mean(model, precision):
    noise, images = golden_inputs()["loss_noise"], golden_images()
    alone = [loss_scores(model, images, timesteps=[100], noise=draw) for draw in noise]
    together = loss_scores(model, images, timesteps=[100], noise=noise)
    np.testing.assert_allclose(together, np.mean(alone, axis=0), rtol=1e-6)


@pytest.mark.parametrize("timestep", [90, 100])
def test_secmi_is_the_published_codes_statistic(model, precision, timestep):
    scores = secmi_scores(model, golden_images(), timestep=timestep, step=10)
    check_agreement(scores, golden_values(precision)[f"secmi_t{timestep}"], f"secmi_t{timestep}", precision)


def test_secmi_by_default_stops_where_the_published_code_stops(model, precision):
    check_agreement(secmi_scores(model, golden_images()), golden_values(precision)["secmi_t90"], "secmi_t90", precision)


@pytest.mark.parametrize("timestep", [10, 100, 200, 300])
@pytest.mark.parametrize(("power", "key"), [(4, "pia"), (2, "pia_p2")])
def test_pia_is_the_published_codes_error(model, precision, timestep, power, key):
    scores = pia_scores(model, golden_images(), timestep=timestep, p=power)
    check_agreement(scores, golden_values(precision)[key][timestep // 10 - 1], key, precision)


def test_pia_by_default_is_the_papers_norm_at_the_papers_timestep(model, precision):
    check_agreement(pia_scores(model, golden_images()), golden_values(precision)["pia"][19], "pia", precision)
