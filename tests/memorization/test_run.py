"""The shared run: detectors together see what they see alone, whatever the batch, and bad input is named."""

import re

import numpy as np
import pytest
import torch

from pytest_diffprivacy.errors import AuditError, ModelError, PromptTruncated, UsageError
from pytest_diffprivacy.memorization import DETECTORS, PromptSampling, watch_prompts
from pytest_diffprivacy.memorization.detector import find_detector
from pytest_diffprivacy.memorization.watch import checked_prompts
from pytest_diffprivacy.models import load_model
from pytest_diffprivacy.models.noise import prompt_noise
from tests.models.builders import population_model
from tests.models.text_builders import golden_pipeline, golden_text_model, prompted_mixtures, text_inputs

TEXTS = ["a dog on the moon", "cat", "painting of an old man with a red hat"]
FEW = PromptSampling(images_per_prompt=2, sampling_steps=6, guidance_scale=7.5, seed=3)
PARAMETERS = {"attention_entropy": {"last": 2}, "score_difference": {"steps": 4}}


def asked(*names):
    return {name: DETECTORS[name](**PARAMETERS.get(name, {})) for name in names or DETECTORS}


@pytest.fixture(scope="module")
def model():
    return golden_text_model("eps", torch.float64)


@pytest.fixture(scope="module")
def together(model):
    return watch_prompts(model, TEXTS, asked(), FEW)


def assert_same(first, second, rtol=1e-6):
    assert first.keys() == second.keys()
    for name, array in first.items():
        if name != "moved_by_half":
            np.testing.assert_allclose(second[name].astype(float), array.astype(float), rtol=rtol, atol=1e-9)


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.slow
def test_a_detector_sees_alone_what_it_sees_in_company(model, together, name):
    assert_same(together[name], watch_prompts(model, TEXTS, asked(name), FEW)[name])


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.slow
def test_the_batch_does_not_matter(model, together, batch_size):
    batched = watch_prompts(model, TEXTS, asked(), FEW, batch_size=batch_size)
    for name, arrays in together.items():
        assert_same(arrays, batched[name])


def test_a_prompts_score_does_not_depend_on_the_others(model, together):
    alone = watch_prompts(model, TEXTS[1:2], asked(), FEW)
    for name, arrays in together.items():
        assert_same({key: array[1:2] for key, array in arrays.items()}, alone[name])


def test_all_detectors_cost_one_walk_and_what_they_ask_for_besides(model, monkeypatch):
    rows = []
    predict = model.predict_eps
    monkeypatch.setattr(model, "predict_eps", lambda x, t, c=None: rows.append(len(x)) or predict(x, t, c))
    watch_prompts(model, TEXTS, asked(), FEW)
    images = len(TEXTS) * FEW.images_per_prompt
    walk, central, halved, anisotropy = 2 * 6 * images, 4 * images, 4, 2 * images
    assert sum(rows) == walk + central + halved + anisotropy
    assert len(rows) == 6 + 2 + 1


def test_a_detector_of_the_first_step_costs_one_step(model, monkeypatch):
    rows = []
    predict = model.predict_eps
    monkeypatch.setattr(model, "predict_eps", lambda x, t, c=None: rows.append(len(x)) or predict(x, t, c))
    watch_prompts(model, TEXTS[:1], asked("layerwise_entropy"), FEW)
    assert rows == [4]


@pytest.mark.parametrize("name", DETECTORS)
def test_the_stated_cost_is_the_cost(model, name, monkeypatch):
    rows = []
    predict = model.predict_eps
    monkeypatch.setattr(model, "predict_eps", lambda x, t, c=None: rows.append(len(x)) or predict(x, t, c))
    entry = asked(name)[name]
    watch_prompts(model, TEXTS[:1], {name: entry}, FEW)
    check = 4 if name == "hessian_score" else 0  # half the step for one image
    assert (sum(rows) - check) / 2 == entry.cost(6)


def test_the_noise_is_the_prompts_own():
    first, second = prompt_noise(["cat", "dog"], 3, (2, 2), 7)
    assert torch.equal(prompt_noise(["dog"], 3, (2, 2), 7)[0], second)
    assert torch.equal(prompt_noise(["cat"], 1, (2, 2), 7)[0], first[:1])
    assert not torch.equal(first, second)
    assert not torch.equal(prompt_noise(["cat"], 3, (2, 2), 8)[0], first)


def test_given_noise_replaces_the_seeds(model):
    noise = prompt_noise(TEXTS, 2, model.sample_shape, 3)
    seeded = watch_prompts(model, TEXTS, asked("score_difference"), FEW)
    given = watch_prompts(model, TEXTS, asked("score_difference"), PromptSampling(9, 6), latents=noise)
    assert_same(seeded["score_difference"], given["score_difference"])


def test_a_pull_that_is_always_there_is_higher_than_one_that_is_not():
    """The null case and the known answer: a prompt that changes nothing scores 0."""
    model = prompted_mixtures(shape=(1, 4, 4))
    for name in ("score_difference", "hessian_score"):
        detector = find_detector(name)
        scores = detector.scores(model, ["needle", "broad", "anything"], sampling_steps=20, guidance_scale=1.0)
        assert scores[0] > scores[1] > scores[2], name
        assert scores[2] == 0


@pytest.mark.parametrize("prompts", [["cat", ""], ["cat", "  "], ["cat", None]])
def test_an_empty_prompt_is_refused_by_its_position(model, prompts):
    with pytest.raises(UsageError, match=r"`prompts` must be texts that say something, got .* at position 1"):
        watch_prompts(model, prompts, asked("score_difference"), FEW)


@pytest.mark.parametrize(("prompts", "got"), [("cat", "'cat'"), ([], "an empty one"), (None, "None"), (7, "7")])
def test_one_text_or_none_is_refused(prompts, got):
    with pytest.raises(UsageError, match=f"`prompts` must be a list of at least one text, got {got}"):
        checked_prompts(prompts)


def test_a_model_without_texts_is_refused():
    with pytest.raises(ModelError, match="Score difference needs a text-to-image model, but population"):
        watch_prompts(population_model(), TEXTS, asked("score_difference"), FEW)


@pytest.mark.parametrize("name", ["layerwise_entropy", "attention_entropy", "bright_ending"])
def test_a_model_without_attention_to_read_is_refused(name):
    with pytest.raises(ModelError, match=r"needs cross-attention access, but AnalyticPrompts .* lacks cross_attention"):
        watch_prompts(prompted_mixtures(), ["needle"], asked(name), FEW)


def test_a_prompt_that_is_cut_is_said():
    with pytest.warns(PromptTruncated, match="1 of 1 prompts are longer than the 77 tokens"):
        watch_prompts(load_model(golden_pipeline()), text_inputs()["prompts"][-1:], asked("score_difference"), FEW)


@pytest.mark.parametrize("scheduler", ["PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.slow
def test_the_detectors_walk_by_ddim_whatever_the_pipelines_scheduler(model, scheduler):
    import diffusers

    pipeline = golden_pipeline()
    kind = getattr(diffusers, scheduler)
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config, timestep_spacing="leading")
    other = load_model(pipeline)
    assert other.sampler == scheduler
    first, second = (
        watch_prompts(m, TEXTS, asked("score_difference"), FEW)["score_difference"] for m in (model, other)
    )
    assert_same(first, second, rtol=1e-2)


@pytest.mark.slow
def test_a_scheduler_without_a_noise_table_is_refused():
    from diffusers import ScoreSdeVeScheduler

    pipeline = golden_pipeline()
    pipeline.scheduler = ScoreSdeVeScheduler()
    with pytest.raises(ModelError, match="ScoreSdeVeScheduler has no `alphas_cumprod`"):
        load_model(pipeline)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("score_difference", {"steps": 7}, "`steps` must be between 1 and `sampling_steps` = 6, got 7"),
        ("score_difference", {"form": "v"}, "`form` must be 'eps' or 'score', got 'v'"),
        ("hessian_score", {"steps": 0}, "`steps` must be a whole number of at least 1, got 0"),
        ("hessian_score", {"derivative": "reverse"}, "`derivative` must be 'central' or 'forward', got 'reverse'"),
        ("hessian_score", {"change": 0.0}, "`change` must be above 0, got 0.0"),
        ("attention_entropy", {"last": 6}, "`last` must be at least 1 and below `sampling_steps` = 6, got 6"),
        ("layerwise_entropy", {"layer": -1}, "`layer` must be a whole number of at least 0, got -1"),
        ("tiled_l2", {"reduction": "max"}, "`reduction` must be one of mean, median, min, got 'max'"),
        ("tiled_l2", {"tile": 5}, "`tile` must divide images of 16 x 16"),
        ("anisotropy", {"weights": (1.0,)}, "`weights` must be two finite numbers"),
        ("anisotropy", {"output": "noise"}, "`output` must be one of epsilon, sample, v_prediction, flow"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(model, name, parameters, message):
    with pytest.raises(UsageError, match=message):
        DETECTORS[name].scores(model, TEXTS[:1], images_per_prompt=2, sampling_steps=6, seed=3, **parameters)


def test_a_layer_that_is_not_there_is_refused(model):
    entry = DETECTORS["layerwise_entropy"](layer=11)
    with pytest.raises(ModelError, match="`layer` must be below the network's 11 cross-attention layers, got 11"):
        watch_prompts(model, TEXTS[:1], {"le": entry}, FEW)


def test_sampling_that_does_not_fit_is_refused(model):
    for value in (0, 1.5, "4"):
        with pytest.raises(
            UsageError, match=f"`images_per_prompt` must be a whole number of at least 1, got {value!r}"
        ):
            PromptSampling(images_per_prompt=value)
    with pytest.raises(UsageError, match="`guidance_scale` must be a finite number, got nan"):
        PromptSampling(guidance_scale=float("nan"))
    with pytest.raises(UsageError, match=r"`images_per_prompt` must be at least 2 for Tiled distance .* got 1"):
        watch_prompts(model, TEXTS, asked("tiled_l2"), PromptSampling(images_per_prompt=1))
    with pytest.raises(UsageError, match="`batch_size` must be a whole number of at least 1, got 0"):
        watch_prompts(model, TEXTS, asked("score_difference"), FEW, batch_size=0)


@pytest.mark.parametrize(
    "shape", [(3, 4, 8, 8), (2, 2, 4, 8, 8), (3, 2, 4, 16, 16), (3, 2, 3, 8, 8), (3, 0, 4, 8, 8), (4,)]
)
def test_latents_of_another_shape_are_refused(model, shape):
    with pytest.raises(
        UsageError, match=r"`latents` must have shape \(3, images, 4, 8, 8\): .* got " + re.escape(str(shape))
    ):
        watch_prompts(model, TEXTS, asked("score_difference"), FEW, latents=torch.zeros(shape))


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        (torch.zeros(3, 2, 4, 8, 8, dtype=torch.long), r"floats, standard normal noise, got torch\.int64"),
        ([[0.0]], "floats, standard normal noise, got list"),
        (torch.full((3, 2, 4, 8, 8), torch.nan), "finite, got NaN"),
    ],
)
def test_latents_that_are_no_noise_are_refused(model, latents, message):
    with pytest.raises(UsageError, match=f"`latents` must be .*{message}"):
        watch_prompts(model, TEXTS, asked("score_difference"), FEW, latents=latents)


def test_latents_may_be_an_array(model):
    noise = prompt_noise(TEXTS, 2, model.sample_shape, 3)
    first, second = (
        watch_prompts(model, TEXTS, asked("score_difference"), FEW, latents=latents)["score_difference"]
        for latents in (noise, noise.numpy())
    )
    assert_same(first, second)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("score_difference", {"steps": 1.5}, "`steps` must be a whole number of at least 1, got 1.5"),
        ("hessian_score", {"steps": "1"}, "`steps` must be a whole number of at least 1, got '1'"),
        ("hessian_score", {"change": float("inf")}, "`change` must be a finite number, got inf"),
        ("hessian_score", {"change": "small"}, "`change` must be a finite number, got 'small'"),
        ("layerwise_entropy", {"layer": 1.5}, "`layer` must be a whole number of at least 0, got 1.5"),
        ("attention_entropy", {"last": "10"}, "`last` must be a whole number of at least 1, got '10'"),
        ("anisotropy", {"weights": 3.0}, "`weights` must be two finite numbers, got 3.0"),
        ("anisotropy", {"weights": ("a", "b")}, "`weights` must be two finite numbers, got"),
    ],
)
def test_a_parameter_of_another_kind_is_named(name, parameters, message):
    with pytest.raises(UsageError, match=message):
        DETECTORS[name](**parameters).cost(50)


@pytest.mark.parametrize("name", ["score_difference", "hessian_score", "tiled_l2", "anisotropy"])
def test_a_network_that_answers_nan_is_an_error(name, monkeypatch):
    model = prompted_mixtures(shape=(1, 4, 4))
    monkeypatch.setattr(model, "predict_eps", lambda x, t, c=None: torch.full_like(x, torch.nan))
    with pytest.raises(AuditError, match=r"output is not finite for 2 of 2 images"):
        watch_prompts(model, ["needle"], asked(name), FEW)


def test_an_unknown_detector_is_refused():
    with pytest.raises(UsageError, match=r"`detector` must be one of hessian_score, score_difference, .*, got 'magic'"):
        find_detector("magic")
