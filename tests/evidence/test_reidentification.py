"""Whom do the pictures of a redacted report lead to? Measured as somebody would who holds every candidate image.

The rate is that of the best guess from a picture alone: the candidates that give the same picture cannot be told apart,
so one of them is guessed. Run it with -s to see the rates; `report` prints those of finer pictures as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from pytest_diffprivacy.evidence.pictures import encode, picture, shrunk
from pytest_diffprivacy.probes import ImageSet, PromptSet

EMOJI = Path(__file__).parents[2] / "example_audits" / "emoji.npz"
Images = NDArray[np.float32]


def digits() -> Images:
    """scikit-learn's digits, which the examples are trained on."""
    return (load_digits().images / 16.0).astype(np.float32)[:, None]


def faces() -> Images:
    """scikit-image's lfw_subset: a hundred faces and as many patches without one."""
    data = pytest.importorskip("skimage.data")
    return np.asarray(data.lfw_subset(), dtype=np.float32)[:, None]


def emoji() -> Images:
    """The images of the emoji example that its model saw most often."""
    with np.load(EMOJI) as stored:
        return stored["exact_images"].transpose(0, 3, 1, 2).astype(np.float32) / 255.0


def redacted(image: Images) -> str:
    """The picture that a report shows."""
    return picture(image, "", redacted=True).png_base64


def blocks(side: int) -> Callable[[Images], str]:
    """The picture in blocks of full depth, as it was shown before."""

    def drawn(image: Images) -> str:
        levels = np.round(image * 255.0).astype(np.uint8)
        mode = levels[0] if len(levels) == 1 else np.ascontiguousarray(levels.transpose(1, 2, 0))
        return encode(shrunk(Image.fromarray(mode), side), "").png_base64

    return drawn


def identified(images: Images, shown: Callable[[Images], str]) -> tuple[float, int]:
    """Expected share of images that the best guess finds, and how many have a picture of their own."""
    counts = Counter(shown(image) for image in images)
    return len(counts) / len(images), sum(count == 1 for count in counts.values())


@pytest.mark.parametrize("candidates", [digits, faces, emoji])
def test_a_redacted_picture_leads_to_nobody(candidates: Callable[[], Images]) -> None:
    images = candidates()
    rate, alone = identified(images, redacted)
    finer = {side: identified(images, blocks(side))[0] for side in (2, 4)}
    print(f"\n{candidates.__name__}: {rate:.2%} of {len(images)}, {alone} alone; blocks of full depth: {finer}")
    assert alone == 0
    assert rate <= 3 / len(images)
    assert finer[2] > 0.99  # why nothing finer is shown


def test_ids_tell_nothing_without_the_secret(tmp_path: Path) -> None:
    images = ImageSet.of(digits()[:20], "member")
    shown = " ".join(images.ids())
    assert not any(digest.hex()[:8] in shown for digest in images.digests)
    assert len(set(images.ids())) == 20
    assert images.ids() == ImageSet.of(digits()[:20], "member").ids()
    assert PromptSet(["a cat"]).ids() == PromptSet(["a cat"]).ids()
