"""Where there is nothing to find, attacks find nothing: members and non-members of one law, a model of neither.

200 audits of 100 members and 368 non-members (enough for a FAIL at 1 % FPR) with points of their own. An
image's score depends on nothing but the image (each attack's file tests it), so all 200 sets are scored in one call a
side and then cut apart: the same numbers as 200 runs, and independent, since no point is used twice.
"""

from functools import partial

import numpy as np
import pytest
import torch

from pytest_diffprivacy.membership.drc import drc_scores
from pytest_diffprivacy.membership.loss import loss_scores
from pytest_diffprivacy.membership.pfami import pfami_scores
from pytest_diffprivacy.membership.pia import pia_scores
from pytest_diffprivacy.membership.pian import pian_scores
from pytest_diffprivacy.membership.rediffuse import rediffuse_scores
from pytest_diffprivacy.membership.secmi import secmi_scores
from pytest_diffprivacy.membership.sima import sima_scores
from pytest_diffprivacy.models import AnalyticDenoiser
from pytest_diffprivacy.models.densities import GaussianMixture
from pytest_diffprivacy.statistics import auroc, nonmembers_needed, tpr_at_fpr

RUNS, MEMBERS, OTHERS, MAX_FPR = 200, 100, 368, 0.01
SHAPE = (1, 3, 3)
ATTACKS = {
    "loss": partial(loss_scores, draws=5),
    "secmi": secmi_scores,
    "pia": pia_scores,
    "pian": pian_scores,
    "sima": sima_scores,
    "pfami": partial(pfami_scores, strengths=[0.95, 0.7]),
    "rediffuse": partial(rediffuse_scores, draws=5),
    "drc": partial(drc_scores, masks=("left",), restorations=1, steps=5),
}


def population():
    """Two clouds in [-1, 1]^9, narrow enough for no point of this test to leave it."""
    means = torch.tensor([[0.3], [-0.2]]).expand(2, 9)
    return GaussianMixture(means, torch.stack([0.01 * torch.eye(9), 0.02 * torch.eye(9)]))


def drawn(count, seed):
    rng = np.random.default_rng(seed)
    which = rng.integers(0, 2, (count, 1))
    x0 = np.where(which == 0, 0.3, -0.2) + np.sqrt(np.where(which == 0, 0.01, 0.02)) * rng.normal(size=(count, 9))
    return torch.from_numpy((x0.reshape(count, *SHAPE) + 1) / 2)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.slow
def test_an_attack_fails_a_model_without_leak_in_at_most_one_audit_of_twenty(name):
    assert nonmembers_needed(MAX_FPR) <= OTHERS
    model = AnalyticDenoiser(population(), SHAPE)
    score = partial(ATTACKS[name], model, batch_size=20_000)
    members = score(drawn(RUNS * MEMBERS, 71)).reshape(RUNS, MEMBERS)
    others = score(drawn(RUNS * OTHERS, 72)).reshape(RUNS, OTHERS)
    bounds = [tpr_at_fpr(m, o, max_fpr=MAX_FPR).low for m, o in zip(members, others, strict=True)]
    assert sum(low > MAX_FPR for low in bounds) <= 0.05 * RUNS
    assert max(bounds) > 0.0  # a bound above 0 is within reach: the sets are large enough to fail
    assert auroc(members.ravel(), others.ravel()).value == pytest.approx(0.5, abs=0.012)  # about 5 standard errors
