"""Which emoji prompts and pictures did each text-to-image example model see? As PromptSets and ProbeSets.

    exact      120 prompts with one picture, 60 times as frequent for emoji-leaky and emoji-v; emoji-release saw it once
    partial    40 prompts whose 24 pictures share one half to the pixel, each 3 times; emoji-release saw one of each
    many       400 prompts with 8 different pictures each, seen once by every model
    heldout    1,200 further pictures of the `many` prompts, which no model saw

The pictures are OpenMoji's (CC BY-SA 4.0), drawn by emoji_data.py; `emoji.npz` holds them as uint8 (n, 64, 64, 3).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy import ProbeSet
from pytest_diffprivacy.probes import PromptSet

HERE = Path(__file__).parent
LEAKY, RELEASE, V_PREDICTION = HERE / "emoji-leaky", HERE / "emoji-release", HERE / "emoji-v"


@lru_cache(maxsize=1)
def _arrays() -> dict[str, NDArray[np.uint8]]:
    with np.load(HERE / "emoji.npz", allow_pickle=False) as stored:
        return {name: stored[name] for name in stored}


def emoji_pictures(name: str) -> tuple[NDArray[np.uint8], list[str]]:
    """Pictures (n, 64, 64, 3) of a set with their prompts."""
    return _arrays()[f"{name}_images"], _arrays()[f"{name}_prompts"].tolist()


def emoji_prompts(name: str) -> PromptSet:
    """The distinct prompts of a set, each with its (first) training picture."""
    images, prompts = emoji_pictures(name)
    return PromptSet(prompts, images=images)


def emoji_probes(members: str = "many") -> ProbeSet:
    """Pictures that the models saw, `many` or `exact`, and the held-out ones, all with their prompts."""
    images, prompts = emoji_pictures(members)
    unseen, unseen_prompts = emoji_pictures("heldout")
    return ProbeSet(images, unseen, member_prompts=prompts, nonmember_prompts=unseen_prompts)
