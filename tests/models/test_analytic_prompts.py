"""An exact text-to-image model: the independent reference's mixtures, and prompts that are kept apart."""

import numpy as np
import pytest
import torch

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.models import AnalyticDenoiser, Denoiser, Generator, PromptedDenoiser
from pytest_diffprivacy.models.analytic import AnalyticPrompts
from pytest_diffprivacy.models.protocols import WhiteBoxDenoiser, require_prompted
from tests.models.builders import population_model
from tests.models.text_builders import analytic_model, analytic_values, prompted_mixtures


def test_it_offers_every_access_of_a_text_to_image_model():
    model = prompted_mixtures()
    for protocol in (Generator, Denoiser, WhiteBoxDenoiser, PromptedDenoiser):
        assert isinstance(model, protocol)
    assert require_prompted(model, "The test") is model


def test_each_row_follows_its_own_prompt():
    model = prompted_mixtures()
    x = torch.randn(3, 1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    together = model.predict_eps(x, 300, model.condition(["needle", "", "broad"], 3))
    asked = enumerate(["needle", "", "broad"])
    alone = [model.predict_eps(x[i : i + 1], 300, model.condition([p], 1)) for i, p in asked]
    torch.testing.assert_close(together, torch.cat(alone))
    torch.testing.assert_close(alone[1], model.predict_eps(x[1:2], 300))
    assert len({float(row.sum()) for row in together}) == 3


@pytest.mark.parametrize("case", range(len(analytic_values()["cases"])))
def test_it_is_the_independent_references_mixture(case):
    given = analytic_values()["cases"][case]
    model = analytic_model(given)
    x = torch.tensor(given["x"], dtype=torch.float64).reshape(1, 1, 1, 4)
    conditioning = model.condition(["cond"], 1)
    for branch, chosen in (("cond", conditioning), ("uncond", None)):
        eps = model.predict_eps(x, given["t"], chosen).flatten().numpy()
        np.testing.assert_allclose(eps, given[f"eps_{branch}"], rtol=1e-8, atol=1e-10)
    tangent = torch.tensor(given["s_delta"], dtype=torch.float64).reshape(x.shape)
    product = model.eps_jvp(x, given["t"], tangent, conditioning)[1].flatten().numpy()
    expected = -given["sigma"] * np.asarray(given["hessian_cond"]) @ np.asarray(given["s_delta"])
    np.testing.assert_allclose(product, expected, rtol=1e-8, atol=1e-12)


def test_guidance_leads_generations_to_the_prompt():
    model = prompted_mixtures()
    needle = model.generate([1, 2], prompts=["needle", "needle"], steps=20)
    torch.testing.assert_close(needle[0], needle[1], rtol=0, atol=0.02)
    broad = model.generate([1, 2], steps=20)
    assert float((broad[0] - broad[1]).abs().max()) > 0.05


def test_an_unknown_prompt_is_refused():
    with pytest.raises(ModelError, match="`prompts` must be 1 of broad, needle, anything, got 1 with 'sharp' among"):
        prompted_mixtures().condition(["sharp"], 1)
    with pytest.raises(ModelError, match=r"`prompts` must be 2 of broad, needle, anything, got 1\."):
        prompted_mixtures().condition(["broad"], 2)


def test_densities_of_another_shape_are_refused():
    with pytest.raises(UsageError, match=r"`prompts` must have the unconditional model's shape \(1, 2, 3\)"):
        AnalyticPrompts(population_model(), {"wide": population_model((1, 3, 2))})


def test_the_identity_names_every_density():
    first, second = population_model(), AnalyticDenoiser(population_model().density, (1, 2, 3))
    assert AnalyticPrompts(first, {"a": second}).identity.digest == AnalyticPrompts(first, {"a": first}).identity.digest
    assert AnalyticPrompts(first, {"a": first}).identity.digest != AnalyticPrompts(first, {"b": first}).identity.digest


def test_a_model_without_texts_is_refused_where_texts_are_needed():
    with pytest.raises(ModelError, match=r"The detector needs a text-to-image model, but population .* takes no texts"):
        require_prompted(population_model(), "The detector")
    with pytest.raises(ModelError, match=r"does not satisfy models\.PromptedDenoiser. It lacks predict_eps, condition"):
        require_prompted(object(), "The detector")
