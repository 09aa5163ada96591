"""Null calibration of the attacks that know more than the model and an image: LiRA, GSA, CLiD.

200 audits as in test_null: 100 members and 368 non-members of one law, with points of their own, and a target that was
trained on neither. What else the attacks know is real: LiRA's shadow models have seen halves of each audit's own
images, GSA's classifier has learned from shadow models that know theirs, and CLiD has each image's label and a scale
from other images.
"""

import numpy as np
import pytest
import torch

from pytest_diffprivacy.membership.clid import clid_scores, clid_terms, fit_clid_scale
from pytest_diffprivacy.membership.gsa import gsa_attack, gsa_measure
from pytest_diffprivacy.membership.lira import lira_attack, loss_measure
from pytest_diffprivacy.membership.shadow_training import train_shadows
from pytest_diffprivacy.models import AnalyticDenoiser, ModelIdentity, NoiseSchedule
from pytest_diffprivacy.models.densities import FiniteData, GaussianMixture, LeakDial
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.statistics import auroc, tpr_at_fpr
from tests.membership.subspace import Subspace
from tests.membership.test_null import MAX_FPR, MEMBERS, OTHERS, RUNS, SHAPE, drawn, population

SIZE = MEMBERS + OTHERS
LEAK = 0.5


def fails(scores):
    """How many audits FAIL at 1 % FPR, of scores (runs, images) whose first 100 are the members'."""
    bounds = [tpr_at_fpr(own[:MEMBERS], own[MEMBERS:], max_fpr=MAX_FPR).low for own in scores]
    assert max(bounds) > 0.0  # a bound above 0 is within reach: the sets are large enough to fail
    return sum(low > MAX_FPR for low in bounds)


def points(images):
    return (images.double() * 2.0 - 1.0).flatten(1)


@pytest.mark.slow
def test_lira_fails_a_model_without_leak_in_at_most_one_audit_of_twenty():
    """Four shadow models an audit, each with a strong memory of half of the audit's images."""
    target, images = AnalyticDenoiser(population(), SHAPE), drawn(RUNS * SIZE, 81).float()
    scores = np.empty((RUNS, SIZE))
    caught = []
    for run, own in enumerate(images.split(SIZE)):

        def train(indices, seed, own=own):
            return AnalyticDenoiser(LeakDial(FiniteData(points(own[indices])), population(), LEAK), SHAPE)

        pool, measures = ImageSet.of(own.numpy(), "image"), [loss_measure(timesteps=[10], draws=1, flip=False)]
        (shadows,) = train_shadows(pool, train, measures, recipe="leak dial", models=4, seed=run)
        scores[run] = lira_attack(shadows).scores(target, own)
        if run < 3:  # the same attack on a target that leaks
            inside = np.arange(SIZE) < MEMBERS
            leaky = lira_attack(shadows).scores(train(np.flatnonzero(inside), 0), own)
            caught.append(auroc(leaky[inside], leaky[~inside]).value)
    assert min(caught) > 0.8
    assert fails(scores) <= 0.05 * RUNS
    assert auroc(scores[:, :MEMBERS].ravel(), scores[:, MEMBERS:].ravel()).value == pytest.approx(0.5, abs=0.012)


@pytest.mark.slow
def test_gsa_fails_a_model_without_leak_in_at_most_one_audit_of_twenty():
    """Sixteen shadow models of 4 points each, and a target that was trained on 4 others.

    An image's score depends on nothing but the image, so all audits are scored in one call and then cut apart.
    """
    times = (10,)

    def train(members):
        return Subspace(points(members), SHAPE, times)

    known = drawn(8, 82).float()
    pool, measures = ImageSet.of(known.numpy(), "image"), [gsa_measure(timesteps=times)]
    (shadows,) = train_shadows(pool, lambda i, seed: train(known[i]), measures, recipe="subspace", models=16, seed=1)
    attack = gsa_attack(shadows)
    leaky = np.stack([attack.scores(train(own[:4]), own) for own in drawn(240, 83).float().split(12)])
    assert auroc(leaky[:, :4].ravel(), leaky[:, 4:].ravel()).value > 0.8  # the attack works where there is a leak
    images, target = drawn(RUNS * SIZE, 84).float(), train(drawn(4, 85))
    scores = attack.scores(target, images).reshape(RUNS, SIZE)
    assert fails(scores) <= 0.05 * RUNS
    assert auroc(scores[:, :MEMBERS].ravel(), scores[:, MEMBERS:].ravel()).value == pytest.approx(0.5, abs=0.012)


class Labelled:
    """The exact model of the two clouds: a label names one of them, and without a label it is either."""

    identity = ModelIdentity("labelled", "hand-written", "labelled", 0, "float64", "cpu", "grey box")
    schedule = NoiseSchedule.linear()
    sample_shape = image_shape = SHAPE
    device, dtype = torch.device("cpu"), torch.float64

    def __init__(self):
        both = population()
        means, covariances = (both.tensors()[name] for name in ("means", "covariances"))
        densities = [GaussianMixture(means[k : k + 1], covariances[k : k + 1]) for k in (0, 1)]
        self._models = [AnalyticDenoiser(density, SHAPE) for density in (*densities, both)]

    def condition(self, prompts, count):
        return torch.full((count,), 2) if prompts is None else torch.tensor(prompts)

    def predict_eps(self, x_t, timestep, conditioning=None):
        eps = torch.empty_like(x_t)
        for label in conditioning.unique().tolist():
            rows = conditioning == label
            eps[rows] = self._models[label].predict_eps(x_t[rows], timestep)
        return eps

    def encode(self, images):
        return images.double() * 2.0 - 1.0

    def decode(self, x0):
        return (x0 + 1.0) / 2.0


@pytest.mark.slow
def test_clid_fails_a_model_without_leak_in_at_most_one_audit_of_twenty():
    """The target is the population itself; images come with their labels, and the scale from further images."""
    model = Labelled()

    def labelled(count, seed):
        images = drawn(count, seed)
        return images, (points(images).mean(1) < 0.05).long().tolist()

    images, labels = labelled(400, 86)
    scale = fit_clid_scale(clid_terms(model, images, prompts=labels))
    images, labels = labelled(RUNS * SIZE, 87)
    scores = clid_scores(model, images, prompts=labels, scale=scale, batch_size=20_000).reshape(RUNS, SIZE)
    assert fails(scores) <= 0.05 * RUNS
    assert auroc(scores[:, :MEMBERS].ravel(), scores[:, MEMBERS:].ravel()).value == pytest.approx(0.5, abs=0.012)
