"""Embedding optimization: the authors' embeddings and losses, token attribution, and what is counted."""

import numpy as np
import pytest
import torch

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.mitigation import DdimSampling, EmbeddingOptimization, Unmitigated, token_gradients
from pytest_diffprivacy.mitigation.embedding_optimization import embedding_name
from pytest_diffprivacy.mitigation.method import prompt_conditioning
from pytest_diffprivacy.models.conditioning import Conditioning
from tests.models.text_builders import golden_text_model, prompted_mixtures, text_inputs, text_values

FIRST = 981
NEVER = 1e-9  # a target that is not met
PROMPTS = (0, 3)
SETTINGS = DdimSampling(steps=2, guidance_scale=2.0)


def case(number):
    model = golden_text_model("eps")
    return (
        model,
        text_inputs()["latents"][number].double(),
        prompt_conditioning(model, [text_inputs()["prompts"][number]]),
    )


def relative(ours, expected):
    return float((ours - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("number", PROMPTS)
def test_the_authors_embedding_and_losses_are_reproduced(number):
    model, x_T, conditioning = case(number)
    found = EmbeddingOptimization(NEVER, iterations=6).optimize(model, x_T, conditioning, timestep=FIRST)
    np.testing.assert_allclose(found.losses, text_values()["wen.aug_prompt.loss"][number], rtol=1e-10)
    embedding = found.conditioning[embedding_name(conditioning)][0]
    assert relative(embedding, text_values()["wen.aug_prompt.embedding"][number]) < 1e-10
    assert found.updates == 6
    assert not found.reached


@pytest.mark.parametrize("number", PROMPTS)
def test_it_stops_before_the_update_once_the_target_is_met(number):
    model, x_T, conditioning = case(number)
    target = text_inputs()["aug_prompt"]["target_losses"][number]
    found = EmbeddingOptimization(target, iterations=6).optimize(model, x_T, conditioning, timestep=FIRST)
    assert found.updates == int(text_values()["wen.aug_prompt_target.updates"][number])
    assert found.reached == (found.losses[-1] <= target)
    embedding = found.conditioning[embedding_name(conditioning)][0]
    assert relative(embedding, text_values()["wen.aug_prompt_target.embedding"][number]) < 1e-10


def test_the_variant_for_a_part_of_the_image_is_reproduced():
    model, x_T, conditioning = case(0)
    mask = text_values()["be.mask"][0].double()
    found = EmbeddingOptimization(NEVER, iterations=3).optimize(model, x_T, conditioning, timestep=FIRST, mask=mask)
    # The authors' code rounds mean(mask) to float32.
    np.testing.assert_allclose(found.losses, text_values()["be.aug_prompt.loss"][0][:3], rtol=1e-6)


def test_tokens_are_attributed_as_by_the_authors():
    model, x_T, conditioning = case(0)
    gradients = token_gradients(model, x_T, conditioning, timestep=FIRST)
    np.testing.assert_allclose(gradients, text_values()["formula_wen.text_cond_grad_full"][0], rtol=1e-10)
    np.testing.assert_allclose(gradients / (2 * len(x_T)), text_values()["wen.text_cond_grad"][0], rtol=1e-10)


def test_images_change_and_what_they_cost_is_counted():
    model = golden_text_model("eps")
    prompt = text_inputs()["prompts"][1]
    wen = EmbeddingOptimization(target_loss=1e-6, iterations=2)
    found = wen.sample(model, prompt, [1, 2], SETTINGS)
    plain = Unmitigated().sample(model, prompt, [1, 2], SETTINGS)
    assert not torch.allclose(found.images, plain.images)
    assert found.cost.evaluations == 2 * 2 * 2 + plain.cost.evaluations
    assert found.cost.backward == 2 * 2 * 2
    assert found.cost.over_budget == 2
    easy = EmbeddingOptimization(target_loss=1e6).sample(model, prompt, [1, 2], SETTINGS)
    torch.testing.assert_close(easy.images, plain.images)
    assert (easy.cost.backward, easy.cost.over_budget) == (0, 0)


def test_a_mask_may_be_found_by_a_function():
    asked = []

    def left_half(model, prompt, x_T, sampling):
        asked.append((prompt, len(x_T), sampling))
        mask = torch.zeros_like(x_T[:, :1])
        mask[..., : x_T.shape[-1] // 2] = 1.0
        return mask

    model, prompt = golden_text_model("eps"), text_inputs()["prompts"][1]
    masked = EmbeddingOptimization(target_loss=1e-6, iterations=1, mask=left_half)
    whole = EmbeddingOptimization(target_loss=1e-6, iterations=1)
    assert asked == []
    images = [method.sample(model, prompt, [1], SETTINGS).images for method in (masked, whole)]
    assert asked == [(prompt, 1, SETTINGS)]
    assert not torch.allclose(*images)
    assert masked.card.parameters["mask"] == "left_half"
    assert masked.card.version is None
    assert whole.card.version == 1


def test_a_model_without_a_token_embedding_is_refused():
    with pytest.raises(ModelError, match="must hold one token embedding"):
        EmbeddingOptimization(target_loss=1.0).sample(prompted_mixtures(), "needle", [1], SETTINGS)
    two = Conditioning({"a": torch.zeros(1, 2, 3), "b": torch.zeros(1, 2, 3)})
    with pytest.raises(ModelError, match="got 2"):
        embedding_name(two)
    with pytest.raises(UsageError, match="`target_loss` must be above 0, got 0"):
        EmbeddingOptimization(target_loss=0)
