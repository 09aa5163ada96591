"""Networks that are not diffusers': how they are identified, their conditioning, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pytest_diffprivacy.errors import AuditError, ModelError
from pytest_diffprivacy.models import (
    Generator,
    NetworkDenoiser,
    NoiseSchedule,
    WhiteBoxDenoiser,
    flow_network,
    karras_denoiser,
)
from pytest_diffprivacy.models.identity import UNKNOWN_DIGEST

SHAPE = (1, 2, 2)
VP = NoiseSchedule.linear()


class Tiny(torch.nn.Module):
    def __init__(self, weight=1.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight))

    def forward(self, x, times):
        self.times = times
        return self.weight * x


def test_a_module_is_a_white_box_with_a_digest_of_its_weights():
    model = NetworkDenoiser(Tiny(), VP, SHAPE, name="mine")
    assert isinstance(model, WhiteBoxDenoiser)
    assert isinstance(model, Generator)
    assert [name for name, _ in model.named_parameters()] == ["weight"]
    assert (model.identity.name, model.identity.family, model.identity.parameters) == ("mine", "network, epsilon", 1)
    others = [
        NetworkDenoiser(Tiny(2.0), VP, SHAPE),
        NetworkDenoiser(Tiny(), VP, SHAPE, predicts="sample"),
        NetworkDenoiser(Tiny(), VP, SHAPE, version="2"),
        flow_network(Tiny(), SHAPE),
    ]
    assert len({m.identity.digest for m in [model, *others]}) == 5
    assert NetworkDenoiser(Tiny(), VP, SHAPE).identity.digest == model.identity.digest


def test_what_embeds_the_prompts_is_part_of_the_identity():
    def conditional(embed, **named):
        return NetworkDenoiser(lambda x, times, embedding: x, VP, SHAPE, embed=embed, **named).identity

    class Encoder(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.full((1,), value))

        def forward(self, prompts):
            return self.weight.expand(len(prompts), 1)

    class Network(Tiny):
        def forward(self, x, times, embedding):
            return super().forward(x, times) + embedding[:, :, None, None]

    own, other = (NetworkDenoiser(Network(), VP, SHAPE, embed=Encoder(value)) for value in (0.0, 5.0))
    assert own.identity.digest != other.identity.digest
    assert conditional(Encoder(1.0)).digest == UNKNOWN_DIGEST
    assert NetworkDenoiser(
        Network(), VP, SHAPE, embed=lambda prompts: torch.zeros(len(prompts), 1)
    ).identity.digest == (UNKNOWN_DIGEST)
    assert conditional(Encoder(1.0), version="1").digest != conditional(Encoder(2.0), version="1").digest
    with torch.no_grad():
        other._embed.weight.fill_(0.0)
    with pytest.raises(AuditError, match="were changed after it was loaded"):
        other.identity.weights.check("the model")


def test_results_of_a_function_are_stored_only_under_a_version():
    def network(x, times):
        return x

    assert NetworkDenoiser(network, VP, SHAPE).identity.digest == UNKNOWN_DIGEST
    first, second = (NetworkDenoiser(network, VP, SHAPE, version=v).identity.digest for v in ("1", "2"))
    assert UNKNOWN_DIGEST not in (first, second)
    assert first != second


def test_the_network_is_told_its_own_time_and_given_its_own_scale():
    network, x = Tiny(), torch.ones(2, *SHAPE)
    NetworkDenoiser(network, VP, SHAPE).predict_eps(x, 30)
    assert network.times.tolist() == [30, 30]
    model = karras_denoiser(network, SHAPE)
    assert np.allclose([model.schedule.at(0)[1], model.schedule.at(999)[0]], [0.002, 1 / 80], rtol=1e-3)
    eps = model.predict_eps(x, 500)
    sigma = float(network.times[0])
    alpha, noise = model.schedule.at(500)
    assert sigma == pytest.approx(noise / alpha, rel=1e-6)
    assert torch.allclose(eps, torch.zeros(()), atol=1e-6)  # D(x) = x sees no noise
    flow_network(network, SHAPE).predict_eps(x, 249)
    assert float(network.times[0]) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NetworkDenoiser(Tiny(), VP, SHAPE, predicts="noise"), "`predicts` must be one of epsilon, sample"),
        (lambda: NetworkDenoiser(Tiny(), VP, SHAPE, predicts="flow"), r"alpha = 1 - sigma.*flow_network"),
        (lambda: NetworkDenoiser(Tiny(), VP, SHAPE, times=[1.0]), "`times` must hold one number for each of 1000"),
        (
            lambda: NetworkDenoiser(
                Tiny(), NoiseSchedule(np.ones(2), np.array([1.0, 2.0])), SHAPE, predicts="v_prediction"
            ),
            "variance-preserving for v_prediction",
        ),
        (lambda: NetworkDenoiser(Tiny(), VP, SHAPE).condition(["cat"], 1), "unconditional, but 1 prompts"),
        (lambda: NetworkDenoiser(Tiny(), VP, SHAPE).encode(torch.zeros(1, 3, 2, 2)), "must have the model's shape"),
        (lambda: NetworkDenoiser(Tiny(), VP, SHAPE).generate([1], guidance_scale=2.0), "`guidance_scale` must be 1.0"),
        (
            lambda: NetworkDenoiser(lambda x, t: (x,), VP, SHAPE).predict_eps(torch.zeros(1, *SHAPE), 1),
            "must return a tensor, got tuple",
        ),
        (
            lambda: NetworkDenoiser(lambda x, t: {"sample": x}, VP, SHAPE).predict_eps(torch.zeros(1, *SHAPE), 1),
            "must return a tensor, got dict",
        ),
        (
            lambda: NetworkDenoiser(lambda x, t: x[:, :, :1], VP, SHAPE).predict_eps(torch.zeros(1, *SHAPE), 1),
            "must return the shape",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ModelError, match=message):
        make()
