"""How restored and original image are compared: hidden pixels only, SSIM as scikit-image has it, cosine."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.membership.drc import cosine, ssim
from pytest_diffprivacy.membership.drc.compare import find_comparison
from pytest_diffprivacy.restoration.degrade import rms_hidden
from tests.models.builders import smooth_images


def pair(count=3, side=12, channels=3):
    a = smooth_images(count, 1, side=side, channels=channels).double()
    return a, (0.7 * a + 0.3 * smooth_images(count, 2, side=side, channels=channels)).double()


def test_the_distance_looks_at_hidden_pixels_only_and_is_their_rms():
    a = torch.zeros(2, 3, 4, 4)
    b = a.clone()
    b[:, :, :, 2:] = 0.9
    b[0, :, :2, :2] = 0.5
    hidden = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    hidden[..., :2] = True
    assert rms_hidden(b, a, hidden).tolist() == pytest.approx([0.5 / 2**0.5, 0.0])


@pytest.mark.parametrize(("side", "channels", "window"), [(12, 3, None), (7, 1, None), (12, 1, 5), (16, 3, 11)])
def test_ssim_is_that_of_scikit_image(side, channels, window):
    a, b = pair(side=side, channels=channels)
    theirs = [
        structural_similarity(x.numpy(), y.numpy(), data_range=1.0, channel_axis=0, win_size=window or 7)
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(ssim(a, b, window=window).numpy(), theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("side", "window"), [(3, 3), (4, 3), (5, 5), (6, 5), (8, 7)])
def test_the_window_shrinks_for_small_images(side, window):
    a, b = pair(side=side)
    assert torch.equal(ssim(a, b), ssim(a, b, window=window))


def test_equal_images_have_similarity_one():
    a, _ = pair()
    assert ssim(a, a).tolist() == pytest.approx([1.0] * 3)


@pytest.mark.parametrize(("side", "window"), [(2, None), (8, 4), (8, 9), (8, 1)])
def test_windows_that_do_not_fit_are_refused(side, window):
    a, b = pair(side=side)
    with pytest.raises(UsageError, match="`window` must be odd, at least 3"):
        ssim(a, b, window=window)


def test_ssim_wants_two_sets_of_one_shape():
    with pytest.raises(UsageError, match="must be"):
        ssim(torch.zeros(1, 1, 8, 8), torch.zeros(1, 8, 8, 1))


def test_cosine_is_that_of_the_embeddings_whatever_their_length():
    a, b = pair()
    ours = cosine(lambda x: 3.0 * x.flatten(1).float(), a, b)
    torch.testing.assert_close(ours, torch.cosine_similarity(a.flatten(1), b.flatten(1)), rtol=0, atol=1e-6)


def test_every_comparison_is_highest_for_the_original():
    a, b = pair()
    hidden = torch.ones(3, 1, 12, 12, dtype=torch.bool)
    for kind in ("rms_hidden", "ssim", lambda x: x.flatten(1)):
        compare = find_comparison(kind)
        assert (compare(a, a, hidden) > compare(b, a, hidden)).all()


@pytest.mark.parametrize(
    ("embed", "error", "message"),
    [
        (lambda x: x, UsageError, r"`comparison` must give embeddings \(3, dimensions\), got \(3, 3, 12, 12\)"),
        (lambda x: x.flatten(1)[:2], UsageError, r"got \(2, 432\)"),
        (lambda x: 0 * x.flatten(1), AuditError, "embedding of an image is zero or not finite"),
        (lambda x: x.flatten(1) / 0.0, AuditError, "zero or not finite"),
    ],
)
def test_embeddings_that_are_none_are_refused(embed, error, message):
    with pytest.raises(error, match=message):
        cosine(embed, *pair())


@pytest.mark.parametrize("unknown", ["psnr", None, ["ssim"]])
def test_unknown_comparisons_are_refused(unknown):
    with pytest.raises(UsageError, match="`comparison` must be one of rms_hidden, ssim or an embedding function"):
        find_comparison(unknown)
