"""The detectors give the numbers of their authors' own code, image by image."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pytest_diffprivacy.memorization import (
    DETECTORS,
    PromptSampling,
    anisotropy_scores,
    attention_entropy_scores,
    bright_ending_scores,
    hessian_score_scores,
    layerwise_entropy_scores,
    score_difference_scores,
    watch_prompts,
)
from pytest_diffprivacy.models.prediction import PredictionType
from tests.models.text_builders import TEXT_GOLDEN, golden_text_model, text_inputs, text_values

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::pytest_diffprivacy.errors.PromptTruncated")]

FLOAT64, FLOAT32 = torch.float64, torch.float32
PRECISIONS = [pytest.param(FLOAT64, id="float64"), pytest.param(FLOAT32, id="float32")]
# Ten times what an independent recomputation differed by, as the README of the golden values says.
TOLERANCES = {
    ("wen", "eps"): {FLOAT64: 4.4e-14, FLOAT32: 1.9e-5},
    ("wen", "v"): {FLOAT64: 1e-6, FLOAT32: 1.2e-5},
    ("jeon", "eps"): {FLOAT64: 1e-12, FLOAT32: 1e-5},
    ("jeon", "v"): {FLOAT64: 6.5e-7, FLOAT32: 1e-5},
    ("aniso", "eps"): {FLOAT64: 3.9e-14, FLOAT32: 1.6e-5},
    ("aniso", "v"): {FLOAT64: 6e-7, FLOAT32: 1.6e-5},
}
CUT = 5  # the prompt that is longer than the encoder takes


def watch(kind, precision, asked, prompts=range(6), **sampling):
    texts = [text_inputs()["prompts"][i] for i in prompts]
    latents = text_inputs()["latents"][list(prompts)]
    entry = {name: DETECTORS[name](**parameters) for name, parameters in asked.items()}
    return watch_prompts(golden_text_model(kind, precision), texts, entry, PromptSampling(**sampling), latents=latents)


def golden(key, precision, prompts=range(6)):
    return text_values(precision)[key][list(prompts)].double().numpy()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["eps", "v"])
@pytest.mark.parametrize("steps", [1, 5])
def test_the_score_difference_is_wens_norm(kind, steps, precision):
    norms = watch(kind, precision, {"score_difference": {"steps": steps}}, sampling_steps=steps)
    alphas = golden_text_model(kind, precision).schedule.alphas
    times = golden_text_model(kind, precision).schedule.sampling_timesteps(steps)
    scale = alphas[list(times)] if kind == "v" else 1.0  # their code norms the difference of v
    expected = golden(f"wen.{kind}.steps{steps}.text_noise_norm", precision) * scale
    np.testing.assert_allclose(norms["score_difference"]["norms"], expected, rtol=TOLERANCES["wen", kind][precision])


@pytest.fixture(scope="module")
def whole_walk():
    """Two prompts over all fifty steps, one of them cut, for every detector that needs them."""
    asked = {
        "score_difference": {"steps": 50},
        "bright_ending": {},
        "attention_entropy": {},
        "layerwise_entropy": {},
    }
    return watch("eps", FLOAT64, asked, [0, CUT])


def test_fifty_steps_are_wens_fifty_steps(whole_walk):
    norms = whole_walk["score_difference"]["norms"]
    expected = golden("wen.eps.steps50.text_noise_norm", FLOAT64, [0, CUT])
    np.testing.assert_allclose(norms, expected, rtol=4.4e-14)


def test_the_first_steps_of_fifty_are_a_prefix_and_the_score_form_divides_by_sigma():
    norms = watch("v", FLOAT64, {"score_difference": {"steps": 3}}, [1])["score_difference"]["norms"]
    expected = golden("formula_wen.v.steps50.eps_diff_norm", FLOAT64, [1])[..., :3]
    np.testing.assert_allclose(norms, expected, rtol=1e-6)
    norms = watch("eps", FLOAT64, {"score_difference": {"steps": 3, "form": "score"}}, [1])["score_difference"]["norms"]
    expected = golden("formula_wen.eps.steps50.score_diff_norm", FLOAT64, [1])[..., :3]
    np.testing.assert_allclose(norms, expected, rtol=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("kind", "steps"), [("eps", 1), ("eps", 3), ("v", 1), ("v", 3)])
def test_the_hessian_score_is_jeons_norm(kind, steps, precision):
    prompts = range(6) if steps == 1 else [0, CUT]
    asked = {"hessian_score": {"steps": steps, "derivative": "forward"}}
    norms = watch(kind, precision, asked, prompts)["hessian_score"]["norms"]
    key = f"jeon.eps.k{steps}.per_image" if kind == "eps" else f"formula_jeon.v.k{steps}.per_image_true"
    np.testing.assert_allclose(norms, golden(key, precision, prompts), rtol=TOLERANCES["jeon", kind][precision])


@pytest.mark.parametrize(("precision", "tolerance"), [(FLOAT64, 1e-6), (FLOAT32, 1e-3)])
@pytest.mark.parametrize("kind", ["eps", "v"])
def test_central_differences_are_near_the_derivative(kind, precision, tolerance):
    arrays = watch(kind, precision, {"hessian_score": {}})["hessian_score"]
    key = "jeon.eps.k1.per_image" if kind == "eps" else "formula_jeon.v.k1.per_image_true"
    np.testing.assert_allclose(arrays["norms"], golden(key, FLOAT64), rtol=tolerance)
    assert (arrays["moved_by_half"] < 2 * tolerance).all()


def test_the_layerwise_entropy_is_rens(whole_walk):
    entropies = -(whole_walk["layerwise_entropy"]["attention"] * np.log(whole_walk["layerwise_entropy"]["attention"]))
    np.testing.assert_allclose(entropies.sum(-1)[:, 0], golden("ren.LE", FLOAT64, [0, CUT]), rtol=4.2e-15 * 10)
    attention = load_file(TEXT_GOLDEN / "attention.safetensors")["head_mean"][[0, CUT], 0, 3].double()
    np.testing.assert_allclose(whole_walk["layerwise_entropy"]["attention"][:, 0], attention, rtol=0, atol=1e-6)


def test_the_attention_entropy_is_rens_with_and_without_its_sign(whole_walk):
    first = {name: array[:, :1] for name, array in whole_walk["attention_entropy"].items()}
    scores = DETECTORS["attention_entropy"]().scores(first)
    np.testing.assert_allclose(scores, golden("ren.AE", FLOAT64, [0, CUT]), rtol=4.3e-15 * 10)
    scores = DETECTORS["attention_entropy"](signed=False).scores(first)
    np.testing.assert_allclose(scores, golden("formula_ren.AE_abs", FLOAT64, [0, CUT]), rtol=1e-8)


def test_the_mask_and_the_norms_under_it_are_those_of_bright_ending(whole_walk):
    bright = whole_walk["bright_ending"]
    mask = golden("be.mask", FLOAT64, [0, CUT])[:, :, 0]
    np.testing.assert_allclose(bright["mask"], mask, rtol=0, atol=8.3e-14 * mask.max())
    expected = golden("be.text_noise_norm_masked", FLOAT64, [0, CUT])
    np.testing.assert_allclose(bright["norms"], expected, rtol=3.8e-7)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["eps", "v"])
def test_the_anisotropy_is_its_authors(kind, precision):
    output = PredictionType.V if kind == "v" else PredictionType.EPS
    arrays = watch(kind, precision, {"anisotropy": {"output": output}})["anisotropy"]
    _, sigma = golden_text_model(kind, precision).schedule.at(981)
    factor = sigma**2 if kind == "v" else 1.0  # their code divides the norm of a v-model by 1 - abar
    tolerance = TOLERANCES["aniso", kind][precision]
    norm = golden(f"aniso.{kind}.k1.norm_per_image", precision)[..., 0] * factor
    cosine = golden(f"aniso.{kind}.k1.cosine_per_image", precision)[..., 0]
    np.testing.assert_allclose(arrays["norm"], norm, rtol=tolerance)
    np.testing.assert_allclose(arrays["cosine"], cosine, rtol=0, atol=tolerance * abs(cosine).max())
    if kind == "eps":
        scores = DETECTORS["anisotropy"]().scores(arrays)
        combined = golden("formula_aniso.eps.k1.combined_per_image", precision)[..., 0].mean(1)
        np.testing.assert_allclose(scores, combined, rtol=1e-5 if precision is FLOAT32 else 1e-12)


def test_the_public_functions_are_means_over_steps_and_images():
    model, texts, latents = golden_text_model(), text_inputs()["prompts"][:2], text_inputs()["latents"][:2]
    given = {"latents": latents}
    expected = golden("wen.eps.steps5.text_noise_norm", FLOAT64)[:2].mean((1, 2))
    scores = score_difference_scores(model, texts, steps=5, sampling_steps=5, **given)
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    norms = golden("jeon.eps.k3.per_image", FLOAT64)[:2]
    for squared, mean in ((False, norms.mean((1, 2))), (True, (norms**2).mean((1, 2)))):
        scores = hessian_score_scores(model, texts, steps=3, squared=squared, derivative="forward", **given)
        np.testing.assert_allclose(scores, mean, rtol=1e-11)
    one = {"latents": latents[:, :1]}
    np.testing.assert_allclose(layerwise_entropy_scores(model, texts, **one), golden("ren.LE", FLOAT64)[:2], rtol=1e-12)
    combined = golden("formula_aniso.eps.k1.combined_per_image", FLOAT64)[:2].mean((1, 2))
    np.testing.assert_allclose(anisotropy_scores(model, texts, **given), combined, rtol=1e-11)


def test_the_public_functions_of_a_whole_walk_are_its_scores(whole_walk):
    """In single precision, which is quicker."""
    model, text, latents = golden_text_model("eps", FLOAT32), text_inputs()["prompts"][:1], text_inputs()["latents"][:1]
    np.testing.assert_allclose(
        bright_ending_scores(model, text, latents=latents),
        golden("be.text_noise_norm_masked", FLOAT64)[:1].mean((1, 2)),
        rtol=2e-5,
    )
    np.testing.assert_allclose(
        attention_entropy_scores(model, text, latents=latents[:, :1]), golden("ren.AE", FLOAT64)[:1], rtol=2e-5
    )
