"""The text-image map: it learns what captions mean, admits when it cannot, and needs captions."""

import numpy as np
import pytest

from pytest_diffprivacy.errors import AuditError, ModelError, ProbeError
from pytest_diffprivacy.mitigation import fit_text_image_map
from pytest_diffprivacy.mitigation.alignment import text_embeddings
from pytest_diffprivacy.probes import ImageSet
from tests.models.text_builders import golden_text_model, prompted_mixtures

COLOURS = {"cat": (0.9, 0.1, 0.1), "dog": (0.1, 0.9, 0.1), "bird": (0.1, 0.1, 0.9), "boat": (0.9, 0.9, 0.1)}


def pictures(captions, seed, side=16):
    """A square of the caption's colour somewhere on a grey ground."""
    rng = np.random.default_rng(seed)
    images = np.full((len(captions), 3, side, side), 0.5, dtype=np.float32)
    for image, caption in zip(images, captions, strict=True):
        y, x = rng.integers(0, side - 6, 2)
        image[:, y : y + 6, x : x + 6] = np.asarray(COLOURS[caption], dtype=np.float32)[:, None, None]
    return np.clip(images + rng.normal(0, 0.02, images.shape), 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def reference():
    captions = list(COLOURS) * 30
    return ImageSet.of(pictures(captions, 1), "reference", captions)


@pytest.fixture(scope="module")
def fitted(reference):
    return fit_text_image_map(golden_text_model("eps"), reference)


def test_it_tells_images_that_fit_their_text_from_others(fitted):
    captions = list(COLOURS) * 5
    images = pictures(captions, 2)
    matched = fitted.scores(images, captions)
    mismatched = fitted.scores(images, captions[1:] + captions[:1])
    assert (matched > mismatched).mean() > 0.9
    assert matched.mean() > 0.5
    assert abs(mismatched.mean()) < 0.5
    assert fitted.validity.low > 0.8
    assert "AUROC of matched against mismatched" in fitted.name


def test_the_same_seed_fits_the_same_map(fitted, reference):
    again = fit_text_image_map(golden_text_model("eps"), reference)
    images = pictures(["cat", "dog"], 3)
    np.testing.assert_allclose(again.scores(images, ["cat", "dog"]), fitted.scores(images, ["cat", "dog"]))


def test_captions_that_say_nothing_of_their_images_are_an_error():
    captions = list(np.random.default_rng(0).permutation(list(COLOURS) * 30))
    images = pictures(list(COLOURS) * 30, 1)
    with pytest.raises(AuditError, match="does not tell matched from mismatched"):
        fit_text_image_map(golden_text_model("eps"), ImageSet.of(images, "reference", [str(c) for c in captions]))


def test_too_few_images_or_no_captions_are_refused():
    few = list(COLOURS)
    with pytest.raises(ProbeError, match="at least 50 images with captions, got 4"):
        fit_text_image_map(golden_text_model("eps"), ImageSet.of(pictures(few, 1), "reference", few))
    with pytest.raises(ProbeError, match="without captions"):
        fit_text_image_map(golden_text_model("eps"), ImageSet.of(pictures(few * 20, 1), "reference"))


def test_the_text_embedding_is_the_mean_over_the_prompt_s_own_tokens():
    model = golden_text_model("eps")
    found = text_embeddings(model, ["cat", "a dog on the moon", "cat"])
    tokens = model.condition(["cat"], 1)["encoder_hidden_states"][0]
    np.testing.assert_allclose(found[0], tokens[1:3].mean(0))
    assert np.array_equal(found[0], found[2])
    with pytest.raises(ModelError, match="must hold one token embedding"):
        text_embeddings(prompted_mixtures(), ["needle"])
