"""Which emoji prompts may a choice rest on, which are held out, and what do the detectors observe of them?"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from pytest_diffprivacy.memorization import PromptSampling, watch_prompts
from pytest_diffprivacy.memorization.detector import ConfiguredDetector
from pytest_diffprivacy.memorization.observation import Arrays
from pytest_diffprivacy.models.noise import prompt_noise

EXAMPLES: Final = Path(__file__).parents[2] / "example_audits"
SPLIT_SEED: Final = 61
BLOCK: Final = 4  # images; some detectors compare those of a prompt
CHUNK: Final = 20


@dataclass(frozen=True)
class Half:
    """Prompts of one half.

    Attributes:
        exact: prompts with one picture, which comes back whole.
        partial: prompts whose pictures share one half.
        others: prompts with many different pictures.
    """

    exact: list[str]
    partial: list[str]
    others: list[str]

    @property
    def prompts(self) -> list[str]:
        """All of them, memorized ones first."""
        return self.exact + self.partial + self.others

    @property
    def memorized(self) -> int:
        """How many are memorized."""
        return len(self.exact) + len(self.partial)


def halves() -> tuple[Half, Half]:
    """The development prompts, on which choices are made, and the held-out ones.

    Memorized prompts are halved. Of the others a quarter is for development, because a lower bound of the TPR at an FPR
    of 1 % above 0 takes 299 that are held out.
    """
    sys.path.insert(0, str(EXAMPLES))
    from emoji_probes import emoji_prompts

    rng = np.random.default_rng(SPLIT_SEED)
    first, second = [], []
    for name, share in (("exact", 0.5), ("partial", 0.5), ("many", 0.25)):
        texts = emoji_prompts(name).texts
        mixed, cut = [texts[i] for i in rng.permutation(len(texts))], int(share * len(texts))
        first.append(mixed[:cut])
        second.append(mixed[cut:])
    return Half(*first), Half(*second)


def watched(
    model: Any,
    prompts: Sequence[str],
    asked: Mapping[str, ConfiguredDetector],
    sampling: PromptSampling,
    work: Path,
    *,
    what: str,
) -> dict[str, Arrays]:
    """One sampling run over all prompts, for all detectors; parts that an earlier run kept in `work` are read.

    Returns:
        For each detector its arrays, (prompts, images, ...).
    """
    noise = prompt_noise(list(prompts), sampling.images_per_prompt, model.sample_shape, sampling.seed)
    starts = [
        (image, prompt)
        for image in range(0, sampling.images_per_prompt, BLOCK)
        for prompt in range(0, len(prompts), CHUNK)
    ]
    blocks: dict[int, list[dict[str, Arrays]]] = {}
    for image, prompt in tqdm(starts, what, mininterval=5):
        part = slice(prompt, prompt + CHUNK)
        texts, latents = list(prompts[part]), noise[part, image : image + BLOCK]
        depends = (model.identity.digest, texts, image, latents.shape[1], sampling.sampling_steps)
        configured = [(title, one.identity) for title, one in asked.items()]
        key = hashlib.sha256(repr((depends, sampling.guidance_scale, sampling.seed, configured)).encode()).hexdigest()
        path = work / f"{key[:32]}.npz"
        if not path.exists():
            seen = watch_prompts(model, texts, asked, sampling, latents=latents)
            flat = {f"{title}/{name}": array for title, arrays in seen.items() for name, array in arrays.items()}
            unfinished = path.with_suffix(".part.npz")
            np.savez(unfinished, **flat)
            unfinished.rename(path)
        blocks.setdefault(image, []).append(_read(path))
    by_block = [_joined(parts, 0) for _, parts in sorted(blocks.items())]
    return _joined(by_block, 1)


def first_images(arrays: Arrays, images: int) -> Arrays:
    """What was kept of the first so many images of each prompt."""
    return {name: array[:, :images] for name, array in arrays.items()}


def _read(path: Path) -> dict[str, Arrays]:
    found: dict[str, Arrays] = {}
    with np.load(path, allow_pickle=False) as stored:
        for key in stored:
            title, _, name = key.rpartition("/")
            found.setdefault(title, {})[name] = stored[key]
    return found


def _joined(parts: Sequence[Mapping[str, Arrays]], axis: int) -> dict[str, Arrays]:
    return {
        title: {name: np.concatenate([part[title][name] for part in parts], axis) for name in arrays}
        for title, arrays in parts[0].items()
    }
