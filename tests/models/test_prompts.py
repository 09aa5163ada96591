"""Prompts: encoded once, counted with their ends, and never cut in silence."""

import warnings

import pytest
import torch

from pytest_diffprivacy.errors import ModelError, PromptTruncated
from pytest_diffprivacy.models.families import FAMILIES
from pytest_diffprivacy.models.families.family import EMBEDDING
from pytest_diffprivacy.models.prompts import PromptEncoder
from tests.models.text_builders import golden_pipeline, text_inputs

FAMILY = FAMILIES["StableDiffusionPipeline"]


def embed_with(pipeline):
    pipeline.text_encoder.eval()
    return lambda texts: FAMILY.embed(pipeline, texts)


@pytest.fixture
def encoder():
    pipeline = golden_pipeline()
    return PromptEncoder(*FAMILY.reader(pipeline), embed_with(pipeline))


def test_the_embeddings_are_the_pipelines_own(encoder):
    inputs = text_inputs()
    with pytest.warns(PromptTruncated):
        embedded = encoder.encode(inputs["prompts"])
    torch.testing.assert_close(embedded[EMBEDDING], inputs["text_embeds_cond"], rtol=0, atol=1e-5)
    torch.testing.assert_close(encoder.encode([""])[EMBEDDING], inputs["text_embeds_uncond"], rtol=0, atol=1e-5)


def test_tokens_are_counted_with_their_ends_whatever_the_encoder_takes(encoder):
    *short, long = text_inputs()["prompts"]
    assert encoder.counts(short) == text_inputs()["prompt_lengths"][:-1]
    assert encoder.counts([""]) == [2]
    assert encoder.counts([long])[0] > encoder.limit == 77
    assert encoder.counts([]) == []


def test_a_prompt_that_is_cut_is_said_once_without_its_text(encoder):
    long = text_inputs()["prompts"][-1]
    with pytest.warns(PromptTruncated, match=r"1 of 2 prompts are longer than the 77 tokens .* \(119 tokens\)") as said:
        encoder.encode(["cat", long])
    assert "portrait" not in str(said[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode([long])


def test_a_prompt_is_encoded_once(encoder, monkeypatch):
    embedded = []
    rows = {"rows": torch.zeros(2, 77, 32)}
    monkeypatch.setattr(encoder, "_embed", lambda texts: embedded.extend(texts) or rows)
    encoder.encode(["cat", "dog", "cat"])
    encoder.encode(["dog", "bird"])
    assert embedded == ["cat", "dog", "bird"]


def test_the_memory_is_bounded_and_a_whole_request_is_answered_nevertheless(encoder, monkeypatch):
    monkeypatch.setattr("pytest_diffprivacy.models.prompts.REMEMBERED", 2)
    many = encoder.encode(["a", "cat", "on", "the", "moon"])
    torch.testing.assert_close(many[EMBEDDING][1], encoder.encode(["cat"])[EMBEDDING][0], rtol=0, atol=1e-5)
    assert len(encoder._known) == 2


def test_the_batch_a_prompt_is_encoded_in_does_not_matter(encoder, monkeypatch):
    texts = text_inputs()["prompts"][:5]
    together = encoder.encode(texts)
    monkeypatch.setattr("pytest_diffprivacy.models.prompts.BATCH", 2)
    encoder._known.clear()
    torch.testing.assert_close(encoder.encode(texts)[EMBEDDING], together[EMBEDDING], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_prompt_that_is_no_text_is_refused(encoder):
    with pytest.raises(ModelError, match="`prompts` must be texts for a text-to-image model, got 3"):
        encoder.encode([3])


def test_the_pipelines_own_conversion_comes_first():
    def convert(text, tokenizer):
        return text.replace("<it>", "a cat")

    pipeline = golden_pipeline()
    plain = embed_with(pipeline)(["a cat on the moon"])
    pipeline.maybe_convert_prompt = convert
    converting = PromptEncoder(*FAMILY.reader(pipeline), embed_with(pipeline), convert)
    torch.testing.assert_close(converting.encode(["<it> on the moon"])[EMBEDDING], plain[EMBEDDING])
    assert converting.counts(["<it>"]) == converting.counts(["a cat"])
