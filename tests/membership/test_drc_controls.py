"""Model-free restoration: exact where the answer is known, and blind to who is a member."""

import numpy as np
import pytest
import torch

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.membership.drc import control_scores
from pytest_diffprivacy.models.scoring import ImageBatch
from pytest_diffprivacy.restoration import GivenMasks, Half
from pytest_diffprivacy.restoration.plan import fill_in
from pytest_diffprivacy.statistics import auroc
from tests.models.builders import binary_images, memorizer, smooth_images


def box(images):
    """A hidden box in the middle."""
    masks = torch.ones(len(images), *images.shape[2:])
    masks[:, 3:6, 2:5] = 0
    return GivenMasks(masks)


def filled(images, degradation, fill):
    return fill_in(degradation.degrade(ImageBatch(None, images, slice(0, len(images)), len(images))), fill)


def ramps():
    """Planes through the pixels, one a channel."""
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(8.0), indexing="ij")
    return torch.stack([rows / 9, (rows + columns) / 20])[None].double()


@pytest.mark.parametrize("fill", ["harmonic", "biharmonic"])
def test_a_plane_is_filled_in_exactly(fill):
    torch.testing.assert_close(filled(ramps(), box(ramps()), fill), ramps())


@pytest.mark.parametrize("fill", ["mean", "harmonic", "biharmonic"])
def test_a_flat_image_stays_flat_up_to_its_edge(fill):
    flat = torch.full((1, 2, 8, 8), 0.7, dtype=torch.float64)
    torch.testing.assert_close(filled(flat, Half("top"), fill), flat)


def test_a_saddle_is_harmonic_and_filled_in_exactly():
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    saddle = (0.5 + (rows**2 - columns**2) / 200)[None, None].double()
    torch.testing.assert_close(filled(saddle, box(saddle), "harmonic"), saddle)


def test_a_hidden_half_without_a_far_edge_continues_its_boundary():
    images = ramps()
    result = filled(images, Half("left"), "harmonic")
    torch.testing.assert_close(result[..., 4:], images[..., 4:])
    laplacian = -4 * result[..., 1:8, 1:3] + result[..., :7, 1:3] + result[..., 2:, 1:3]
    laplacian += result[..., 1:8, :2] + result[..., 1:8, 2:4]
    assert laplacian.abs().max() < 1e-10


def test_different_masks_in_one_batch_are_each_their_own():
    images = smooth_images(3, 1, side=9).double()
    masks = torch.ones(3, 9, 9)
    masks[0, 1, 1] = masks[1, 4:, 4:] = masks[2, :, 5] = 0
    together = filled(images, GivenMasks(masks), "harmonic")
    for i in range(3):
        alone = filled(images[i : i + 1], GivenMasks(masks[i : i + 1]), "harmonic")
        torch.testing.assert_close(together[i : i + 1], alone)


def test_the_mean_fill_scores_minus_the_hidden_deviation_from_the_visible_mean():
    images = smooth_images(4, 1).double()
    visible = images[..., 4:].mean((1, 2, 3))
    expected = -(images[..., :4] - visible[:, None, None, None]).square().mean((1, 2, 3)).sqrt()
    np.testing.assert_allclose(control_scores(images, "left", fill="mean"), expected.numpy())


@pytest.mark.parametrize("fill", ["mean", "harmonic", "biharmonic"])
def test_the_control_cannot_tell_two_halves_of_one_distribution_apart(fill):
    halves = (control_scores(smooth_images(60, seed), ["left", "random:0.3"], fill=fill) for seed in (1, 2))
    found = auroc(*halves)
    assert found.low < 0.5 < found.high


@pytest.mark.parametrize("masks", ["blur:1.5", "downsample:2"])
def test_without_hidden_pixels_the_pseudo_inverse_itself_is_compared(masks):
    images = smooth_images(3, 1)
    assert np.array_equal(control_scores(images, masks, fill="mean"), control_scores(images, masks, fill="harmonic"))


def test_batches_change_nothing():
    images, masks = smooth_images(5, 1), ["random:0.4", "top"]
    whole = control_scores(images, masks)
    np.testing.assert_allclose(control_scores(images, masks, batch_size=2), whole, rtol=0, atol=1e-12)


def test_masks_that_come_from_the_model_need_it():
    images = binary_images(4, 1)
    with pytest.raises(ModelError, match="need the model"):
        control_scores(images, "saliency")
    assert control_scores(images, "saliency", model=memorizer(images)).shape == (4,)


def test_an_unknown_fill_is_refused():
    with pytest.raises(UsageError, match="`fill` must be one of mean, harmonic, biharmonic, got 'telea'"):
        control_scores(smooth_images(1, 1), "left", fill="telea")
