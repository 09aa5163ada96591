"""What is hidden: the same for an image wherever it stands, and clear errors for masks that do not fit."""

import pytest
import torch

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.membership.loss import loss_scores
from pytest_diffprivacy.models.noise import probe_noise
from pytest_diffprivacy.models.scoring import ImageBatch
from pytest_diffprivacy.restoration import Boxes, GivenMasks, Half, RandomPatches, Saliency
from pytest_diffprivacy.restoration.masks import find_degradations
from tests.models.builders import binary_images, memorizer, smooth_images


def batch(images, *, part=None, total=None, seed=0, model=None):
    return ImageBatch(model, images, part or slice(0, len(images)), total or len(images), seed=seed)


def hidden(degradation, images, **more):
    return degradation.degrade(batch(images, **more)).hidden[:, 0]


@pytest.mark.parametrize(
    ("side", "rows", "columns"),
    [("left", slice(None), slice(0, 2)), ("right", slice(None), slice(3, 5)), ("top", slice(0, 3), slice(None)),
     ("bottom", slice(3, 6), slice(None))],
)  # fmt: skip
def test_a_half_is_the_half_it_is_called(side, rows, columns):
    expected = torch.zeros(2, 6, 5, dtype=torch.bool)
    expected[:, rows, columns] = True
    images = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(hidden(Half(side), images), expected)


def test_hidden_pixels_show_the_mean_colour_of_the_others():
    images = smooth_images(2, 1, channels=3)
    degraded = Half("top").degrade(batch(images))
    mean = images[:, :, 4:].double().mean((2, 3), keepdim=True)
    torch.testing.assert_close(degraded.shown[:, :, :4], mean.expand(-1, -1, 4, 8))
    assert torch.equal(degraded.shown[:, :, 4:], images[:, :, 4:].double())


@pytest.mark.parametrize("ratio", [0.1, 0.2, 0.3, 0.4, 0.5])
def test_random_patches_hide_their_ratio(ratio):
    assert hidden(RandomPatches(ratio), smooth_images(3, 1, side=16)).double().mean().item() == pytest.approx(
        ratio, abs=0.01
    )


def test_random_patches_are_square_and_differ_from_image_to_image():
    masks = hidden(RandomPatches(0.3, side=4), smooth_images(6, 1, side=16))
    blocks = masks.reshape(6, 4, 4, 4, 4)
    assert torch.equal(blocks, blocks[:, :, :1, :, :1].expand_as(blocks))
    assert len({tuple(m.flatten().tolist()) for m in masks}) > 1


def test_patches_that_do_not_fit_are_cut_off_at_the_edge():
    masks = hidden(RandomPatches(0.5, side=4), smooth_images(2, 1, side=10))
    assert masks.shape == (2, 10, 10)


def test_a_smaller_ratio_hides_a_part_of_what_a_larger_one_hides():
    images = smooth_images(3, 1)
    small, large = (hidden(RandomPatches(r), images) for r in (0.2, 0.5))
    assert (small <= large).all()


@pytest.mark.parametrize("degradation", [RandomPatches(0.3), Saliency()])
def test_the_mask_belongs_to_the_digest_and_not_to_place_or_batch(degradation):
    images = binary_images(6, 1)
    model = memorizer(images)
    together = hidden(degradation, images, model=model)
    alone = hidden(degradation, images[4:5], part=slice(0, 1), total=1, model=model)
    assert torch.equal(together[4:5], alone)


def test_another_seed_hides_other_patches():
    images = smooth_images(2, 1, side=16)
    assert not torch.equal(hidden(RandomPatches(0.3), images), hidden(RandomPatches(0.3), images, seed=1))


def test_a_box_is_hidden_from_left_and_top_up_to_right_and_bottom():
    expected = torch.zeros(1, 8, 8, dtype=torch.bool)
    expected[:, 2:5, 1:7] = True
    assert torch.equal(hidden(Boxes([[1, 2, 7, 5]]), smooth_images(1, 1)), expected)


def test_boxes_may_come_from_a_detector():
    images = smooth_images(3, 1)
    found = hidden(Boxes(lambda x: [[0, 0, 2, 2 + i] for i in range(len(x))]), images)
    assert found.flatten(1).sum(1).tolist() == [4, 6, 8]


def test_given_rows_follow_the_images_into_their_batches():
    images = smooth_images(5, 1)
    masks = torch.ones(5, 8, 8)
    masks[torch.arange(5), torch.arange(5)] = 0
    second = hidden(GivenMasks(masks), images[2:4], part=slice(2, 4), total=5)
    assert torch.equal(second, masks[2:4] == 0)


def test_salient_is_where_the_users_map_is_largest():
    maps = torch.arange(64.0).reshape(1, 8, 8)
    assert torch.equal(hidden(Saliency(maps=maps, share=0.25), smooth_images(1, 1))[0], maps[0] >= 48)


def test_the_models_saliency_hides_the_share_with_the_steepest_loss():
    images = binary_images(4, 1)
    model = memorizer(images)
    masks = hidden(Saliency(), smooth_images(3, 2), model=model)
    assert masks.flatten(1).sum(1).tolist() == [13, 13, 13]


def test_the_slope_of_the_loss_is_that_of_finite_differences():
    images = smooth_images(1, 2, side=3)
    model = memorizer(binary_images(4, 1, side=3))
    (slope,) = Saliency(draws=1)._gradient(batch(images, model=model))
    noise = probe_noise(images, 1, model.sample_shape, 0)

    def loss(image):
        return -loss_scores(model, image, noise=noise)[0]

    step = 1e-4
    for row, column in ((0, 0), (1, 2)):
        up, down = images.double().clone(), images.double().clone()
        up[0, 0, row, column] += step
        down[0, 0, row, column] -= step
        # In model space a pixel in [0, 1] moves twice as far.
        numeric = abs(loss(up) - loss(down)) / (2 * step) / 2
        assert slope[row, column].item() == pytest.approx(numeric, rel=1e-3, abs=1e-6)


def test_saliency_of_a_model_without_gradients_is_a_clear_error():
    model = memorizer(binary_images(4, 1))
    predict = model.predict_eps
    model.predict_eps = lambda x, t, c=None: predict(x.detach(), t)
    with pytest.raises(ModelError, match="need gradients through predict_eps, which ideal denoiser does not give"):
        hidden(Saliency(), smooth_images(1, 1), model=model)


def test_saliency_without_model_and_maps_is_a_clear_error():
    with pytest.raises(ModelError, match=r"need the model. Give saliency maps"):
        hidden(Saliency(), smooth_images(1, 1))


@pytest.mark.parametrize(
    ("degradation", "message"),
    [
        (GivenMasks(torch.ones(3, 8, 8)), r"`masks` must hold one row for each of 2 images, got \(3, 8, 8\)"),
        (GivenMasks(lambda x: torch.ones(1, 8, 8)), "one row for each of 2 images"),
        (GivenMasks(torch.ones(2, 4, 4)), r"`masks` must have shape .* got \(2, 1, 4, 4\)"),
        (GivenMasks(torch.ones(2, 8, 8, 3)), r"got \(2, 8, 8, 3\). Give one mask an image, channels first"),
        (GivenMasks(torch.ones(2, 3, 8, 8)), r"got \(2, 3, 8, 8\)"),
        (GivenMasks(torch.full((2, 8, 8), 255)), "zeros and ones only"),
        (GivenMasks(torch.ones(2, 8, 8)), "hides nothing for image 0"),
        (GivenMasks(torch.zeros(2, 8, 8)), "shows nothing for image 0"),
        (Boxes([[0, 0, 8, 8]] * 2), "`boxes` must show a part of every image and hide a part"),
        (Boxes([[0, 0, 4]] * 2), r"`boxes` must have shape \(n, 4\), got rows of \(3,\)"),
        (Boxes([[0, 0, 4, 4], [4, 0, 4, 4]]), r"got \[4, 0, 4, 4\] for image 1"),
        (Boxes([[0, 0, 9, 4]] * 2), r"right <= 8 and top < bottom <= 8"),
        (Boxes([[0.0, 0.0, 0.5, 0.5]] * 2), "whole pixels"),
        (Boxes([[0.0, 0.0, float("nan"), 4.0]] * 2), "whole pixels"),
        (Saliency(maps=torch.ones(2, 4, 4)), r"`maps` must be finite \(n, 8, 8\), got rows of \(4, 4\)"),
        (Saliency(maps=torch.full((2, 8, 8), float("nan"))), "`maps` must be finite"),
    ],
)
def test_what_does_not_fit_the_images_is_refused(degradation, message):
    with pytest.raises(UsageError, match=message):
        hidden(degradation, smooth_images(2, 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Half("middle"), "`side` must be one of left, right, top, bottom, got 'middle'"),
        (lambda: RandomPatches(1.0), "`ratio` must be strictly between 0 and 1, got 1.0"),
        (lambda: RandomPatches(0.3, side=0), "`side` must be at least 1 pixel"),
        (lambda: Saliency(share=0.0), "`share` must be strictly between 0 and 1"),
        (lambda: Saliency(draws=0), "`draws` must be at least 1"),
        (lambda: find_degradations("centre"), "`masks` must be among left, right, top, bottom, random:RATIO"),
        (lambda: find_degradations("random"), "got 'random'"),
        (lambda: find_degradations("random:3"), "`ratio` must be strictly between 0 and 1, got 3.0"),
        (lambda: find_degradations([]), r"`masks` must be at least one and of different names, got \[\]"),
        (lambda: find_degradations(["left", Half("left")]), "of different names"),
        (lambda: find_degradations([torch.ones(2, 8, 8)]), "got Tensor. Wrap arrays: GivenMasks"),
    ],
)
def test_degradations_that_cannot_be_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_names_stand_for_degradations():
    masks = ["left", "random:0.3", "saliency", "saliency:0.1", "blur:1.5", "downsample:2"]
    assert [d.name for d in find_degradations(masks)] == [
        "left", "random:0.3", "saliency:0.2", "saliency:0.1", "blur:1.5", "downsample:2",
    ]  # fmt: skip
    assert find_degradations("left") == (Half("left"),)
