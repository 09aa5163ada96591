"""Cross-attention: what is read is what the network uses, any number of heads, and nothing is left behind."""

import pytest
import torch

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.attention import cross_attention_layers, watch_cross_attention
from tests.models.text_builders import golden_pipeline, other_unet


def run(unet, rows=2, seed=3):
    generator = torch.Generator().manual_seed(seed)
    size = unet.config.sample_size
    x = torch.randn(rows, 4, size, size, generator=generator)
    text = torch.randn(rows, 7, 32, generator=generator)
    with torch.no_grad():
        return unet(x, 500, encoder_hidden_states=text, return_dict=False)[0]


@pytest.fixture(scope="module", params=["golden", "other"])
def unet(request):
    return golden_pipeline().unet if request.param == "golden" else other_unet()


def test_watching_changes_neither_the_output_nor_the_network(unet):
    before = {name: id(processor) for name, processor in unet.attn_processors.items()}
    plain = run(unet)
    with watch_cross_attention(unet, maps=2):
        watched = run(unet)
    torch.testing.assert_close(watched, plain, rtol=1e-4, atol=1e-5)
    assert {name: id(processor) for name, processor in unet.attn_processors.items()} == before


def test_only_cross_attention_is_watched(unet):
    before = unet.attn_processors
    with watch_cross_attention(unet):
        watched = {name for name, processor in unet.attn_processors.items() if processor is not before[name]}
    assert watched == set(cross_attention_layers(before))


def test_every_layer_gives_probabilities_and_the_first_ones_their_maps(unet):
    layers = len(cross_attention_layers(unet.attn_processors))
    size = unet.config.sample_size
    with watch_cross_attention(unet, maps=2) as record:
        run(unet)
    assert record.tokens.shape == (layers, 2, 7)
    torch.testing.assert_close(record.tokens.sum(-1), torch.ones(layers, 2))
    assert record.maps[0].shape == (2, size * size, 7)
    for layer, kept in enumerate(record.maps):
        torch.testing.assert_close(kept.mean(1), record.tokens[layer])


def test_the_probabilities_are_those_of_diffusers_eager_attention(unet):
    """An independent way to them: diffusers' own `get_attention_scores`, wrapped."""
    from diffusers.models.attention_processor import Attention, AttnProcessor

    seen = []
    original = Attention.get_attention_scores

    def spying(attn, query, key, mask=None):
        scores = original(attn, query, key, mask)
        if attn.is_cross_attention:
            seen.append(scores.reshape(2, attn.heads, *scores.shape[1:]).mean((1, 2)))
        return scores

    before = unet.attn_processors
    unet.set_attn_processor(AttnProcessor())
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Attention, "get_attention_scores", spying)
            run(unet)
    finally:
        unet.set_attn_processor(before)
    with watch_cross_attention(unet) as record:
        run(unet)
    torch.testing.assert_close(record.tokens, torch.stack(seen), rtol=1e-4, atol=1e-6)


def test_the_layers_run_down_mid_up():
    names = cross_attention_layers(golden_pipeline().unet.attn_processors)
    heads = [name.split(".")[0] for name in names]
    assert heads == ["down_blocks"] * 4 + ["mid_block"] + ["up_blocks"] * 6
    assert cross_attention_layers(
        ["up_blocks.10.attn2.processor", "up_blocks.9.attn2.processor", "up_blocks.9.attn1.processor"]
    ) == ["up_blocks.9.attn2.processor", "up_blocks.10.attn2.processor"]


def test_an_edit_of_the_logits_reaches_the_network(unet):
    def first_token_only(logits):
        edited = torch.full_like(logits, -torch.inf)
        edited[..., 0] = logits[..., 0]
        return edited

    plain = run(unet)
    with watch_cross_attention(unet, edit=first_token_only) as record:
        edited = run(unet)
    assert not torch.allclose(edited, plain, atol=1e-3)
    torch.testing.assert_close(record.tokens[..., 0], torch.ones_like(record.tokens[..., 0]))


def test_rows_that_are_skipped_are_computed_and_not_recorded(unet):
    plain = run(unet, rows=5)
    with watch_cross_attention(unet, maps=1) as whole:
        run(unet, rows=5)
    with watch_cross_attention(unet, maps=1, skip=3) as part:
        watched = run(unet, rows=5)
    torch.testing.assert_close(watched, plain, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(part.tokens, whole.tokens[:, 3:], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(part.maps[0], whole.maps[0][3:], rtol=1e-4, atol=1e-6)


def test_a_masked_token_gets_no_attention_in_either_part(unet):
    generator = torch.Generator().manual_seed(5)
    size = unet.config.sample_size
    x, text = torch.randn(4, 4, size, size, generator=generator), torch.randn(4, 7, 32, generator=generator)
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0]] * 4)

    def masked(text):
        with torch.no_grad():
            return unet(x, 500, encoder_hidden_states=text, encoder_attention_mask=mask, return_dict=False)[0]

    with watch_cross_attention(unet, skip=2) as record:
        eps = masked(text)
    assert record.tokens.shape[1] == 2
    assert float(record.tokens[..., 5:].max()) == 0.0
    torch.testing.assert_close(eps, masked(text.index_fill(1, torch.tensor([5, 6]), 9.0)), rtol=1e-4, atol=1e-5)


def test_half_precision_probabilities_are_kept_in_single_precision():
    unet = other_unet().to(torch.bfloat16)
    x, text = torch.zeros(1, 4, 6, 6, dtype=torch.bfloat16), torch.zeros(1, 7, 32, dtype=torch.bfloat16)
    with torch.no_grad(), watch_cross_attention(unet) as record:
        unet(x, 500, encoder_hidden_states=text)
    assert record.tokens.dtype == torch.float32


def test_the_processors_come_back_after_an_error(unet):
    before = {name: id(processor) for name, processor in unet.attn_processors.items()}
    with pytest.raises(ZeroDivisionError), watch_cross_attention(unet):
        raise ZeroDivisionError
    assert {name: id(processor) for name, processor in unet.attn_processors.items()} == before


def test_a_record_without_an_evaluation_is_refused(unet):
    with watch_cross_attention(unet) as record, pytest.raises(ModelError, match="evaluate the model inside the block"):
        _ = record.tokens


def test_attention_that_cannot_be_captured_is_refused_with_its_processor():
    unet = other_unet()

    class Sparse:
        def __call__(self, attn, hidden_states, *args, **kwargs):
            return hidden_states

    unet.set_attn_processor(Sparse())
    with pytest.raises(ModelError, match=r"cannot be captured: it uses Sparse. Use diffusers' own"):
        watch_cross_attention(unet).__enter__()
    bare = other_unet(down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, mid_block_type=None)
    with pytest.raises(ModelError, match="cannot be captured: it has none"):
        watch_cross_attention(bare).__enter__()
