"""CDI's features are the published attacks' own errors, and its test is right on sets that nobody trained on.

The calibration runs fit thousands of scorers, so a batched Newton twin stands in for scikit-learn; one test shows that
both give the same logits.
"""

from functools import lru_cache

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from scipy import special

from pytest_diffprivacy.errors import AuditError, ModelError, UsageError
from pytest_diffprivacy.membership.cdi import FAMILIES, GREY_BOX, CdiSettings, affordable_features, cdi_logits
from pytest_diffprivacy.membership.cdi_features import cdi_features, optimize_noise
from pytest_diffprivacy.membership.loss import loss_scores
from pytest_diffprivacy.membership.pia import pia_scores
from pytest_diffprivacy.membership.pian import pian_scores
from pytest_diffprivacy.membership.secmi import secmi_scores
from pytest_diffprivacy.models import ideal_denoiser, load_model
from pytest_diffprivacy.models.noise import probe_noise
from pytest_diffprivacy.models.protocols import WhiteBoxDenoiser
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from pytest_diffprivacy.statistics.control_splits import ControlSplit, control_splits
from pytest_diffprivacy.statistics.p_values import combined_p_value
from tests.models.builders import golden_images, golden_model, population_model, smooth_images, tiny_unet

RUNS, IMAGES, FEATURES, SPLITS, FOLDS = 1_000, 50, 20, 5, 5
T100 = ReferenceTimestep(100)


class GreyBox:
    """A model that shows its predictions and no derivative, and counts the images it is asked about."""

    def __init__(self, model):
        self._model, self.asked = model, 0
        for name in ("identity", "schedule", "sample_shape", "image_shape", "device", "dtype"):
            setattr(self, name, getattr(model, name))
        self.condition, self.encode, self.decode = model.condition, model.encode, model.decode

    def predict_eps(self, x_t, timestep, conditioning=None):
        self.asked += len(x_t)
        return self._model.predict_eps(x_t, timestep, conditioning)


class CountingWhiteBox(GreyBox):
    def __init__(self, model):
        super().__init__(model)
        self.eps_jvp, self.named_parameters = model.eps_jvp, model.named_parameters


class Deaf(CountingWhiteBox):
    """Claims white-box access, but nothing flows back through it."""

    def predict_eps(self, x_t, timestep, conditioning=None):
        return super().predict_eps(x_t.detach(), timestep, conditioning)


def tiny_model():
    return population_model(), smooth_images(5, 3, side=2).repeat(1, 1, 1, 2)[..., :3]


@lru_cache(maxsize=1)
def network():
    return golden_model(torch.float64), golden_images()[:4].double()


def named(model, images, **arguments):
    settings = CdiSettings(**{k: v for k, v in arguments.items() if k in ("features", "timestep", "timesteps")})
    values = cdi_features(model, images, **arguments)
    assert values.shape == (len(images), len(settings.names))
    return dict(zip(settings.names, values.T, strict=True))


@pytest.mark.parametrize("make", [tiny_model, network], ids=["analytic", "network"])
def test_the_features_are_the_published_attacks_own_errors(make):
    model, images = make()
    found = named(model, images, features=GREY_BOX, seed=3)
    expected = {
        "loss": -loss_scores(model, images, timesteps=[T100], draws=5, seed=3),
        "secmi": -secmi_scores(model, images, timestep=T100),
        "pia": (-pia_scores(model, images)) ** 0.25,
        "pian": (-pian_scores(model, images)) ** 0.25,
    } | {
        f"multiple_loss t={t}": -loss_scores(model, images, timesteps=[ReferenceTimestep(t)], draws=1, seed=3)
        for t in range(0, 1000, 100)
    }
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-9, err_msg=name)


def test_gradient_masking_replaces_the_pixels_with_the_largest_gradients():
    model, images = tiny_model()
    found = named(model, images, features=("gm_paper",), timesteps=(300, 600), seed=4)
    noise = probe_noise(images, 6, model.sample_shape, 4)
    for t in (300, 600):
        alpha, sigma = model.schedule.at(t)
        for i, x0 in enumerate(model.encode(images)):
            eps, fresh = noise[0, i].flatten(), noise[5, i].flatten()
            z = alpha * x0.flatten() + sigma * eps

            def predict(point, t=t):
                return model.predict_eps(point.reshape(1, 1, 2, 3), t).flatten()

            gradient = -2 * torch.autograd.functional.jacobian(predict, z).T @ (eps - predict(z))
            (largest,) = gradient.abs().topk(1).indices  # 20 % of 6 pixels, rounded
            masked = z.clone()
            masked[largest] = fresh[largest]
            expected = (fresh[largest] - z[largest] - predict(masked)[largest]) ** 2
            assert found[f"gm_paper t={t}"][i] == pytest.approx(float(expected), rel=1e-8)


def test_noise_optimization_lowers_each_images_error_and_says_how_far_it_went():
    model, images = network()
    found = named(model, images, features=("noise_optimization", "multiple_loss"), timesteps=(100, 500), timestep=100)
    assert (found["noise_optimization error"] < 0.9 * found["multiple_loss t=100"]).all()
    assert (found["noise_optimization size"] > 0).all()


def quadratic(count=3, size=4, seed=8):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(count, size, size))
    curvature = torch.from_numpy(roots @ roots.transpose(0, 2, 1) / size + 0.3 * np.eye(size))
    centres = torch.from_numpy(rng.normal(size=(count, size)))

    def evaluate(d):
        pull = torch.einsum("nij,nj->ni", curvature, d - centres)
        return 0.5 * (pull * (d - centres)).sum(1), pull

    return evaluate, torch.zeros(count, size, dtype=torch.float64)


def test_each_image_is_optimized_as_torch_optimizes_it_alone():
    evaluate, start = quadratic()
    found = optimize_noise(evaluate, *evaluate(start), steps=5)
    for i in range(len(start)):
        d = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([d], lr=1.0, max_iter=5, tolerance_grad=0.0, tolerance_change=0.0)

        def closure(i=i, d=d):
            errors, slopes = evaluate(d.detach())
            d.grad = torch.zeros_like(d)
            d.grad[i] = slopes[i]
            return errors[i]

        optimizer.step(closure)
        torch.testing.assert_close(found.perturbation[i], d.detach()[i], rtol=1e-6, atol=1e-9)


def test_a_step_that_raises_the_error_or_leaves_the_model_is_not_taken():
    def cliff(d):
        outside = d.abs().sum(1) > 0.1
        return torch.where(outside, torch.nan, -d.sum(1)), -torch.ones_like(d)

    start = torch.zeros(2, 3, dtype=torch.float64)
    found = optimize_noise(cliff, *cliff(start), steps=6)
    assert torch.isfinite(found.error).all()
    assert ((found.error < 0) & (found.perturbation.abs().sum(1) <= 0.1)).all()


@pytest.mark.parametrize("make", [tiny_model, network], ids=["analytic", "network"])
@pytest.mark.slow
def test_an_images_features_do_not_depend_on_its_batch(make):
    model, images = make()
    together = cdi_features(model, images, seed=2)
    np.testing.assert_allclose(cdi_features(model, images, seed=2, batch_size=1), together, rtol=1e-7)
    assert together.shape[1] == 5 - 1 + 10 + 10 + 2


def test_every_image_of_a_conditional_model_is_asked_about_with_its_own_prompt():
    classes = load_model(tiny_unet(classes=3), scheduler=DDPMScheduler())
    images, labels = smooth_images(3, 7), [2, 0, 1]
    found = named(classes, images, features=("loss", "secmi"), prompts=labels, batch_size=2)
    np.testing.assert_allclose(
        found["loss"], -loss_scores(classes, images, timesteps=[T100], draws=5, prompts=labels), rtol=1e-4
    )
    np.testing.assert_allclose(found["secmi"], -secmi_scores(classes, images, timestep=T100, prompts=labels), rtol=1e-3)


def test_noise_that_is_given_replaces_the_draws():
    model, images = tiny_model()
    noise = probe_noise(images, 6, model.sample_shape, 9)
    np.testing.assert_array_equal(cdi_features(model, images, noise=noise), cdi_features(model, images, seed=9))


@pytest.mark.parametrize(
    "features",
    [FAMILIES, GREY_BOX, ("loss",), ("noise_optimization",), ("gm_paper", "secmi"), ("pia", "pian", "multiple_loss")],
)
def test_the_cost_is_what_the_settings_say(features):
    model, images = tiny_model()
    for timestep in (T100, 50):
        counted = CountingWhiteBox(model)
        cdi_features(counted, images, features=features, timestep=timestep)
        settings = CdiSettings(features, timestep)
        assert counted.asked == settings.forward_passes * len(images)
    assert (CdiSettings(GREY_BOX).forward_passes, CdiSettings(GREY_BOX).backward_passes) == (28, 0)
    assert (CdiSettings().forward_passes, CdiSettings().backward_passes) == (43, 15)


def test_a_grey_box_gives_every_feature_that_needs_no_gradient():
    model, images = tiny_model()
    grey = GreyBox(model)
    assert not isinstance(grey, WhiteBoxDenoiser)
    assert affordable_features(grey) == GREY_BOX
    np.testing.assert_array_equal(cdi_features(grey, images), cdi_features(model, images, features=GREY_BOX))
    with pytest.raises(ModelError, match="gradient masking and noise optimization needs white-box access"):
        cdi_features(grey, images, features=("gm_paper",))


def test_a_model_that_is_not_differentiable_is_named():
    model, images = tiny_model()
    with pytest.raises(ModelError, match="not for Deaf"):
        cdi_features(Deaf(model), images)


def test_features_that_are_not_finite_are_an_error():
    model, images = tiny_model()
    grey = GreyBox(model)
    grey.predict_eps = lambda x_t, t, c=None: x_t * (float("nan") if t == 500 else 1.0)
    with pytest.raises(AuditError, match="not finite for 5 of 5 images"):
        cdi_features(grey, images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": ("loss", "gsa")}, "`features` must be distinct names out of loss, secmi"),
        ({"features": ()}, "`features` must be distinct"),
        ({"features": ("loss", "loss")}, "`features` must be distinct"),
        ({"draws": 0}, "`draws` must be at least 1"),
        ({"timesteps": (5, 5)}, "`timesteps` must be at least one and distinct"),
        ({"timestep": 95}, "multiple of `step` = 10"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"noise": torch.zeros(2, 5, 1, 2, 3)}, "`noise` must hold 6 draws, got 2"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        cdi_features(*tiny_model(), **arguments)


def newton_logits(members, nonmembers, split):
    """Logits of many runs at once, (runs, images, features): the minimum of sklearn's objective, by Newton's method."""
    control = np.concatenate([members[:, split.member_control], nonmembers[:, split.nonmember_control]], axis=1)
    labels = np.repeat([1.0, 0.0], [len(split.member_control), len(split.nonmember_control)])
    mean, spread = control.mean(axis=1, keepdims=True), control.std(axis=1, keepdims=True)

    def standard(features):
        scaled = (features - mean) / spread
        return np.concatenate([scaled, np.ones((*scaled.shape[:2], 1))], axis=2)

    design = standard(control)
    penalty = np.r_[np.ones(members.shape[2]), 1e-12]
    weights = np.zeros((len(members), members.shape[2] + 1))
    for _ in range(8):
        share = special.expit(np.matmul(design, weights[..., None])[..., 0])
        slope = np.matmul((share - labels)[:, None, :], design)[:, 0] + penalty * weights
        curvature = np.matmul(design.transpose(0, 2, 1) * (share * (1 - share))[:, None, :], design) + np.diag(penalty)
        weights -= np.linalg.solve(curvature, slope[..., None])[..., 0]
    return tuple(
        np.matmul(standard(side[:, rows]), weights[..., None])[..., 0]
        for side, rows in ((members, split.member_test), (nonmembers, split.nonmember_test))
    )


def welch_p_values(members, nonmembers):
    parts = [side.var(axis=1, ddof=1) / side.shape[1] for side in (members, nonmembers)]
    freedom = sum(parts) ** 2 / sum(p**2 / (s.shape[1] - 1) for p, s in zip(parts, (members, nonmembers), strict=True))
    return special.stdtr(freedom, -(members.mean(1) - nonmembers.mean(1)) / np.sqrt(sum(parts)))


def gaussian_runs(shift=0.0, runs=RUNS):
    rng = np.random.default_rng([41, int(100 * shift)])
    return rng.normal(shift, 1.0, (runs, IMAGES, FEATURES)), rng.normal(size=(runs, IMAGES, FEATURES))


@lru_cache(maxsize=2)
def split_p_values(shift=0.0):
    """(splits, runs)."""
    members, nonmembers = gaussian_runs(shift)
    drawn = control_splits(IMAGES, IMAGES, splits=SPLITS, seed=5)
    return np.array([welch_p_values(*newton_logits(members, nonmembers, split)) for split in drawn])


def combined(combine, shift=0.0):
    return np.array([combined_p_value(p, combine=combine) for p in split_p_values(shift).T])


def test_the_scorer_is_a_logistic_regression_on_standardized_controls():
    members, nonmembers = gaussian_runs(0.3, runs=3)
    drawn = control_splits(IMAGES, IMAGES, splits=2, seed=5)
    for split_number, split in enumerate(drawn):
        twins = newton_logits(members, nonmembers, split)
        for run in range(3):
            ours = cdi_logits(members[run], nonmembers[run], drawn)[split_number]
            np.testing.assert_allclose(ours.members, twins[0][run], rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(ours.nonmembers, twins[1][run], rtol=1e-4, atol=1e-4)


def test_test_images_take_no_part_in_fitting_the_scorer():
    members, nonmembers = (side[0] for side in gaussian_runs(0.3, runs=1))
    drawn = control_splits(IMAGES, IMAGES, splits=1, seed=5)
    (before,) = cdi_logits(members, nonmembers, drawn)
    changed = members.copy()
    changed[drawn[0].member_test[1:]] += 100.0
    (after,) = cdi_logits(changed, nonmembers, drawn)
    np.testing.assert_array_equal(after.nonmembers, before.nonmembers)
    assert after.members[0] == before.members[0]


def test_a_feature_that_never_varies_and_one_that_is_huge_do_no_harm():
    members, nonmembers = (side[0] for side in gaussian_runs(0.3, runs=1))
    drawn = control_splits(IMAGES, IMAGES, splits=1, seed=5)
    (plain,) = cdi_logits(members, nonmembers, drawn)
    wide = [np.column_stack([side[:, :-1], 1e12 * side[:, -1], np.full(IMAGES, 0.1)]) for side in (members, nonmembers)]
    (same,) = cdi_logits(*wide, drawn)
    np.testing.assert_allclose(same.members, plain.members, rtol=1e-6)


@pytest.mark.slow
def test_sets_that_nobody_trained_on_are_accused_as_rarely_as_promised():
    for p in split_p_values():
        assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.021)  # three standard errors of 1,000 runs
        assert np.mean(p < 0.01) == pytest.approx(0.01, abs=0.0095)
    for combine in ("mean", "median"):
        assert np.mean(combined(combine) < 0.05) <= 0.05
        assert np.mean(combined(combine) < 0.01) <= 0.01


def test_null_p_values_of_a_split_are_uniform():
    assert split_p_values().mean() == pytest.approx(0.5, abs=0.02)  # published pipelines average 0.38 to 0.40


def test_a_leak_is_found_more_often_by_twice_the_median_than_by_twice_the_mean():
    one, mean, median = split_p_values(0.35)[0], combined("mean", 0.35), combined("median", 0.35)
    assert np.mean(one < 0.01) > 0.8
    assert 0.6 < np.mean(mean < 0.01) < np.mean(median < 0.01)


def test_scores_pooled_over_folds_accuse_innocent_sets_too_often():
    """Why there is no cross-fitting here: the public code pools k-fold scores as if they were independent."""
    members, nonmembers = gaussian_runs()
    pooled = np.zeros((2, RUNS, IMAGES))
    every = np.arange(IMAGES)
    for held_out in np.array_split(every, FOLDS):
        rest = np.setdiff1d(every, held_out)
        found = newton_logits(members, nonmembers, ControlSplit(rest, held_out, rest, held_out))
        pooled[0][:, held_out], pooled[1][:, held_out] = found
    p = welch_p_values(*pooled)
    assert np.mean(p < 0.05) > 0.07
    assert np.mean(p < 0.01) > 0.02


def test_in_sample_scores_accuse_every_innocent_set():
    members, nonmembers = gaussian_runs(runs=100)
    every = np.arange(IMAGES)
    assert (welch_p_values(*newton_logits(members, nonmembers, ControlSplit(*[every] * 4))) < 0.05).all()


@pytest.mark.parametrize(
    ("members", "nonmembers", "message"),
    [
        (np.zeros((40, 3)), np.zeros((40, 4)), "same columns, got 3 and 4"),
        (np.zeros(40), np.zeros((40, 1)), "`member_features` must be a matrix of real numbers"),
        (np.zeros((40, 1)), np.full((40, 1), np.nan), "`nonmember_features` must be finite, got 40 of 40"),
        (np.zeros((40, 1), dtype=complex), np.zeros((40, 1)), "real numbers"),
        (np.zeros((40, 0)), np.zeros((40, 0)), "matrix of real numbers"),
    ],
)
def test_matrices_that_are_none_are_refused(members, nonmembers, message):
    with pytest.raises(UsageError, match=message):
        cdi_logits(members, nonmembers, control_splits(40, 40, splits=1, seed=0))


def test_members_of_an_ideal_denoiser_have_smaller_errors():
    images = smooth_images(40, 6, side=4)
    model = ideal_denoiser(images[:20])
    members, others = (named(model, part, features=FAMILIES) for part in (images[:20], images[20:]))
    for name in ("loss", "secmi", "pia", "multiple_loss t=100", "noise_optimization size"):
        # A path that runs into a training image returns exactly, whoever started it: some others have no error.
        assert np.mean(members[name][:, None] < others[name]) > 0.85, name
