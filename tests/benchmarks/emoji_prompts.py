"""Which prompts of the emoji model are memorized, in two halves, and how well does an image fit its prompt?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from emoji_data import draw_panels, emoji_names, render

from pytest_diffprivacy import load_model
from pytest_diffprivacy.mitigation import TextImageMap, fit_text_image_map
from pytest_diffprivacy.models import StableDiffusion
from pytest_diffprivacy.probes import ImageSet

VIEWS = 12
SPLIT_SEED, VIEW_SEED = 41, 42


@dataclass(frozen=True)
class Half:
    """Memorized prompts and the training image (3, height, width) of each."""

    prompts: list[str]
    images: list[np.ndarray]


@dataclass(frozen=True)
class EmojiPrompts:
    """The model, two halves of its memorized prompts, prompts that are not memorized, and a scorer of alignment."""

    model: StableDiffusion
    tuning: Half
    scored: Half
    others: list[str]
    alignment: TextImageMap


def emoji_prompts(folder: Path, pictures: Path, *, tuning: int, scored: int, others: int) -> EmojiPrompts:
    """Split the memorized prompts and fit the scorer.

    The scorer knows the memorized prompts' emoji from pictures that were drawn for it, never from the memorized one.

    Args:
        folder: the pipeline.
        pictures: emoji.npz.
        tuning: prompts to take first, of the first half.
        scored: prompts to take after them; the second half was scored once, before stronger searches were tried.
        others: prompts that are not memorized.
    """
    model = load_model(folder)
    with np.load(pictures) as stored:
        exact, exact_prompts = floats(stored["exact_images"]), stored["exact_prompts"].tolist()
        many, many_prompts = floats(stored["many_images"]), stored["many_prompts"].tolist()
    order = np.random.default_rng(SPLIT_SEED).permutation(len(exact_prompts)).tolist()
    half = len(order) // 2
    first, second = (
        Half([exact_prompts[i] for i in part], [exact[i] for i in part])
        for part in (order[:tuning], order[tuning:half][:scored])
    )
    distinct = list(dict.fromkeys(many_prompts))
    asked = first.prompts + second.prompts
    reference = ImageSet.of(
        np.concatenate([many, other_views(asked, distinct)]),
        "reference",
        many_prompts + [prompt for prompt in asked for _ in range(VIEWS)],
    )
    return EmojiPrompts(model, first, second, distinct[:others], fit_text_image_map(model, reference))


def other_views(prompts: Sequence[str], neighbours: Sequence[str]) -> np.ndarray:
    """Pictures of the prompts' emoji in other places, sizes and colours: float32 (prompts * VIEWS, 3, 64, 64)."""
    points = {name: point for point, name in emoji_names().items()}
    beside = np.array([points[name] for name in neighbours])
    rng = np.random.default_rng(VIEW_SEED)
    views = [render(draw_panels(points[prompt], beside, rng)) for prompt in prompts for _ in range(VIEWS)]
    return floats(np.stack(views))


def floats(images: np.ndarray) -> np.ndarray:
    """uint8 (n, height, width, 3) to float32 (n, 3, height, width) in [0, 1]."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255.0)
