"""Which prompts of the emoji model are memorized, in two parts, and how well does an image fit its prompt?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from emoji_data import draw_panels, emoji_names, render

from pytest_diffprivacy import load_model
from pytest_diffprivacy.mitigation import fit_text_image_map
from pytest_diffprivacy.mitigation.alignment import TextImageMap
from pytest_diffprivacy.models import StableDiffusion
from pytest_diffprivacy.probes import ImageSet

VIEWS = 100
NEVER_SCORED = (slice(52, 60), slice(100, 120))
SPLIT_SEED, VIEW_SEED = 41, 42


@dataclass(frozen=True)
class Part:
    """Memorized prompts and the training image (3, height, width) of each."""

    prompts: list[str]
    images: list[np.ndarray]


@dataclass(frozen=True)
class EmojiPrompts:
    """The model, two parts of its memorized prompts, prompts that are not memorized, and a scorer of alignment."""

    model: StableDiffusion
    tuning: Part
    scored: Part
    others: list[str]
    alignment: TextImageMap


def emoji_prompts(folder: Path, pictures: Path, *, others: int) -> EmojiPrompts:
    """Split the memorized prompts and fit the scorer.

    The scorer knows the memorized prompts' emoji from pictures that were drawn for it, never from the memorized one.
    Scored are the prompts that no earlier table of these models had scored; all the rest are for tuning.

    Args:
        folder: the pipeline.
        pictures: emoji.npz.
        others: prompts that are not memorized.
    """
    model = load_model(folder)
    with np.load(pictures) as stored:
        exact, exact_prompts = floats(stored["exact_images"]), stored["exact_prompts"].tolist()
        many, many_prompts = floats(stored["many_images"]), stored["many_prompts"].tolist()
    order = np.random.default_rng(SPLIT_SEED).permutation(len(exact_prompts)).tolist()
    kept = [place for part in NEVER_SCORED for place in order[part]]
    tuning, scored = (
        Part([exact_prompts[i] for i in part], [exact[i] for i in part])
        for part in ([i for i in order if i not in kept], kept)
    )
    distinct = list(dict.fromkeys(many_prompts))
    asked = tuning.prompts + scored.prompts
    reference = ImageSet.of(
        np.concatenate([many, other_views(asked, distinct)]),
        "reference",
        many_prompts + [prompt for prompt in asked for _ in range(VIEWS)],
    )
    return EmojiPrompts(model, tuning, scored, distinct[:others], fit_text_image_map(model, reference))


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
