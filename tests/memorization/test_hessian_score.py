"""Jeon's product: never transposed, the step under control, and a fallback that says so."""

import numpy as np
import pytest
import torch

from pytest_diffprivacy.errors import DerivativeFallback, ModelError
from pytest_diffprivacy.memorization import DETECTORS, PromptSampling, hessian_score_scores, watch_prompts
from pytest_diffprivacy.memorization.hessian_score import default_change, hessian_score_difference
from pytest_diffprivacy.models import StableDiffusion
from pytest_diffprivacy.models.ddim import predict_pair
from tests.models.text_builders import golden_pipeline, golden_text_model, prompted_mixtures, text_inputs

TEXTS = ["a dog on the moon", "cat"]


@pytest.mark.slow
def test_the_product_is_the_jacobian_times_the_vector_and_not_its_transpose():
    model = golden_text_model()
    x, told = text_inputs()["latents"][:1, 0].double(), golden_text_model().condition(TEXTS[:1], 1)

    def s_delta(y):
        eps_u, eps_c = predict_pair(model, y, 981, told, None)
        return -(eps_c - eps_u) / model.schedule.at(981)[1]

    with torch.no_grad():
        direction = s_delta(x)
    jacobian = torch.autograd.functional.jacobian(s_delta, x).reshape(256, 256)
    product = hessian_score_difference(model, x, 981, told, direction, derivative="forward").flatten()
    torch.testing.assert_close(product, jacobian @ direction.flatten(), rtol=1e-9, atol=1e-12)
    transposed = jacobian.T @ direction.flatten()
    assert float((transposed - product).norm() / product.norm()) > 0.1


@pytest.mark.parametrize("change", [1e-2, 1e-3])
def test_the_step_moves_x_by_what_is_asked_for(change, monkeypatch):
    model = prompted_mixtures()
    points = []
    predict = model.predict_eps
    monkeypatch.setattr(model, "predict_eps", lambda x, t, c=None: points.append(x) or predict(x, t, c))
    hessian_score_scores(model, ["needle"], images_per_prompt=3, change=change)
    here, ahead, behind = (point[:3] for point in points[:3])
    for moved in (ahead - here, here - behind):
        np.testing.assert_allclose(moved.flatten(1).square().mean(1).sqrt(), change, rtol=1e-6)


def test_a_prompt_that_does_not_pull_has_no_product():
    for derivative in ("central", "forward"):
        assert hessian_score_scores(prompted_mixtures(), ["anything"], derivative=derivative).tolist() == [0.0]


def test_the_record_holds_step_and_error():
    entry = DETECTORS["hessian_score"](change=0.02)
    arrays = watch_prompts(golden_text_model("eps", torch.float32), TEXTS, {"a": entry}, PromptSampling(2))["a"]
    assert (arrays["change"] == 0.02).all()
    assert (arrays["moved_by_half"] > 0).all()
    entry = DETECTORS["hessian_score"](derivative="forward")
    arrays = watch_prompts(prompted_mixtures(), ["needle"], {"a": entry}, PromptSampling(2))["a"]
    assert not arrays["change"].any()


def test_a_network_without_forward_derivative_falls_back_and_says_so():
    pipeline = golden_pipeline()
    model = StableDiffusion(pipeline)
    expected = hessian_score_scores(model, TEXTS, images_per_prompt=2)

    class OneWay(torch.autograd.Function):
        """A kernel with a backward derivative only, as fused attention kernels have."""

        @staticmethod
        def forward(ctx, query):
            return query.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    pipeline.unet.mid_block.attentions[0].register_forward_hook(
        lambda module, given, output: (OneWay.apply(output[0]), *output[1:])
    )
    with pytest.warns(DerivativeFallback, match="has no forward derivative .*central differences are taken instead"):
        scores = hessian_score_scores(model, TEXTS, images_per_prompt=2, derivative="forward")
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_lack_of_memory_is_no_lack_of_a_derivative(error, monkeypatch):
    """The engine halves the batch then; central differences would be taken for a network that has the derivative."""
    model = prompted_mixtures()

    def jvp(*given):
        raise error

    monkeypatch.setattr(model, "eps_jvp", jvp)
    with pytest.raises(RuntimeError, match="memory"):
        hessian_score_scores(model, ["needle"], derivative="forward")


def test_without_a_derivative_half_precision_has_no_way_out(monkeypatch):
    model = StableDiffusion(golden_pipeline(), dtype=torch.bfloat16)

    def jvp(*given):
        raise NotImplementedError("no forward AD")

    monkeypatch.setattr(model, "eps_jvp", jvp)
    with pytest.raises(ModelError, match=r"has no forward derivative \(no forward AD\), and in bfloat16 .*float32"):
        hessian_score_scores(model, TEXTS, derivative="forward")


def test_a_grey_box_gives_central_differences_and_no_forward_mode():
    class GreyBox:
        def __init__(self, inner):
            for name in ("identity", "schedule", "sample_shape", "image_shape", "device", "dtype", "token_limit"):
                setattr(self, name, getattr(inner, name))
            for name in ("predict_eps", "condition", "encode", "decode", "token_counts"):
                setattr(self, name, getattr(inner, name))

    inner = prompted_mixtures()
    np.testing.assert_allclose(
        hessian_score_scores(GreyBox(inner), ["needle"]), hessian_score_scores(inner, ["needle"]), rtol=1e-12
    )
    with pytest.raises(ModelError, match="forward derivative of the score difference needs white-box access"):
        hessian_score_scores(GreyBox(inner), ["needle"], derivative="forward")


def test_half_precision_is_refused_where_differences_would_be_rounding():
    with pytest.raises(ModelError, match="need float32 or float64, got a model in bfloat16"):
        default_change(torch.bfloat16)
