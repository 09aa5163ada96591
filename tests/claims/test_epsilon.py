"""What one training run says about a differential privacy claim; one model is trained with Opacus."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_diffprivacy import (
    AuditError,
    Auditor,
    Inconclusive,
    PrivacyViolation,
    UsageError,
    Verdict,
    assert_epsilon_lower_bound_below,
    plant_canaries,
)
from pytest_diffprivacy.models import AnalyticDenoiser, ideal_denoiser
from pytest_diffprivacy.models.identity import ModelIdentity, weights_digest
from pytest_diffprivacy.models.schedule import NoiseSchedule
from pytest_diffprivacy.probes import CanarySet
from pytest_diffprivacy.statistics import one_run_epsilon, one_run_fdp
from tests.claims.conftest import SIDE, smooth_images

PIXELS = SIDE * SIDE
DELTA = 1e-5


@pytest.fixture(scope="module")
def canaries() -> CanarySet:
    return plant_canaries(smooth_images(31, 20), smooth_images(32, 200), seed=77).canaries


@pytest.fixture(scope="module")
def remembering(canaries: CanarySet) -> AnalyticDenoiser:
    """A training without any privacy."""
    return ideal_denoiser(torch.from_numpy(canaries.images[canaries.included]))


def test_a_model_that_remembers_its_canaries_refutes_the_claim(
    remembering: AnalyticDenoiser, canaries: CanarySet
) -> None:
    with pytest.raises(PrivacyViolation, match="The differential privacy claim is refuted") as caught:
        assert_epsilon_lower_bound_below(remembering, canaries, claimed_epsilon=1.0, delta=DELTA)
    claim = caught.value.claim
    assert claim.value == one_run_epsilon(200, 40, 40, delta=DELTA).value
    assert claim.low == claim.high == claim.value > 2.0
    assert "40 of 40 guesses are right" in " ".join(claim.notes)
    assert "No audit bounds it from above" in " ".join(claim.notes)


def test_a_model_that_never_saw_them_does_not_refute_it(population: AnalyticDenoiser, canaries: CanarySet) -> None:
    claim = assert_epsilon_lower_bound_below(population, canaries, claimed_epsilon=1.0, delta=DELTA)
    assert claim.verdict is Verdict.PASS
    assert claim.value < 1.0
    assert "does not refute the differential privacy claim; it cannot prove it" in claim.headline


def test_too_few_guesses_are_inconclusive_whatever_the_model_does(
    remembering: AnalyticDenoiser, canaries: CanarySet
) -> None:
    with pytest.raises(Inconclusive, match=r"40 guesses cannot refute epsilon = 8 even if all .* at least 8\d{3}"):
        assert_epsilon_lower_bound_below(remembering, canaries, claimed_epsilon=8.0, delta=DELTA)


def test_given_scores_are_judged_by_the_same_rule(canaries: CanarySet) -> None:
    rng = np.random.default_rng(78)
    scores = canaries.included + rng.normal(0.0, 0.1, 200)
    with pytest.raises(PrivacyViolation) as caught:
        assert_epsilon_lower_bound_below(scores, canaries, claimed_epsilon=1.0, delta=0.0, guesses=200)
    wrong = abs(int(canaries.included.sum()) - 100)  # the coins are not exactly half, the guesses are
    assert caught.value.claim.value == one_run_epsilon(200, 200, 200 - wrong).value


@pytest.mark.slow
def test_a_declared_gaussian_mechanism_is_in_the_record_and_refutes_more(canaries: CanarySet) -> None:
    rng, judge = np.random.default_rng(80), Auditor()
    scores = 1.2 * canaries.included + rng.normal(size=200)
    given = {"claimed_epsilon": 2.0, "delta": DELTA, "auditor": judge}
    assert assert_epsilon_lower_bound_below(scores, canaries, **given).verdict is Verdict.PASS
    with pytest.raises(PrivacyViolation, match="if the mechanism is Gaussian as declared") as caught:
        assert_epsilon_lower_bound_below(scores, canaries, mechanism="gaussian", **given)
    claim = caught.value.claim
    right = int(next(note for note in claim.notes if "guesses are right" in note).split()[0])
    assert claim.value == one_run_fdp(200, 40, right, delta=DELTA).value
    assert "Gaussian mechanism declared" in claim.sentence
    assert "and not tested" in " ".join(claim.notes)
    free = {measured.name: measured.value for measured in claim.also_measured}["Epsilon of any mechanism, lower bound"]
    assert free == judge.claims[0].value < claim.value
    assert claim.p_value is not None
    assert claim.p_value < 0.05


@pytest.mark.slow
def test_too_few_canaries_for_a_gaussian_mechanism_are_inconclusive_and_enough_are_named(canaries: CanarySet) -> None:
    with pytest.raises(Inconclusive, match=r"refute epsilon = 60 even if all are right: at least \d+ canaries"):
        assert_epsilon_lower_bound_below(
            np.arange(200.0), canaries, mechanism="gaussian", claimed_epsilon=60.0, delta=DELTA
        )


def test_a_broken_attack_is_an_error_and_no_pass(population: AnalyticDenoiser, canaries: CanarySet) -> None:
    judge = Auditor()
    with pytest.raises(AuditError, match="A control failed"):
        assert_epsilon_lower_bound_below(
            population,
            canaries,
            attack="loss",
            parameters={"timesteps": (999,)},
            claimed_epsilon=1.0,
            delta=DELTA,
            auditor=judge,
        )
    assert judge.claims[0].verdict is Verdict.ERROR


@pytest.mark.parametrize("mechanism", ["any", "gaussian"])
def test_scores_with_a_flipped_sign_are_an_error_and_no_pass(canaries: CanarySet, mechanism: str) -> None:
    scores, judge = np.random.default_rng(3).normal(size=len(canaries)) - 3.0 * canaries.included, Auditor()
    with pytest.raises(AuditError, match="ranks included canaries last beyond chance"):
        assert_epsilon_lower_bound_below(
            scores, canaries, claimed_epsilon=1.0, delta=DELTA, mechanism=mechanism, auditor=judge
        )
    assert judge.claims[0].verdict is Verdict.ERROR


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"claimed_epsilon": float("inf")}, "`claimed_epsilon` must be at least 0 and finite"),
        ({"delta": 1.0}, "`delta` must be at least 0 and below 1"),
        ({"guesses": 201}, "`guesses` must be at most the 200 canaries, got 201"),
        ({"canaries": np.zeros((3, 1, 6, 6))}, "`canaries` must be a CanarySet, got ndarray"),
        ({"model": np.zeros(7)}, r"Canary scores must be 200 numbers, got dtype float64 and shape \(7,\)"),
        ({"attack": ["loss", "pia"]}, "`attack` must name one attack"),
        ({"mechanism": "laplace"}, "`mechanism` must be 'any' or 'gaussian', got 'laplace'"),
        ({"mechanism": "gaussian", "delta": 0.0}, "no Gaussian mechanism has delta 0"),
    ],
)
def test_a_bad_argument_is_named(
    population: AnalyticDenoiser, canaries: CanarySet, change: dict[str, object], message: str
) -> None:
    given = {"model": population, "canaries": canaries, "claimed_epsilon": 1.0, "delta": DELTA, "attack": "loss"}
    with pytest.raises(UsageError, match=message):
        assert_epsilon_lower_bound_below(**(given | change))


class LinearDenoiser(nn.Module):
    """Eps by one linear layer of x_t at a single noise level: the smallest denoiser that Opacus can train."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(PIXELS, PIXELS)
        self.schedule = NoiseSchedule.linear()
        self.sample_shape = self.image_shape = (1, SIDE, SIDE)
        self.device, self.dtype = torch.device("cpu"), torch.float32

    @property
    def identity(self) -> ModelIdentity:
        digest = weights_digest(self.state_dict().items(), {})
        return ModelIdentity("linear denoiser", "linear", digest, PIXELS * (PIXELS + 1), "float32", "cpu", "grey box")

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def predict_eps(self, x_t: Tensor, timestep: int, conditioning: object = None) -> Tensor:
        return self.layer(x_t.flatten(1)).reshape(x_t.shape)

    def condition(self, prompts: object, count: int) -> None:
        assert prompts is None

    def encode(self, images: Tensor) -> Tensor:
        return images.float() * 2.0 - 1.0

    def decode(self, x0: Tensor) -> Tensor:
        return ((x0 + 1.0) / 2.0).clamp(0.0, 1.0)


def trained_with_opacus(images: np.ndarray, *, noise: float, epochs: int = 8) -> tuple[LinearDenoiser, float]:
    """A denoiser trained by DP-SGD, and the epsilon at DELTA that Opacus says it spent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Opacus warns of its own hooks and of the random generator it uses
        from opacus import PrivacyEngine

        torch.manual_seed(0)
        model, t = LinearDenoiser(), 100
        alpha, sigma = model.schedule.at(t)
        x0 = model.encode(torch.from_numpy(images)).flatten(1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x0), batch_size=64)
        engine = PrivacyEngine(accountant="rdp")
        private, optimizer, loader = engine.make_private(
            module=model, optimizer=optimizer, data_loader=loader, noise_multiplier=noise, max_grad_norm=1.0
        )
        for _ in range(epochs):
            for (batch,) in loader:
                if len(batch) == 0:
                    continue
                eps = torch.randn_like(batch)
                optimizer.zero_grad()
                (private(alpha * batch + sigma * eps) - eps).square().sum(1).mean().backward()
                optimizer.step()
        spent = engine.get_epsilon(DELTA)
        private.remove_hooks()
    return model.eval().requires_grad_(False), spent


def test_a_model_trained_with_opacus_is_not_refuted_at_the_epsilon_it_spent() -> None:
    planted = plant_canaries(smooth_images(33, 200), smooth_images(34, 300), seed=79)
    model, spent = trained_with_opacus(planted.images, noise=2.0)
    assert 0.5 < spent < 4.0
    judge = Auditor()
    with pytest.raises(Inconclusive, match="denoises no better than a blur"):  # so much noise is all that it learned
        assert_epsilon_lower_bound_below(
            model, planted.canaries, claimed_epsilon=spent, delta=DELTA, guesses=200, auditor=judge
        )
    (claim,) = judge.claims
    assert claim.value < spent
    assert claim.model.name == "linear denoiser"
    (positive,) = [control for control in claim.controls if control.kind == "positive"]
    assert positive.outcome.value == "held"
