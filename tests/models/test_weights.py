"""Weights of a digest: results are neither stored nor answered under it once they have changed."""

import pickle

import numpy as np
import pytest
import torch

from pytest_diffprivacy import load_model
from pytest_diffprivacy.audit import Auditor
from pytest_diffprivacy.engine import Engine, ScoreTask, Work
from pytest_diffprivacy.errors import AuditError
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.models.network import NetworkDenoiser
from pytest_diffprivacy.models.schedule import NoiseSchedule
from pytest_diffprivacy.probes import ImageSet
from tests.models import family_builders as build

IMAGES = ImageSet.of(np.random.default_rng(0).random((4, 3, 8, 8), dtype=np.float32), "image")


def means(model, images, *, batch_size):
    return images.mean((1, 2, 3)).double().numpy()


def scores(model, engine, task=means):
    return Auditor(engine=engine).scores(model, IMAGES, ScoreTask("means", 1, task, {}), Work())


def optimizer_step(network):
    weights = next(network.parameters()).requires_grad_(True)
    (weights.sum()).backward()
    torch.optim.SGD([weights], 0.1).step()


CHANGES = {
    "another state": lambda network: network.load_state_dict({k: v + 1 for k, v in network.state_dict().items()}),
    "a step of training": optimizer_step,
    "an average copied in through .data": lambda network: next(network.parameters()).data.mul_(0.9),
    "a layer replaced": lambda network: setattr(network, "conv_in", build.pixels(classes=2).conv_in.double()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_are_an_error_and_never_the_old_scores(tmp_path, change):
    model, engine = load_model(build.unconditional()), Engine(Store(tmp_path))
    scores(model, engine)
    CHANGES[change](model.network)
    with pytest.raises(AuditError, match="were changed after it was loaded"):
        scores(model, engine)
    assert load_model(build.unconditional()).identity.check() is None


def test_weights_that_change_while_a_unit_runs_are_not_stored(tmp_path):
    model, engine = load_model(build.unconditional()), Engine(Store(tmp_path))

    def training(model, images, *, batch_size):
        CHANGES["another state"](model.network)
        return means(model, images, batch_size=batch_size)

    with pytest.raises(AuditError, match="were changed"):
        scores(model, engine, training)


def test_training_mode_is_an_error():
    model = load_model(build.stable_diffusion())
    model.identity.check()
    model.network.train()
    with pytest.raises(AuditError, match="training mode"):
        model.identity.check()


def test_the_text_encoder_belongs_to_the_weights():
    pipeline = build.stable_diffusion()
    model = load_model(pipeline)
    next(pipeline.text_encoder.parameters()).data.add_(1.0)
    with pytest.raises(AuditError, match="were changed"):
        model.identity.check()


def test_the_same_weights_again_are_no_change():
    model = load_model(build.unconditional())
    model.network.load_state_dict({key: value.clone() for key, value in model.network.state_dict().items()})
    model.network.to(memory_format=torch.channels_last)
    model.identity.check()


def test_a_module_of_the_users_own_is_watched_and_a_copy_elsewhere_is_not():
    module = torch.nn.Conv2d(3, 3, 1)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = module

        def forward(self, x, t):
            return self.layer(x)

    model = NetworkDenoiser(Net(), NoiseSchedule.linear(), (3, 8, 8))
    sent = pickle.loads(pickle.dumps(model.identity))
    module.weight.data.add_(1.0)
    with pytest.raises(AuditError, match="were changed"):
        model.identity.check()
    sent.check()
    assert sent == model.identity
