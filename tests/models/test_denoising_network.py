"""Forward-mode derivatives of real networks: equal to central differences, and nobody's settings changed."""

import pytest
import torch
from diffusers import DDPMScheduler
from torch.nn.attention import SDPBackend, sdpa_kernel

from pytest_diffprivacy.models import PixelDiffusion
from pytest_diffprivacy.models.denoising_network import forward_jvp
from tests.models.builders import tiny_unet

FLAGS = ("flash_sdp_enabled", "mem_efficient_sdp_enabled", "math_sdp_enabled", "cudnn_sdp_enabled")


def backend_setting():
    return {name: getattr(torch.backends.cuda, name)() for name in FLAGS}


def point_and_tangent(count=2):
    return torch.randn(2, count, 1, 8, 8, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_the_product_of_a_network_with_attention_equals_central_differences(kind):
    model = PixelDiffusion(tiny_unet(attention=True), DDPMScheduler(prediction_type=kind), dtype=torch.float64)
    x, tangent = point_and_tangent()
    value, product = model.eps_jvp(x, 100, tangent)
    step = 1e-5
    with torch.no_grad():
        above, below = (model.predict_eps(x + sign * step * tangent, 100) for sign in (1, -1))
        torch.testing.assert_close(value, model.predict_eps(x, 100), rtol=1e-10, atol=1e-12)
    expected = (above - below) / (2 * step)
    assert (product - expected).norm() / expected.norm() < 1e-7


@pytest.mark.parametrize("choice", [None, [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.FLASH_ATTENTION]])
def test_the_callers_attention_backend_is_restored(choice):
    model = PixelDiffusion(tiny_unet(attention=True), DDPMScheduler())
    x, tangent = (t.float() for t in point_and_tangent(1))
    before = backend_setting()
    if choice is None:
        model.eps_jvp(x, 100, tangent)
    else:
        with sdpa_kernel(choice):
            chosen = backend_setting()
            model.eps_jvp(x, 100, tangent)
            assert backend_setting() == chosen
    assert backend_setting() == before


def test_the_backend_is_restored_after_an_error_as_well():
    before = backend_setting()

    def broken(x):
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        forward_jvp(broken, torch.zeros(1), torch.zeros(1))
    assert backend_setting() == before


def test_the_product_of_a_linear_map_is_the_map():
    matrix = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    x, tangent = torch.tensor([[1.0, -1.0], [0.5, 2.0]], dtype=torch.float64)
    value, product = forward_jvp(lambda v: matrix @ v, x, tangent)
    torch.testing.assert_close(value, matrix @ x)
    torch.testing.assert_close(product, matrix @ tangent)
