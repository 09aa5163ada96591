"""Access levels: asking a model for more than it offers is an error that says what is missing."""

import pytest
import torch

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.protocols import require_denoiser, require_generator, require_white_box
from tests.models.builders import population_model


class BlackBox:
    identity = population_model().identity

    def generate(self, seeds, *, prompts=None, steps=50, guidance_scale=1.0):
        return torch.zeros(len(seeds), 1, 8, 8)


def test_a_model_with_the_access_that_is_asked_for_is_given_back():
    model = population_model()
    for require in (require_generator, require_denoiser, require_white_box):
        assert require(model, "This attack") is model


@pytest.mark.parametrize(
    ("require", "model", "message"),
    [
        (require_generator, object(), "The test needs black-box access, but object .* It lacks identity, generate"),
        (require_denoiser, BlackBox(), "The test needs grey-box access, but BlackBox .* It lacks schedule, sample_sh"),
        (require_white_box, BlackBox(), "The test needs white-box access, but BlackBox .* It lacks predict_eps, eps_j"),
    ],
)
def test_a_model_with_less_access_is_refused(require, model, message):
    with pytest.raises(ModelError, match=message):
        require(model, "The test")
