"""Reconstruction: METHODS' ideal denoiser again, an honest choice that never sees the original, and clear errors."""

import numpy as np
import pytest
import torch

from pytest_diffprivacy.errors import AuditError, ModelError, UsageError
from pytest_diffprivacy.extraction import fill_errors, reconstruct, reconstruction_errors
from pytest_diffprivacy.models.noise import probe_noise
from pytest_diffprivacy.models.scoring import ImageBatch
from pytest_diffprivacy.restoration import Boxes, Half, RestorationPlan
from pytest_diffprivacy.restoration.plan import FILLS, fill_in
from pytest_diffprivacy.statistics import auroc
from tests.models.builders import memorizer, population_model, smooth_images
from tests.models.text_builders import golden_text_model

SHAPE = (3, 4, 4)
FEW = {"draws": 4, "keep": 2, "steps": 5, "loss_draws": 3}


def gaussian_images(count, seed):
    """The data of T7: N(0, 0.25 I) in the model's space."""
    drawn = np.random.default_rng(seed).normal(0.5, 0.25, (count, *SHAPE)).clip(0.0, 1.0)
    return torch.from_numpy(drawn.astype(np.float32))


@pytest.fixture(scope="module")
def t7():
    members, others = gaussian_images(32, 1), gaussian_images(32, 2)
    model = memorizer(members)
    return [reconstruction_errors(model, side, draws=30, keep=10, steps=25) for side in (members, others)]


def area(errors, column):
    return auroc(-errors[0][:, column], -errors[1][:, column]).value


def test_t7_the_honest_choice_brings_members_back(t7):
    members, others = (side.mean(0) for side in t7)
    assert members[0] == pytest.approx(0.037, abs=0.04)
    assert others[0] == pytest.approx(0.33, abs=0.05)
    assert area(t7, 0) > 0.95


def test_t7_the_oracle_is_an_upper_bound_for_unseen_images_too(t7):
    members, others = t7
    assert members[:, 1].mean() < 0.01
    assert others[:, 1].mean() == pytest.approx(0.27, abs=0.05)  # smaller than any single try: no proof of memory
    for side in t7:
        assert (side[:, 1] <= side[:, 0] + 1e-12).all()
        assert (side[:, 1] <= side[:, 2]).all()


def test_t7_a_single_try_is_much_worse(t7):
    assert t7[0][:, 2].mean() == pytest.approx(0.16, abs=0.07)
    assert area(t7, 2) < area(t7, 1) + 1e-12


def test_the_smallest_error_falls_with_the_number_of_tries():
    others, model = gaussian_images(12, 3), memorizer(gaussian_images(16, 1))
    few, many = (
        reconstruction_errors(model, others, draws=n, keep=1, steps=8, loss_draws=1)[:, 1].mean() for n in (2, 20)
    )
    assert many < few


def test_the_kept_restorations_are_those_of_the_lowest_loss():
    """A naive twin: every restoration of one image, its loss on noise that comes from the visible part alone."""
    image, model = gaussian_images(1, 4), memorizer(gaussian_images(16, 1))
    batch = ImageBatch(model, image, slice(0, 1), 1, seed=7)
    degraded = Half("left").degrade(batch)
    noise = probe_noise(degraded.visible.float(), 3, SHAPE, 7)
    alpha, sigma = model.schedule.at(100)
    losses, errors = [], []
    for restored in RestorationPlan("ddim", 6, 5).restored(model, batch, degraded, "left"):
        x0 = 2.0 * restored - 1.0
        each = [(model.predict_eps(alpha * x0 + sigma * eps, 100) - eps).square().sum() for eps in noise]
        losses.append(float(torch.stack(each).mean()))
        errors.append(float((restored - image)[..., :2].square().mean().sqrt()))
    kept = sorted(range(6), key=losses.__getitem__)[:2]
    measured = reconstruction_errors(model, image, draws=6, keep=2, steps=5, loss_draws=3, seed=7)[0]
    assert measured == pytest.approx([np.mean([errors[i] for i in kept]), min(errors), np.mean(errors)], rel=1e-6)


def test_what_is_left_of_the_image_stays_as_it_was():
    images, model = gaussian_images(6, 4), memorizer(gaussian_images(16, 1))
    shown = reconstruct(model, images[0], draws=5, steps=6, loss_draws=2)
    known = np.broadcast_to(np.arange(4) >= 2, SHAPE)
    for picture in (shown.degraded, shown.chosen, shown.closest):
        assert np.array_equal(picture[known], shown.original[known])
    assert shown.errors[1] <= shown.errors[0]
    assert shown.mask == "left"


def test_what_is_shown_is_what_was_measured():
    images, model = gaussian_images(3, 4), memorizer(gaussian_images(16, 1))
    measured = reconstruction_errors(model, images, draws=5, keep=1, steps=6, loss_draws=2)
    for image, row in zip(images, measured, strict=True):
        shown = reconstruct(model, image, draws=5, steps=6, loss_draws=2)
        assert shown.errors == pytest.approx((row[0], row[1]), rel=1e-9)
        hidden = (shown.chosen - shown.original)[:, :, :2]
        assert np.sqrt((hidden**2).mean()) == pytest.approx(row[0])


def test_every_try_kept_is_the_mean_of_all():
    errors = reconstruction_errors(memorizer(gaussian_images(8, 1)), gaussian_images(4, 2), **FEW | {"keep": 4})
    np.testing.assert_allclose(errors[:, 0], errors[:, 2], rtol=1e-12)


@pytest.mark.parametrize("mask", ["left", "random:0.3", "region:0,1,3,4"])
@pytest.mark.parametrize("restoration", ["ddim", "ddnm", "repaint"])
def test_an_images_errors_are_its_own_whatever_the_batch(mask, restoration):
    images, model = gaussian_images(5, 5), memorizer(gaussian_images(8, 1))
    settings = FEW | {"mask": mask, "restoration": restoration, "draws": 2, "keep": 1}
    together = reconstruction_errors(model, images, **settings)
    np.testing.assert_allclose(reconstruction_errors(model, images, batch_size=2, **settings), together, rtol=1e-9)
    np.testing.assert_allclose(reconstruction_errors(model, images[[3, 1]], **settings), together[[3, 1]], rtol=1e-9)


@pytest.mark.slow
def test_a_latent_model_is_asked_with_the_images_own_prompt():
    model = golden_text_model(dtype=torch.float32)
    images = torch.from_numpy(np.random.default_rng(1).random((2, *model.image_shape), dtype=np.float32))
    own, other = (reconstruction_errors(model, images, prompts=p, **FEW) for p in (["cat", "a dog"], ["cat", "boat"]))
    assert np.isfinite(own).all()
    np.testing.assert_allclose(own[0], other[0], rtol=1e-4)
    assert not np.allclose(own[1], other[1], rtol=1e-4)


def test_fills_know_no_model():
    images = smooth_images(3, 1)
    errors = fill_errors(images, mask="left")
    degraded = Half("left").degrade(ImageBatch(None, images, slice(0, 3), 3))
    for column, fill in enumerate(FILLS):
        expected = (fill_in(degraded, fill) - images)[..., :4].square().mean((1, 2, 3)).sqrt()
        np.testing.assert_allclose(errors[:, column], expected, rtol=1e-6)
    assert fill_errors(torch.full((2, 1, 8, 8), 0.3), mask="random:0.4").max() < 1e-6


def test_a_given_region_is_a_box_for_every_image():
    images, model = gaussian_images(3, 5), memorizer(gaussian_images(8, 1))
    boxes = Boxes(lambda batch: torch.tensor([[0, 1, 3, 4]]).expand(len(batch), -1), label="region:0,1,3,4")
    one, other = (reconstruction_errors(model, images, mask=mask, **FEW) for mask in ("region:0,1,3,4", boxes))
    np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep": 5}, r"`keep` must be between 1 and `draws` \(4\), got 5"),
        ({"keep": 0}, "got 0"),
        ({"draws": 0}, "`restorations` must be at least 1"),
        ({"steps": 0}, "`steps` must be at least 1"),
        ({"loss_draws": 0}, "`loss_draws` and `batch_size` must be at least 1, got 0"),
        ({"restoration": "magic"}, "`restoration` must be one of ddim, ddnm, repaint"),
        ({"mask": ["left", "right"]}, "`mask` must be one mask, got 2"),
        ({"mask": "centre"}, "`masks` must be among left"),
        ({"mask": "region:0,0,4,4"}, "shows nothing"),
        ({"mask": "region:0,0,5,2"}, "`region` must lie within 4 x 4 pixels"),
        ({"mask": "region:3,0,2,2"}, "`region` must be 0 <= left < right"),
        ({"mask": "region:1,2"}, "`masks` must be among"),
        ({"timestep": 1000}, "must be between 0 and 999"),
        ({"images": torch.zeros(2, 3, 4)}, "`images` must have shape"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        reconstruction_errors(memorizer(gaussian_images(4, 1)), **{"images": gaussian_images(2, 2)} | FEW | arguments)


def test_a_model_without_grey_box_access_is_refused():
    with pytest.raises(ModelError, match="Reconstruction needs grey-box access"):
        reconstruction_errors(object(), gaussian_images(1, 1))


def test_a_model_that_returns_nan_is_an_error():
    model = population_model(SHAPE)
    model.predict_eps = lambda x_t, timestep, conditioning=None: torch.full_like(x_t, torch.nan)
    with pytest.raises(AuditError, match="not finite for 2 of 2 images"):
        reconstruction_errors(model, gaussian_images(2, 1), **FEW)
