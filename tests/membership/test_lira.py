"""LiRA: the closed form, honest variances, a target that never shadows itself, and power where there is a leak."""

import numpy as np
import pytest
import torch
from scipy import stats

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.evidence import fingerprint
from pytest_diffprivacy.membership import loss_scores
from pytest_diffprivacy.membership.lira import (
    averaged_losses,
    leave_one_out,
    lira_attack,
    lira_scores,
    loss_measure,
)
from pytest_diffprivacy.membership.shadow import Measure, ShadowScores, digests_of
from pytest_diffprivacy.membership.shadow_training import shadow_splits, train_shadows
from pytest_diffprivacy.models import AnalyticDenoiser, ReferenceTimestep, ideal_denoiser
from pytest_diffprivacy.models.densities import FiniteData, GaussianMixture
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.statistics import auroc
from tests.models.builders import binary_images, smooth_images


def shadows_of(losses, membership, measure=None):
    models, images = np.shape(losses)
    digests = [f"image {i}".encode() for i in range(images)]
    return ShadowScores(
        np.asarray(losses), np.asarray(membership), digests, [f"model {m}" for m in range(models)], measure
    )


def null_table(models, images, seed):
    """Losses that know nothing of membership: images of different difficulty and different spread."""
    rng = np.random.default_rng(seed)
    losses = 5 * rng.normal(size=images) + rng.gamma(2.0, size=images) * rng.normal(size=(models, images))
    return losses, shadow_splits(images, models, seed)


def area(scores, membership):
    return auroc(scores[membership], scores[~membership]).value


TWO_A_SIDE = shadows_of([[1.0, 10.0], [3.0, 12.0], [5.0, 20.0], [9.0, 24.0]], [[True] * 2] * 2 + [[False] * 2] * 2)


def test_the_score_is_the_closed_form_for_two_shadows_a_side():
    scores = lira_scores([4.0, 11.0], TWO_A_SIDE)
    inside, outside = 2.0**0.5, 8.0**0.5
    expected = [
        stats.norm.logpdf(loss, mean_in, inside) - stats.norm.logpdf(loss, mean_out, outside)
        for loss, mean_in, mean_out in ((4.0, 2.0, 7.0), (11.0, 11.0, 22.0))
    ]
    assert scores == pytest.approx(expected, rel=1e-12)
    offline = lira_scores([4.0, 11.0], TWO_A_SIDE, variant="offline")
    assert offline == pytest.approx([3.0 / outside, 11.0 / outside], rel=1e-12)


def test_the_offline_score_ranks_as_the_probability_of_a_larger_loss_without_the_image():
    target = np.linspace(0.0, 30.0, 7)
    shadows = shadows_of(np.repeat([[1.0], [2.0], [4.0]], 7, axis=1), np.zeros((3, 7), dtype=bool))
    probability = stats.norm.sf(target, 7 / 3, np.std([1, 2, 4], ddof=1))
    assert stats.norm.cdf(lira_scores(target, shadows, variant="offline")) == pytest.approx(probability, rel=1e-9)


def naive_lira(target, losses, membership, variant, variance):
    """METHODS 3.2 image by image."""
    groups = []
    for wanted in (True, False):
        columns = [[row[i] for row, inside in zip(losses, membership, strict=True) if inside[i] == wanted]
                   for i in range(len(target))]  # fmt: skip
        pooled = np.mean([np.var(column, ddof=1) for column in columns])
        fits = []
        for column in columns:
            weight = (len(column) - 1) / (len(column) - 1 + 64) if variance == "per_example" else 0.0
            fits.append((np.mean(column), np.sqrt(weight * np.var(column, ddof=1) + (1 - weight) * pooled)))
        groups.append(fits)
    if variant == "offline":
        return [(mean - loss) / deviation for loss, (mean, deviation) in zip(target, groups[1], strict=True)]
    return [
        stats.norm.logpdf(loss, *inside) - stats.norm.logpdf(loss, *outside)
        for loss, inside, outside in zip(target, *groups, strict=True)
    ]


@pytest.mark.parametrize("variant", ["online", "offline"])
@pytest.mark.parametrize("variance", ["pooled", "per_example"])
def test_the_score_agrees_with_a_naive_twin(variant, variance):
    losses, membership = null_table(8, 12, seed=1)
    membership[0, :4] = ~membership[0, :4]
    target = np.random.default_rng(2).normal(size=12)
    scores = lira_scores(target, shadows_of(losses, membership), variant=variant, variance=variance)
    assert scores == pytest.approx(naive_lira(target, losses, membership, variant, variance), rel=1e-10)


def test_with_many_shadows_an_example_has_its_own_variance():
    rng = np.random.default_rng(3)
    spread = np.array([1.0, 5.0])
    losses = spread * rng.normal(size=(6000, 2))
    shadows = shadows_of(losses, np.zeros((6000, 2), dtype=bool))
    scores = lira_scores([-10.0, -10.0], shadows, variant="offline", variance="per_example")
    assert scores == pytest.approx(10.0 / spread, rel=0.07)


def test_a_score_does_not_depend_on_the_images_it_is_scored_with():
    losses, membership = null_table(6, 20, seed=4)
    shadows, target = shadows_of(losses, membership), np.random.default_rng(5).normal(size=20)
    together = lira_scores(target, shadows)
    order = [7, 3, 19]
    some = lira_scores(target[order], shadows, digests=[shadows.digests[i] for i in order])
    assert np.array_equal(some, together[order])


@pytest.mark.parametrize("variant", ["online", "offline"])
@pytest.mark.parametrize("variance", ["pooled", "per_example"])
def test_two_shadows_a_side_find_nothing_where_nothing_is(variant, variance):
    losses, membership = null_table(6, 600, seed=6)[0], shadow_splits(600, 4, seed=6)
    target_membership = np.arange(600) % 2 == 0
    scores = lira_scores(losses[4], shadows_of(losses[:4], membership), variant=variant, variance=variance)
    assert abs(area(scores, target_membership) - 0.5) < 0.07


@pytest.mark.parametrize("variant", ["online", "offline"])
@pytest.mark.parametrize("variance", ["pooled", "per_example"])
def test_leaving_one_out_finds_nothing_where_nothing_is(variant, variance):
    losses, membership = null_table(8, 300, seed=7)
    scores = leave_one_out(shadows_of(losses, membership), variant=variant, variance=variance)
    assert scores.shape == (8, 300)
    assert 0.44 < area(scores, membership) < 0.53


def test_a_left_out_models_own_losses_and_membership_take_no_part_in_its_scores():
    losses, membership = null_table(10, 30, seed=8)
    shadows = shadows_of(losses, membership)
    scores = leave_one_out(shadows)
    for model in range(10):
        assert np.array_equal(scores[model], lira_scores(losses[model], shadows.without(model)))
    other = membership.copy()
    other[4] = ~other[4]
    assert np.array_equal(leave_one_out(shadows_of(losses, other))[4], scores[4])
    shifted = losses.copy()
    shifted[4] += 100.0
    assert np.array_equal(
        leave_one_out(shadows_of(shifted, membership))[4], lira_scores(losses[4] + 100.0, shadows.without(4))
    )


def test_leaving_one_out_needs_three_shadows_a_side():
    losses, membership = null_table(4, 10, seed=9)
    with pytest.raises(UsageError, match="at least 2 models trained"):
        leave_one_out(shadows_of(losses, membership))


def test_too_few_shadows_for_a_variance_are_refused_by_number():
    losses, membership = null_table(6, 10, seed=10)
    membership[:, :3] = False
    membership[0, 0] = True
    shadows = shadows_of(losses, membership)
    with pytest.raises(UsageError, match="at least 2 models trained with each image, got fewer for 3 of 10 images"):
        lira_scores(losses[0], shadows)
    assert np.isfinite(lira_scores(losses[0], shadows, variant="offline")).all()
    with pytest.raises(UsageError, match="at least 2 models trained without each image, got fewer for 3 of 10 images"):
        lira_scores(losses[0], shadows_of(losses, ~membership), variant="offline")


def test_a_side_whose_losses_repeat_to_the_last_digit_gives_finite_scores():
    losses = np.where(np.arange(4)[:, None] < 2, 0.0, np.arange(8.0).reshape(4, 2))
    shadows = shadows_of(losses, np.arange(4)[:, None] < np.full(2, 2))
    scores = lira_scores([0.0, 6.0], shadows)
    assert np.isfinite(scores).all()
    assert scores[0] > 0 > scores[1]


def test_losses_that_do_not_vary_are_an_error():
    with pytest.raises(AuditError, match="losses do not vary"):
        lira_scores([1.0, 2.0], shadows_of(np.ones((4, 2)), shadow_splits(2, 4, 0)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "both"}, "`variant` must be one of online, offline, got 'both'"),
        ({"variance": "global"}, "`variance` must be one of pooled, per_example, got 'global'"),
        ({"digests": [b"image 0", b"nobody"]}, "got 1 of 2 that are not"),
        ({"digests": [b"image 0"]}, "`target_losses` must be 1 finite numbers"),
        ({"target_losses": [1.0, np.nan]}, "`target_losses` must be 2 finite numbers"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        lira_scores(**({"target_losses": [1.0, 2.0], "shadows": TWO_A_SIDE} | arguments))


IMAGES = smooth_images(6, 11, side=4)
MODEL = ideal_denoiser(smooth_images(9, 12, side=4))


def test_the_averaged_loss_is_that_of_the_image_and_of_its_mirror_image():
    both = averaged_losses(MODEL, IMAGES, draws=3, seed=5)
    upright, mirrored = (-loss_scores(MODEL, view, draws=3, seed=5) for view in (IMAGES, IMAGES.flip(-1)))
    assert both == pytest.approx((upright + mirrored) / 2, rel=1e-12)
    assert averaged_losses(MODEL, IMAGES, draws=3, seed=5, flip=False) == pytest.approx(upright, rel=1e-12)
    assert averaged_losses(MODEL, IMAGES.flip(-1), draws=3, seed=5) == pytest.approx(both, rel=1e-12)


def test_the_averaged_loss_of_an_image_is_the_same_alone_and_in_any_batch():
    together = averaged_losses(MODEL, IMAGES, draws=2)
    assert averaged_losses(MODEL, IMAGES, draws=2, batch_size=4) == pytest.approx(together, rel=1e-10)
    alone = [averaged_losses(MODEL, IMAGES[i : i + 1], draws=2)[0] for i in range(6)]
    assert alone == pytest.approx(together, rel=1e-10)


class Recorder:
    """A model that keeps what it is shown."""

    def __init__(self, model):
        self._model, self.shown = model, []
        for name in ("identity", "schedule", "sample_shape", "image_shape", "device", "dtype"):
            setattr(self, name, getattr(model, name))
        self.condition, self.encode, self.decode = model.condition, model.encode, model.decode

    def predict_eps(self, x_t, timestep, conditioning=None):
        self.shown.append(x_t)
        return self._model.predict_eps(x_t, timestep, conditioning)


def test_every_model_is_shown_the_same_noise_in_every_view():
    one, other = Recorder(MODEL), Recorder(ideal_denoiser(IMAGES))
    for model in (one, other):
        averaged_losses(model, IMAGES, draws=2, seed=5)
    assert len(one.shown) == 4
    assert all(torch.equal(a, b) for a, b in zip(one.shown, other.shown, strict=True))


def test_the_measure_says_what_it_costs_and_plain_lira_is_one_evaluation():
    assert loss_measure().evaluations == 40
    assert loss_measure(draws=1, flip=False).evaluations == 1
    assert loss_measure(timesteps=(50, 100), draws=3).parameters["timesteps"] == (50, 100)


POOL = binary_images(96, 13, side=4)


def train_memorizer(indices, seed):
    return ideal_denoiser(POOL[indices])


@pytest.fixture(scope="module")
def memorizing_shadows():
    images = ImageSet.of(POOL.numpy(), "shadow pool")
    assert len(images) == len(POOL)
    return train_shadows(images, train_memorizer, [loss_measure(draws=2)], recipe="ideal denoiser", models=8, seed=3)[0]


@pytest.mark.parametrize("variant", ["online", "offline"])
@pytest.mark.parametrize("variance", ["pooled", "per_example"])
def test_a_target_with_perfect_memory_is_recognised_and_one_trained_elsewhere_is_not(
    memorizing_shadows, variant, variance
):
    attack = lira_attack(memorizing_shadows, variant=variant, variance=variance)
    members = shadow_splits(96, 2, seed=77)[0]
    scores = attack.scores(ideal_denoiser(POOL[members]), POOL, **attack.defaults)
    assert area(scores, members) > 0.99
    stranger = attack.scores(ideal_denoiser(binary_images(48, 14, side=4)), POOL, **attack.defaults)
    assert abs(area(stranger, members) - 0.5) < 0.15


def test_leaving_one_out_recognises_perfect_memory(memorizing_shadows):
    assert area(leave_one_out(memorizing_shadows), memorizing_shadows.membership) > 0.99


class Blend:
    """The leak dial of METHODS 8.4 at 3 %, with a population that each training run gets a little wrong."""

    def __init__(self, points, seed):
        self._finite, self.dimension = FiniteData(points), points.shape[1]
        mean = torch.from_numpy(np.random.default_rng(seed).normal(0.0, 0.1, (1, self.dimension)))
        self._population = GaussianMixture(mean, 0.25 * torch.eye(self.dimension)[None])

    def tensors(self):
        return self._finite.tensors()

    def score(self, x, alpha, sigma):
        return 0.03 * self._finite.score(x, alpha, sigma) + 0.97 * self._population.score(x, alpha, sigma)

    def hessian(self, x, alpha, sigma):
        raise NotImplementedError


def test_strong_lira_beats_plain_lira_and_that_beats_the_loss_where_the_leak_is_small():
    grey = (0.5 + 0.25 * np.random.default_rng(15).normal(size=(80, 1, 4, 4))).clip(0.0, 1.0)
    images = torch.from_numpy(grey.astype(np.float32))

    def train(indices, seed):
        views = torch.cat([images[indices], images[indices].flip(-1)])
        return AnalyticDenoiser(Blend((views.double() * 2.0 - 1.0).flatten(1), seed), (1, 4, 4))

    measures = [loss_measure(draws=1, flip=False), loss_measure(draws=12, flip=False), loss_measure(draws=12)]
    tables = train_shadows(
        ImageSet.of(images.numpy(), "shadow pool"), train, measures, recipe="leak dial, flips", models=10
    )
    plain, averaged, strong = (area(leave_one_out(table), table.membership) for table in tables)
    loss = area(-tables[2].losses, tables[2].membership)
    assert 0.6 < loss < plain < averaged - 0.05 < strong - 0.1


def test_the_attack_fits_the_audit(memorizing_shadows):
    attack = lira_attack(memorizing_shadows, variance="per_example")
    assert attack.name == "lira"
    assert attack.evaluations(attack.defaults) == 4
    assert attack.timesteps(attack.defaults) == (ReferenceTimestep(100),)
    assert attack.defaults["shadows"] == memorizing_shadows.digest
    assert fingerprint(attack.defaults) != fingerprint(lira_attack(memorizing_shadows).defaults)
    assert not attack.seeded


def test_the_attack_joins_images_by_their_pixels_and_scores_them_alike_in_any_batch(memorizing_shadows):
    attack, target = lira_attack(memorizing_shadows), ideal_denoiser(POOL[:40])
    together = attack.scores(target, POOL)
    order = [50, 3, 17, 90]
    assert attack.scores(target, POOL[order], batch_size=3) == pytest.approx(together[order], rel=1e-6)


def test_the_attack_refuses_what_the_shadows_do_not_cover(memorizing_shadows):
    attack = lira_attack(memorizing_shadows)
    target = ideal_denoiser(POOL[:40])
    with pytest.raises(UsageError, match="got 2 of 3 that are not"):
        attack.scores(target, torch.cat([POOL[:1], smooth_images(2, 1, side=4)]))
    with pytest.raises(UsageError, match="`draws` must be that of the shadow models, 2, got 20"):
        attack.scores(target, POOL, **(attack.defaults | {"draws": 20}))
    with pytest.raises(UsageError, match="`shadows` must not contain the target"):
        attack.scores(train_memorizer(np.flatnonzero(memorizing_shadows.membership[2]), 0), POOL)


def test_shadows_and_target_are_told_the_same_captions():
    told = []

    def captioned(model, images, *, batch_size, prompts=None):
        told.append(prompts)
        return -loss_scores(model, images, draws=1)

    captions = [f"picture {i}" for i in range(len(POOL))]
    measure = Measure("captioned loss", 1, captioned, {}, 1)
    (shadows,) = train_shadows(
        ImageSet.of(POOL.numpy(), "pool", captions), train_memorizer, [measure], recipe="captions", models=4
    )
    assert told == [captions] * 4
    assert list(shadows.prompts) == captions
    attack, target = lira_attack(shadows), ideal_denoiser(POOL[:40])
    order = [50, 3, 17]
    scores = attack.scores(target, POOL[order], prompts=[captions[i] for i in order])
    assert np.isfinite(scores).all()
    assert told[-1] == [captions[i] for i in order]
    with pytest.raises(UsageError, match=r"`shadows` were measured with prompts, got images without"):
        attack.scores(target, POOL[order])
    with pytest.raises(UsageError, match=r"`prompts` must be those that the shadow models.*got 1 of 3 others"):
        attack.scores(target, POOL[order], prompts=["picture 50", "picture 3", "another"])


def test_captions_that_the_shadows_were_not_told_are_refused_with_the_cure(memorizing_shadows):
    with pytest.raises(UsageError, match=r"measured without prompts.*Give the pool its captions"):
        lira_attack(memorizing_shadows).scores(ideal_denoiser(POOL[:40]), POOL[:2], prompts=["a", "b"])


def test_an_attack_needs_to_know_what_the_shadows_measured_and_enough_of_them():
    with pytest.raises(UsageError, match="`shadows` must say what was measured"):
        lira_attack(TWO_A_SIDE)
    losses, membership = null_table(2, 10, seed=9)
    with pytest.raises(UsageError, match="at least 2 models trained"):
        lira_attack(shadows_of(losses, membership, loss_measure()))


def test_digests_join_whatever_the_precision_of_the_images():
    assert digests_of(POOL.double()) == digests_of(POOL)
