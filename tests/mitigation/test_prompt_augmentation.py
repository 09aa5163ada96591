"""RTA and RNA: the authors' prompts from their generators, and ours from one."""

import json
import random

import numpy as np
import pytest
import torch

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.mitigation import DdimSampling, RandomNumberAddition, RandomTokenAddition, Unmitigated
from pytest_diffprivacy.mitigation.prompt_augmentation import (
    insert_words,
    random_numbers_added,
    random_tokens_added,
)
from tests.models.text_builders import TEXT_GOLDEN, golden_text_model, prompted_mixtures, text_inputs

CASES = json.loads((TEXT_GOLDEN / "prompt_augmentation.json").read_text("utf-8"))
SAMPLING = DdimSampling(steps=2, guidance_scale=2.0)


@pytest.mark.parametrize("style", ["rand_word_add", "rand_numb_add"])
def test_the_authors_prompts_are_reproduced_from_their_two_generators(style):
    cases = [case for case in CASES if case["style"] == style]
    assert len(cases) >= 9
    for case in cases:
        numbers, places = np.random.RandomState(case["seed"] + 3), random.Random(case["seed"] + 5)

        def word(numbers=numbers):
            return f"w{numbers.randint(49400)}" if style == "rand_word_add" else str(numbers.choice(100_000))

        def place(count, places=places):
            return places.randint(0, count)

        assert insert_words(case["prompt"], case["repeat_num"], word, place) == case["output"]


def test_the_prompt_s_own_words_keep_their_order():
    generator = np.random.default_rng(1)
    prompt = "a dog on the moon"
    for additions in (1, 4, 8):
        with_numbers = random_numbers_added(prompt, additions, generator).split(" ")
        assert [word for word in with_numbers if not word.isdigit()] == prompt.split(" ")
        assert all(0 <= int(word) < 100_000 for word in with_numbers if word.isdigit())
        with_tokens = random_tokens_added(prompt, additions, ["XX", "YY"], generator).split(" ")
        assert len(with_tokens) == 5 + additions
        assert [word for word in with_tokens if word not in ("XX", "YY")] == prompt.split(" ")


def test_every_place_is_used_equally_often():
    generator = np.random.default_rng(2)
    places = [random_tokens_added("a b", 1, ["X"], generator).split(" ").index("X") for _ in range(3000)]
    assert np.abs(np.bincount(places) / 3000 - 1 / 3).max() < 0.04


@pytest.mark.parametrize("method", [RandomTokenAddition(), RandomNumberAddition(additions=2)])
def test_each_image_has_its_own_words_by_its_seed(method):
    model, prompt = golden_text_model("eps"), text_inputs()["prompts"][0]
    found = method.sample(model, prompt, [1, 2], SAMPLING)
    alone = method.sample(model, prompt, [2], SAMPLING)
    torch.testing.assert_close(alone.images[0], found.images[1])
    plain = Unmitigated().sample(model, prompt, [1, 2], SAMPLING)
    assert not torch.allclose(found.images, plain.images)
    assert found.cost == plain.cost


def test_the_vocabulary_holds_words_that_the_tokenizer_knows():
    vocabulary = golden_text_model("eps").vocabulary
    assert len(vocabulary) > 20
    assert all(word and word == word.strip() for word in vocabulary)
    assert not any("startoftext" in word or "endoftext" in word for word in vocabulary)


def test_what_cannot_be_done_is_refused():
    with pytest.raises(ModelError, match="Random token addition needs vocabulary access"):
        RandomTokenAddition().sample(prompted_mixtures(), "needle", [1], SAMPLING)
    with pytest.raises(UsageError, match="`additions` must be a whole number of at least 1, got 0"):
        RandomNumberAddition(additions=0)
