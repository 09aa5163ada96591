"""Attention rescaling: the authors' latents, and what the edit does to a row of logits."""

import pytest
import torch

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.mitigation import AttentionRescaling, DdimSampling, Unmitigated
from pytest_diffprivacy.mitigation.attention_rescaling import rescale_start_token
from pytest_diffprivacy.mitigation.method import prompt_conditioning
from pytest_diffprivacy.models.ddim import guided_ddim
from tests.models.text_builders import golden_text_model, prompted_mixtures, text_inputs, text_values

CASES = [(0, 1.1, "mask_full"), (3, 1.25, "mask_full"), (2, 1.25, "mask_minus1")]


@pytest.mark.parametrize(("number", "factor", "mask"), CASES)
def test_the_authors_latents_are_reproduced(number, factor, mask):
    model = golden_text_model("eps")
    x = text_inputs()["latents"][number, :1].double()
    length = text_inputs()["prompt_lengths"][number]
    edit = rescale_start_token(factor=factor, kept_tokens=length - (mask == "mask_minus1"))
    conditioning = prompt_conditioning(model, [text_inputs()["prompts"][number]])
    with model.cross_attention(edit=edit):
        for step in guided_ddim(model, x, conditioning, steps=10, guidance_scale=7.5):
            x = step.x_next
    expected = text_values()[f"ren.mitigation.c{factor}.{mask}.final_latents"][number]
    assert float((x[0] - expected).abs().max() / expected.abs().max()) < 1e-7


def test_only_the_conditional_half_is_rescaled_and_both_are_masked():
    logits = torch.tensor([[-2.0, 1.0, 3.0, 4.0]]).expand(4, 2, 5, 4)
    edited = rescale_start_token(factor=1.5, kept_tokens=3)(logits)
    assert edited[:2, ..., 0].unique().tolist() == [-2.0]
    assert edited[2:, ..., 0].unique().tolist() == [-3.0]
    assert torch.equal(edited[..., 1:3], logits[..., 1:3])
    assert (edited[..., 3] == -torch.inf).all()
    assert logits[0, 0, 0].tolist() == [-2.0, 1.0, 3.0, 4.0]


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_images_change_at_the_price_of_plain_guided_sampling(guidance_scale):
    model, prompt = golden_text_model("eps"), text_inputs()["prompts"][0]
    sampling = DdimSampling(steps=2, guidance_scale=guidance_scale)
    found = AttentionRescaling().sample(model, prompt, [1, 2], sampling)
    shorter = AttentionRescaling(keep="prompt without end").sample(model, prompt, [1, 2], sampling)
    plain = Unmitigated().sample(model, prompt, [1, 2], sampling)
    assert not torch.allclose(found.images, plain.images)
    assert not torch.allclose(found.images, shorter.images)
    assert found.cost.evaluations == 8
    assert plain.cost.evaluations == (8 if guidance_scale > 1 else 4)
    alone = AttentionRescaling().sample(model, prompt, [2], sampling)
    torch.testing.assert_close(alone.images[0], found.images[1])


def test_the_model_s_attention_is_put_back():
    model, prompt = golden_text_model("eps"), text_inputs()["prompts"][0]
    sampling = DdimSampling(steps=2)
    before = Unmitigated().sample(model, prompt, [1], sampling).images
    AttentionRescaling(factor=1.5).sample(model, prompt, [1], sampling)
    assert torch.equal(Unmitigated().sample(model, prompt, [1], sampling).images, before)


def test_what_cannot_be_done_is_refused():
    with pytest.raises(ModelError, match="Attention rescaling needs cross-attention access"):
        AttentionRescaling().sample(prompted_mixtures(), "needle", [1], DdimSampling(steps=2))
    with pytest.raises(UsageError, match="`keep` must be 'prompt' or 'prompt without end', got 'all'"):
        AttentionRescaling(keep="all")
    with pytest.raises(UsageError, match="`factor` must be above 0, got 0"):
        AttentionRescaling(factor=0)
