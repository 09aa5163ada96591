"""Blur and downsampling: A^+ A is a projection, the visible part survives it, and something is really lost."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.models.scoring import ImageBatch
from pytest_diffprivacy.restoration import Blur, Downsample
from tests.models.builders import memorizer, smooth_images

OPERATORS = [Blur(1.5), Downsample(2)]


def degraded(operator, images, model=None):
    return operator.degrade(ImageBatch(model, images, slice(0, len(images)), len(images)))


def images(side=8):
    return smooth_images(3, 1, side=side, channels=2).double()


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_known_part_is_an_orthogonal_projection(operator):
    x, y = images(), smooth_images(3, 2, channels=2).double()
    torch.testing.assert_close(operator.project(operator.project(x)), operator.project(x))
    torch.testing.assert_close((operator.project(x) * y).sum(), (x * operator.project(y)).sum())
    torch.testing.assert_close(degraded(operator, x).visible, operator.project(x))


@pytest.mark.parametrize("operator", OPERATORS)
def test_grey_is_known_and_detail_is_lost(operator):
    flat = torch.full((1, 1, 8, 8), 0.4, dtype=torch.float64)
    torch.testing.assert_close(operator.project(flat), flat)
    assert (images() - operator.project(images())).abs().max() > 0.1
    assert degraded(operator, images()).hidden.all()


def test_downsampling_shows_the_means_of_blocks():
    x = images()
    blocks = x.unflatten(2, (2, 4)).unflatten(4, (2, 4))
    torch.testing.assert_close(degraded(Downsample(4), x).shown[:, :, ::4, ::4], blocks.mean((3, 5)))


def test_the_blur_is_a_gaussian_with_mirrored_edges():
    x = images(24)
    wide = gaussian_filter(x.numpy(), 1.5, mode="reflect", truncate=6.0, axes=(2, 3))
    # The image itself is sharp: only components below the cut-off of 0.1 make a difference.
    assert np.abs(degraded(Blur(1.5), x).shown.numpy() - wide).max() < 0.05
    assert np.abs(x.numpy() - wide).max() > 0.3


def test_the_blur_keeps_just_the_cosine_components_whose_gain_is_large_enough():
    x, n = images(), torch.arange(8)
    gains = torch.exp(-0.5 * (1.5 * torch.pi) ** 2 * ((n[:, None] / 8) ** 2 + (n[None] / 8) ** 2)).numpy()
    before = dctn(x.numpy(), axes=(2, 3), norm="ortho")
    after = dctn(Blur(1.5).project(x).numpy(), axes=(2, 3), norm="ortho")
    np.testing.assert_allclose(after, before * (gains >= 0.1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Blur(0.0), "`sigma` must be above 0 pixels, got 0.0"),
        (lambda: Blur(float("inf")), "`sigma` must be above 0 pixels, got inf"),
        (lambda: Downsample(1), "`factor` must be at least 2, got 1"),
        (lambda: degraded(Downsample(3), images()), "`factor` must divide height and width, got 3 for 8 x 8"),
        (
            lambda: degraded(Blur(0.3), images()),
            "`sigma` must be larger, got 0.3: at 8 x 8 pixels no component is lost",
        ),
    ],
)
def test_degradations_that_hide_nothing_or_do_not_fit_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize("operator", OPERATORS)
def test_latent_models_are_refused(operator):
    model = memorizer(images())
    model.sample_shape = (4, 2, 2)
    with pytest.raises(ModelError, match=r"acts on pixels, but ideal denoiser works on latents of shape \(4, 2, 2\)"):
        degraded(operator, images(), model)
