"""Every family is audited the same way: its own images and arithmetic, an attack, a detector, a mitigation."""

import pickle

import numpy as np
import pytest
import torch

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.extraction.adaptive import adaptive_distances
from pytest_diffprivacy.membership import loss_scores, secmi_scores
from pytest_diffprivacy.memorization import bright_ending_scores, layerwise_entropy_scores, score_difference_scores
from pytest_diffprivacy.mitigation import (
    AttentionRescaling,
    DdimSampling,
    EmbeddingOptimization,
    RandomNumberAddition,
    Unmitigated,
)
from pytest_diffprivacy.models import (
    Conditioning,
    Denoiser,
    Generator,
    PromptedDenoiser,
    ReferenceTimestep,
    load_model,
)
from pytest_diffprivacy.models.prediction import x0_from_eps
from pytest_diffprivacy.models.protocols import require_denoiser, require_prompted
from pytest_diffprivacy.models.schedule import reference_schedule
from pytest_diffprivacy.probes import ImageSet
from tests.models.builders import smooth_images
from tests.models.families.calls import TEXTS
from tests.models.families.table import CASES, SEEDS

pytestmark = [  # diffusers with NumPy 2, and with itself
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`callback_steps` is deprecated:FutureWarning"),
]

DENOISERS = [case for case in CASES if case.membership]
PROMPTED = [case for case in CASES if case.detectors]
MITIGATED = [case for case in CASES if case.mitigation]
DETECTORS = {
    "Wen": (score_difference_scores, {"steps": 1}),
    "bright ending": (bright_ending_scores, {}),
    "layer-wise entropy": (layerwise_entropy_scores, {}),
}
MITIGATIONS = {
    "embedding optimization": EmbeddingOptimization(target_loss=1e-9, iterations=1),
    "random numbers": RandomNumberAddition(),
    "attention rescaling": AttentionRescaling(factor=3.0),
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A family's pipeline, and the model loaded from the folder it was saved to; made when it is first asked for."""
    known = {}

    def load(case):
        if case.name not in known:
            pipeline = case.build()
            pipeline.set_progress_bar_config(disable=True)
            folder = tmp_path_factory.mktemp("family")
            pipeline.save_pretrained(folder)
            known[case.name] = pipeline, load_model(folder, **dict(case.arguments))
        return known[case.name]

    return load


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.slow
def test_generations_are_the_pipelines_own_for_the_same_noise_and_depend_on_nothing_else(case, loaded):
    pipeline, model = loaded(case)
    assert isinstance(model, Generator)
    arguments = {"steps": case.steps, "guidance_scale": case.scale}
    prompts = case.prompts(len(SEEDS))
    ours = model.generate(SEEDS, prompts=prompts, **arguments)
    bare = case.own_images(pipeline, getattr(model, "sample_shape", ()))
    torch.testing.assert_close(ours, bare, rtol=0, atol=1e-5)
    assert float(ours[0].std()) > 0.01
    assert not torch.allclose(ours[0], ours[1], atol=1e-3)
    alone = model.generate(SEEDS[1:], prompts=None if prompts is None else prompts[1:], **arguments)
    torch.testing.assert_close(alone, ours[1:], rtol=0, atol=case.rounding)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.slow
def test_a_model_that_was_sent_to_another_process_answers_the_same(case, loaded):
    _, model = loaded(case)
    sent = pickle.loads(pickle.dumps(model))
    assert sent.identity == model.identity
    arguments = {"prompts": case.prompts(len(SEEDS)), "steps": case.steps, "guidance_scale": case.scale}
    assert torch.equal(sent.generate(SEEDS, **arguments), model.generate(SEEDS, **arguments))
    if case.membership:
        images = smooth_images(2, 3, side=model.image_shape[1], channels=model.image_shape[0])
        parameters = {"prompts": case.prompts(2), **case.attacks[0]}
        np.testing.assert_array_equal(loss_scores(sent, images, **parameters), loss_scores(model, images, **parameters))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_training_image_that_the_model_generates_is_found(case, loaded):
    _, model = loaded(case)
    arguments = {"prompts": case.prompts(2), "steps": case.steps, "guidance_scale": case.scale}
    generated = model.generate(SEEDS, **arguments).float().numpy()
    others = smooth_images(3, 7, side=generated.shape[2], channels=generated.shape[1]).numpy()
    training = ImageSet.of(np.concatenate([others, generated[1:]]), "member")
    matches = adaptive_distances(generated, training)
    assert matches.nearest[1] == 3
    assert matches.l2[1] < 1e-6
    assert matches.l2[0] > 1e-3


@pytest.mark.parametrize("case", DENOISERS, ids=str)
def test_the_noise_is_what_the_schedulers_own_arithmetic_makes_of_the_networks_output(case, loaded):
    pipeline, model = loaded(case)
    network = getattr(pipeline, "unet", None) or pipeline.transformer
    calls = []
    hook = network.register_forward_hook(lambda module, *call: calls.append(call[:2]), with_kwargs=True)
    distilled = "substitute" in dir(model) and model.substitute
    case.own_images(pipeline, model.sample_shape, 1.0 if distilled else None)  # a distilled network takes guidance 1
    hook.remove()
    x_t = torch.randn(2, *model.sample_shape, generator=torch.Generator().manual_seed(3))
    conditioning = model.condition(case.prompts(2), 2)
    if case.scale > 1.0 and not distilled:  # the pipeline evaluated both branches at once
        x_t = torch.cat([x_t, x_t])
        conditioning = Conditioning.joined(case.order(model.condition(None, 2), conditioning))
    for timestep in (len(model.schedule) // 10, len(model.schedule) * 3 // 4):
        with torch.no_grad():
            eps = model.predict_eps(x_t, timestep, conditioning)
            output = case.again(network, *calls[0], x_t, timestep, model.schedule)
        denoised = case.denoised(pipeline, output, x_t, timestep, model.schedule)
        torch.testing.assert_close(x0_from_eps(eps, x_t, *model.schedule.at(timestep)), denoised, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", DENOISERS, ids=str)
@pytest.mark.slow
def test_an_attack_scores_images_the_same_in_any_batch(case, loaded):
    _, model = loaded(case)
    images = smooth_images(8, 3, side=model.image_shape[1], channels=model.image_shape[0])
    prompts = case.prompts(8)
    for attack, parameters in zip((loss_scores, secmi_scores), case.attacks, strict=True):
        together = attack(model, images, prompts=prompts, **parameters)
        alone = attack(model, images, prompts=prompts, batch_size=1, **parameters)
        np.testing.assert_allclose(together, alone, rtol=1e-4)
        assert len(set(together)) == 8


@pytest.mark.parametrize("case", PROMPTED, ids=str)
@pytest.mark.slow
def test_detectors_score_prompts_the_same_in_any_batch(case, loaded):
    _, model = loaded(case)
    arguments = {"images_per_prompt": 4, "sampling_steps": 5}
    for name, (detector, parameters) in DETECTORS.items():
        if name not in case.detectors:
            with pytest.raises(ModelError, match="needs cross-attention access"):
                detector(model, TEXTS, **parameters, **arguments)
            continue
        together = detector(model, TEXTS, batch_size=8, **parameters, **arguments)
        alone = detector(model, TEXTS, batch_size=1, **parameters, **arguments)
        np.testing.assert_allclose(together, alone, rtol=1e-4)
        assert together[0] != together[1]


@pytest.mark.parametrize("case", MITIGATED, ids=str)
def test_mitigations_change_what_the_network_is_told_or_says(case, loaded):
    _, model = loaded(case)
    sampling = DdimSampling(steps=2, guidance_scale=3.0)
    plain = Unmitigated().sample(model, TEXTS[0], SEEDS, sampling).images
    for name, mitigation in MITIGATIONS.items():
        if name not in case.mitigation:
            with pytest.raises(ModelError, match="needs cross-attention access"):
                mitigation.sample(model, TEXTS[0], SEEDS, sampling)
            continue
        changed = mitigation.sample(model, TEXTS[0], SEEDS, sampling).images
        assert changed.shape == plain.shape == (len(SEEDS), *model.image_shape)
        assert not torch.allclose(changed, plain, atol=1e-6)


@pytest.mark.parametrize("case", DENOISERS, ids=str)
def test_the_papers_timesteps_are_matched_by_signal_to_noise_ratio(case, loaded):
    _, model = loaded(case)
    schedule = model.schedule
    for reference in (100, 300, 450):
        matched = schedule.match(ReferenceTimestep(reference))
        wanted = float(reference_schedule().log_snr[reference])
        assert matched.requested_log_snr == wanted
        every = np.array([2.0 * np.log(np.divide(*schedule.at(t))) for t in range(len(schedule))])
        assert matched.index == np.abs(every - wanted).argmin()
        assert abs(matched.log_snr - wanted) < case.match


@pytest.mark.parametrize("case", DENOISERS, ids=str)
def test_the_forward_derivative_is_the_finite_difference(case, loaded):
    pipeline, _ = loaded(case)
    model = load_model(pipeline, dtype=torch.float64, **dict(case.arguments))
    x, tangent = torch.randn(2, 1, *model.sample_shape, generator=torch.Generator().manual_seed(4)).double()
    timestep, conditioning = len(model.schedule) // 2, model.condition(case.prompts(1), 1)
    _, product = model.eps_jvp(x, timestep, tangent, conditioning)
    with torch.no_grad():
        there, back = (model.predict_eps(x + h * tangent, timestep, conditioning) for h in (1e-4, -1e-4))
    torch.testing.assert_close(product, (there - back) / 2e-4, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", [case for case in CASES if not case.membership], ids=str)
def test_a_black_box_is_refused_where_its_noise_prediction_is_asked_for(case, loaded):
    _, model = loaded(case)
    assert not isinstance(model, Denoiser)
    with pytest.raises(ModelError, match="needs grey-box access"):
        require_denoiser(model, "An attack")


@pytest.mark.parametrize("case", [case for case in CASES if not case.detectors], ids=str)
def test_a_model_that_takes_no_texts_is_refused_by_detectors(case, loaded):
    _, model = loaded(case)
    assert not isinstance(model, PromptedDenoiser)
    with pytest.raises(ModelError, match="A detector needs"):
        require_prompted(model, "A detector")
