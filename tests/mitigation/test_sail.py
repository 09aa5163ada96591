"""SAIL: the released code's start noise and both objectives, number for number, and a search that ends."""

import numpy as np
import pytest
import torch

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.mitigation import DdimSampling, Sail, SailReference, Unmitigated
from pytest_diffprivacy.mitigation.method import eps_difference, prompt_conditioning
from pytest_diffprivacy.mitigation.sail import sharpness_objective
from pytest_diffprivacy.mitigation.sail_reference import reference_objective
from pytest_diffprivacy.models.noise import start_noise
from tests.models.builders import population_model
from tests.models.text_builders import golden_text_model, prompted_mixtures, text_inputs, text_values

FIRST = 981
SETTINGS = DdimSampling(steps=4, guidance_scale=2.0)


def golden_difference(kind, prompt, *, score):
    """e_D, or s_D, of a golden prompt at the first timestep."""
    model = golden_text_model(kind)
    eps = eps_difference(model, FIRST, prompt_conditioning(model, [prompt]))
    sigma = model.schedule.at(FIRST)[1]
    return (lambda x: -eps(x) / sigma) if score else eps


def relative(ours, expected):
    return float((ours - expected).abs().max() / expected.abs().max())


# Two prompts of each case: a short search and one that is cut at 77 tokens; every golden prompt agrees as well.
SAIL_CASES = [
    (case, number)
    for case, numbers in zip(text_inputs()["sail_cases"], ((0, 5), (0,), (0, 5)), strict=True)
    for number in numbers
]


@pytest.mark.filterwarnings("ignore::pytest_diffprivacy.errors.PromptTruncated")
@pytest.mark.parametrize(("case", "number"), SAIL_CASES, ids=[f"{c['name']}-{n}" for c, n in SAIL_CASES])
@pytest.mark.slow
def test_the_released_code_s_start_noise_is_reproduced(case, number):
    kind = "v" if case["sd_ver"] == 2 else "eps"
    settings = {name: case[name] for name in ("alpha", "lr", "max_steps")}
    found = SailReference(**settings, threshold=case["thresholds"][number]).search(
        golden_difference(kind, text_inputs()["prompts"][number], score=kind == "v"),
        lambda draw: text_inputs()["sail_init"],
        case["n_images"],
    )
    expected = text_values()[f"jeon.sail.{case['name']}.x_T"][number]
    assert relative(found.x_T, expected) < 1e-6
    assert found.accepted.all()
    assert (found.restarts > 0) == (case["name"] == "eps_restart")


@pytest.mark.parametrize("kind", ["eps", "v"])
@pytest.mark.slow
def test_the_reference_objective_is_replayed_step_by_step(kind):
    alpha = {"eps": 0.05, "v": 0.01}[kind]
    start = text_inputs()["sail_init"]
    difference = golden_difference(kind, text_inputs()["prompts"][0], score=kind == "v")
    for name, updates, stale in ((f"formula_sail.{kind}.reference", 4, True), (f"formula_sail.{kind}.fresh", 3, False)):
        x = start.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([x], lr=0.05)
        for expected in text_values()[f"{name}_loss"][0][:updates]:
            objective = reference_objective(difference, x, start if stale else x, alpha=alpha)
            torch.testing.assert_close(objective.detach(), expected, rtol=1e-6, atol=0)
            optimizer.zero_grad()
            objective.sum().backward()
            optimizer.step()
        if not stale:
            assert relative(x.detach(), text_values()[f"{name}_x_after3"][0]) < 1e-6


@pytest.mark.parametrize("delta", [1.0, 0.1])
@pytest.mark.parametrize("kind", ["eps", "v"])
@pytest.mark.slow
def test_the_paper_s_objective_and_its_descent_are_replayed(kind, delta):
    alpha, name = {"eps": 0.05, "v": 0.01}[kind], f"formula_sail.{kind}.paper_delta{delta}"
    difference = golden_difference(kind, text_inputs()["prompts"][1], score=True)
    x = text_inputs()["sail_init"].clone().requires_grad_(True)
    optimizer = torch.optim.Adam([x], lr=0.05)
    for expected in text_values()[f"{name}_loss"][1]:
        objective = sharpness_objective(difference, x, delta=delta, alpha=alpha)
        torch.testing.assert_close(objective.detach(), expected, rtol=1e-6, atol=0)
        optimizer.zero_grad()
        objective.sum().backward()
        optimizer.step()
    assert relative(x.detach(), text_values()[f"{name}_x_after3"][1]) < 1e-6
    found = Sail(delta, alpha, threshold=1e-9, max_steps=3).search(difference, text_inputs()["sail_init"])
    best = text_values()[f"{name}_loss"][1].min(0).values
    assert (found.objective <= best.numpy() * (1 + 1e-6)).all()
    assert not found.accepted.any()
    assert found.updates == 3


@pytest.fixture(scope="module")
def mixtures():
    return prompted_mixtures()


def test_noise_that_passes_at_once_is_left_as_it_is(mixtures):
    sail = Sail(delta=0.1, alpha=0.0, threshold=1e9)
    found, plain = (m.sample(mixtures, "needle", [1, 2], SETTINGS) for m in (sail, Unmitigated()))
    torch.testing.assert_close(found.images, plain.images)
    assert found.cost.backward == 0
    assert found.cost.evaluations == 4 * 2 + plain.cost.evaluations


def test_a_prompt_that_changes_nothing_returns_its_start_noise(mixtures):
    difference = eps_difference(mixtures, 500, prompt_conditioning(mixtures, ["anything"]))
    x_T = start_noise([1, 2], mixtures.sample_shape)

    def nearly(x):  # exactly zero has no direction
        return difference(x) + 1e-9 * x

    found = Sail(delta=0.1, alpha=0.0, threshold=1e-12).search(nearly, x_T)
    assert torch.equal(found.x_T, x_T)
    assert found.updates == 0


def test_the_objective_falls_and_each_image_searches_alone(mixtures):
    timestep = mixtures.schedule.sampling_timesteps(4)[0]
    difference = eps_difference(mixtures, timestep, prompt_conditioning(mixtures, ["needle"]))
    x_T = start_noise([1, 2, 3], mixtures.sample_shape)
    start = sharpness_objective(difference, x_T, delta=0.5, alpha=0.001).detach().numpy()
    limit = float(np.sort(start)[1]) * 0.9
    together = Sail(delta=0.5, alpha=0.001, threshold=limit, max_steps=200).search(difference, x_T)
    assert together.accepted.all()
    assert (together.objective <= limit).all()
    assert start.max() > limit
    alone = Sail(delta=0.5, alpha=0.001, threshold=limit, max_steps=200).search(difference, x_T[1:2])
    torch.testing.assert_close(alone.x_T[0], together.x_T[1])


def test_paper_and_reference_differ(mixtures):
    settings = {"alpha": 0.01, "threshold": 1e-6, "max_steps": 2}
    paper = Sail(delta=1.0, **settings).sample(mixtures, "needle", [1, 2], SETTINGS)
    reference = SailReference(**settings, max_restarts=0, budget=2).sample(mixtures, "needle", [1, 2], SETTINGS)
    assert not torch.allclose(paper.images, reference.images)
    assert (paper.cost.over_budget, reference.cost.over_budget) == (2, 2)


def test_the_released_search_ends_and_says_that_its_budget_was_hit(mixtures):
    found = SailReference(threshold=1e-6, max_steps=1, max_restarts=3, budget=3).sample(
        mixtures, "needle", [1, 2], SETTINGS
    )
    assert found.cost.restarts == 3
    assert found.cost.over_budget == 2
    assert found.cost.backward == 4 * 3 * 4
    assert found.cost.evaluations == 4 * 3 * 4 + 2 * 2 * 4
    assert len(found.images) == 2
    assert not torch.equal(found.images[0], found.images[1])


def test_every_third_restart_takes_new_noise_and_an_easier_threshold():
    draws = []

    def draw(number):
        draws.append(number)
        return torch.full((1, 1, 1, 2), 3.0 - 1.0 * number, dtype=torch.float64)

    found = SailReference(alpha=0.0, threshold=5.3, lr=1e-9, max_steps=1, max_restarts=20).search(
        lambda x: x + 1.0, draw, 1
    )
    assert draws == [0, 0, 0, 1]
    assert found.restarts == 3
    assert found.objective[0] <= 5.4


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Sail(delta=0.0, alpha=0.1, threshold=1.0), "`delta` must be above 0, got 0.0"),
        (
            lambda: Sail(delta=1.0, alpha=0.1, threshold=1.0, max_steps=0),
            "`max_steps` must be a whole number of at least 1",
        ),
        (lambda: Sail(delta="a", alpha=0.1, threshold=1.0), "`delta` must be a finite number, got 'a'"),
        (lambda: Sail(delta=1.0, alpha=float("nan"), threshold=1.0), "`alpha` must be a finite number, got nan"),
        (lambda: SailReference(max_restarts=-1), "`max_restarts` must be a whole number of at least 0, got -1"),
        (lambda: SailReference(sd_version=3), "`sd_version` must be 1 or 2, got 3"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(build, message):
    with pytest.raises(UsageError, match=message):
        build()


def test_a_model_without_texts_and_an_empty_prompt_are_refused(mixtures):
    with pytest.raises(ModelError, match="SAIL needs a text-to-image model"):
        Sail(delta=1.0, alpha=0.1, threshold=1.0).sample(population_model(), "a", [1], SETTINGS)
    with pytest.raises(UsageError, match="`prompts` must be texts that are not empty"):
        Sail(delta=1.0, alpha=0.1, threshold=1.0).sample(mixtures, " ", [1], SETTINGS)
