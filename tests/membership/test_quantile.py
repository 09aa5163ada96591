from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from pytest_diffprivacy import ProbeSet, assert_mia_tpr_below
from pytest_diffprivacy.audit import Auditor
from pytest_diffprivacy.errors import AuditError, PrivacyViolation, ProbeError, UsageError
from pytest_diffprivacy.evidence import fingerprint
from pytest_diffprivacy.membership.quantile import BASES, quantile_attack
from pytest_diffprivacy.membership.secmi import secmi, secmi_scores
from pytest_diffprivacy.models import ideal_denoiser, load_model
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from pytest_diffprivacy.statistics import auroc, tpr_at_fpr
from tests.models.builders import population_model, smooth_images, tiny_unet

SHAPE = (1, 4, 4)


def images(count, seed):
    """Some bright, some dark; the bright ones are hard for the invented base attack below."""
    rng = np.random.default_rng([51, seed])
    brightness = rng.uniform(0.1, 0.9, (count, 1, 1, 1))
    return torch.from_numpy(np.clip(brightness + rng.normal(0.0, 0.05, (count, *SHAPE)), 0.0, 1.0).astype(np.float32))


def invented_errors(pictures):
    """Log error = 5 x brightness + noise that is a function of the pixels, but of none a regressor could learn."""
    pixels = pictures.double().flatten(1)
    noise = torch.sin(1e4 * pixels).sum(1) / np.sqrt(8.0)
    return torch.exp(5.0 * pixels.mean(1) + 0.3 * noise).numpy()


class Invented:
    """A base attack without a model: members' errors are the non-members' divided by `e`."""

    def __init__(self, members=()):
        self.members = {m.numpy().tobytes() for m in members}
        self.asked = []

    def scores(self, model, pictures, *, batch_size, power=1.0):
        self.asked.append(len(pictures))
        share = [np.e if p.numpy().tobytes() in self.members else 1.0 for p in pictures]
        return -(invented_errors(pictures) ** power) / np.array(share)

    def attack(self):
        return replace(secmi, name="invented", scores=self.scores, defaults={"power": 1.0}, timesteps=lambda p: ())


def scores(attack, model, pictures, **changed):
    return attack.scores(model, pictures, **{**attack.defaults, **changed})


@pytest.fixture(scope="module")
def model():
    return population_model(SHAPE)


def test_the_score_is_the_bags_mean_quantile_minus_the_log_error(model):
    base = Invented()
    attack = quantile_attack(images(100, 1), fpr=0.2, base=base.attack(), bag=2, seed=3)
    fresh = images(5, 2)
    found = scores(attack, model, fresh)
    brighter = found + np.log(invented_errors(fresh))
    one = quantile_attack(images(100, 1), fpr=0.2, base=Invented().attack(), bag=1, seed=3)
    np.testing.assert_allclose(scores(one, model, fresh) + np.log(invented_errors(fresh)), brighter, atol=0.6)
    assert np.corrcoef(brighter, fresh.mean((1, 2, 3)))[0, 1] > 0.9


def test_easy_images_are_not_accused_for_being_easy(model):
    members, others = images(400, 3), images(400, 4)
    base = Invented(members)
    attack = quantile_attack(images(400, 5), fpr=0.05, base=base.attack(), bag=4)
    ours = tpr_at_fpr(scores(attack, model, members), scores(attack, model, others), max_fpr=0.05)
    plain = [base.scores(model, side, batch_size=256) for side in (members, others)]
    assert ours.value > 0.6
    assert ours.low > tpr_at_fpr(*plain, max_fpr=0.05).high


@pytest.mark.parametrize("fpr", [0.05, 0.2])
def test_the_nominal_rate_is_near_but_not_the_true_one(model, fpr):
    attack = quantile_attack(images(400, 6), fpr=fpr, base=Invented().attack(), bag=4)
    accused = np.mean(scores(attack, model, images(2_000, 7)) > 0)
    assert 0.4 * fpr < accused < 2.0 * fpr


def test_members_of_an_ideal_denoiser_lie_below_their_quantile():
    known = smooth_images(60, 8, side=4)
    memory = ideal_denoiser(known[:20])
    attack = quantile_attack(known[20:40], fpr=0.1, bag=2)
    members, others = (scores(attack, memory, part) for part in (known[:20], known[40:]))
    assert (members > 0).all()
    assert np.mean(others > 0) < 0.5
    assert auroc(members, others).value > 0.85


def test_scores_do_not_depend_on_the_batch_and_regressors_are_fitted_once_a_model(model):
    base = Invented()
    attack = quantile_attack(images(60, 9), fpr=0.1, base=base.attack(), bag=2)
    fresh = images(7, 10)
    together = scores(attack, model, fresh)
    np.testing.assert_array_equal([scores(attack, model, fresh[i : i + 1])[0] for i in range(7)], together)
    assert base.asked.count(60) == 1
    scores(attack, population_model((1, 2, 8)), fresh)
    scores(attack, model, fresh, power=2.0)
    assert base.asked.count(60) == 3


def test_the_same_seed_builds_the_same_attack_and_another_another(model):
    fresh = images(7, 10)
    first, again, other = (
        scores(quantile_attack(images(60, 9), fpr=0.1, base=Invented().attack(), bag=2, seed=seed), model, fresh)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_is_stored_is_found_again_only_for_the_same_calibration_images():
    keys = {
        fingerprint(dict(quantile_attack(images(60, seed), fpr=fpr).defaults))
        for seed, fpr in ((9, 0.1), (9, 0.2), (10, 0.1))
    }
    assert len(keys) == 3
    assert "nominal FPR 0.1" in quantile_attack(images(60, 9), fpr=0.1).title


@pytest.mark.slow
def test_a_base_keeps_its_parameters_and_its_timesteps(model):
    attack = quantile_attack(images(60, 9), fpr=0.1, parameters={"timestep": 50})
    assert attack.timesteps(attack.defaults) == (50,)
    assert attack.evaluations(attack.defaults) == 7
    assert attack.defaults["base"] == "secmi"
    fresh = images(3, 11)
    errors = [np.log(-secmi_scores(model, fresh, timestep=t)) for t in (50, ReferenceTimestep(90))]
    changed = scores(attack, model, fresh), scores(quantile_attack(images(60, 9), fpr=0.1), model, fresh)
    assert not np.allclose(changed[0], changed[1])
    assert np.isfinite(errors).all()


def test_calibration_images_are_never_scored(model):
    known = images(60, 9)
    attack = quantile_attack(known, fpr=0.1, base=Invented().attack())
    with pytest.raises(ProbeError, match="1 of 4 images to be scored are calibration images"):
        scores(attack, model, torch.cat([images(3, 12), known[:1]]))


def test_prompts_go_with_both_the_calibration_and_the_scored_images():
    classes = load_model(tiny_unet(classes=3), scheduler=DDPMScheduler())
    known, fresh = smooth_images(20, 1), smooth_images(4, 2)
    attack = quantile_attack(known, fpr=0.1, bag=1, prompts=[0, 1] * 10)
    first, second = (scores(attack, classes, fresh, prompts=[label] * 4) for label in (0, 2))
    assert not np.array_equal(first, second)
    with pytest.raises(UsageError, match="both have prompts or neither"):
        scores(attack, classes, fresh)
    with pytest.raises(UsageError, match="one for each of the 20 images, got 3"):
        quantile_attack(known, fpr=0.1, prompts=[0, 1, 2])


@pytest.mark.slow
def test_the_attack_is_judged_like_any_other():
    known = smooth_images(1_000, 8, side=4).numpy()
    attack = quantile_attack(known[600:], fpr=0.1, base="loss", bag=1, parameters={"draws": 1})
    memory = ideal_denoiser(torch.from_numpy(known[:300]))
    auditor = Auditor()
    with pytest.raises(PrivacyViolation, match=r"Quantile regression of Denoising loss, nominal FPR 0\.1"):
        assert_mia_tpr_below(
            memory, ProbeSet(known[:300], known[300:600]), attack=attack, max_fpr=0.1, limit=0.1, auditor=auditor
        )
    with pytest.raises(ProbeError, match="are calibration images"):
        assert_mia_tpr_below(
            memory, ProbeSet(known[:300], known[500:800]), attack=attack, max_fpr=0.1, limit=0.1, auditor=auditor
        )


def test_an_error_of_zero_has_a_score(model):
    perfect = replace(Invented().attack(), scores=lambda model, pictures, **_: np.zeros(len(pictures)))
    attack = quantile_attack(images(60, 9), fpr=0.1, base=perfect, bag=1)
    assert np.isfinite(scores(attack, model, images(3, 12))).all()


def test_a_base_whose_scores_are_no_errors_is_refused(model):
    ratio = replace(Invented().attack(), scores=lambda model, pictures, **_: np.ones(len(pictures)))
    with pytest.raises(AuditError, match="its scores must be minus an error, got 1"):
        scores(quantile_attack(images(60, 9), fpr=0.1, base=ratio), model, images(3, 12))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: quantile_attack(images(60, 9), fpr=0.1, base="lira"), UsageError, f"one of {', '.join(BASES)}"),
        (lambda: quantile_attack(images(60, 9), fpr=1.0), UsageError, "`fpr` must be strictly between 0 and 1"),
        (lambda: quantile_attack(images(60, 9), fpr=0.1, bag=0), UsageError, "`bag` must be at least 1"),
        (lambda: quantile_attack(images(60, 9), fpr=0.01), ProbeError, "must be at least 100 for fpr 0.01, got 60"),
        (lambda: quantile_attack(images(60, 9)[[0] * 60], fpr=0.1), ProbeError, "distinct, got 59 repetitions"),
        (lambda: quantile_attack(images(60, 9), fpr=0.1, parameters={"p": 4}), UsageError, "among timestep, step"),
        (lambda: quantile_attack(images(60, 9) * 2, fpr=0.1), UsageError, r"`images` must lie in \[0, 1\]"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_what_the_regressors_were_built_with_cannot_be_changed_later(model):
    attack = quantile_attack(images(60, 9), fpr=0.1, base=Invented().attack())
    with pytest.raises(UsageError, match="`fpr` must be what the regressors were built with"):
        scores(attack, model, images(3, 12), fpr=0.2)
