"""RTA and RNA: random tokens or numbers between the prompt's words."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from pytest_diffprivacy.methods import Access
from pytest_diffprivacy.mitigation.method import (
    DdimSampling,
    Mitigated,
    Mitigation,
    check_settings,
    mitigation,
    sample_prompt,
)
from pytest_diffprivacy.models.protocols import PromptedDenoiser, require_prompted, require_vocabulary

NUMBERS: Final = 100_000


def insert_words(prompt: str, additions: int, word: Callable[[], str], place: Callable[[int], int]) -> str:
    """A prompt, split on single spaces, with drawn words inserted one after the other.

    `place` takes the number of words that are there by then to where the new one goes, 0 (in front) to that number.

    Source: Implements the prompt augmentation of Somepalli et al. 2023 as in the code of Wen et al. 2024 (METHODS 5.4).
    """
    words = prompt.split(" ")
    for _ in range(additions):
        drawn = word()
        words.insert(place(len(words)), drawn)
    return " ".join(words)


def random_tokens_added(prompt: str, additions: int, vocabulary: Sequence[str], generator: np.random.Generator) -> str:
    """A prompt with random tokens of the model's vocabulary inserted (RTA).

    Source: Follows Somepalli et al. 2023, except that one generator is used.
    """
    return insert_words(
        prompt, additions, lambda: vocabulary[int(generator.integers(len(vocabulary)))], _uniform(generator)
    )


def random_numbers_added(prompt: str, additions: int, generator: np.random.Generator) -> str:
    """A prompt with random numbers from 0 to 99,999 inserted (RNA).

    Source: Follows Somepalli et al. 2023, except that one generator is used.
    """
    return insert_words(prompt, additions, lambda: str(generator.integers(NUMBERS)), _uniform(generator))


@mitigation("rta", "Random tokens (RTA)", access=Access.BLACK_BOX, source="Somepalli et al. 2023", version=1)
@final
@dataclass(frozen=True, slots=True)
class RandomTokenAddition(Mitigation):
    """RTA: each image's prompt has its own random tokens, drawn from the prompt and the image's seed.

    Args:
        additions: tokens to insert; 4 in Wen et al.'s README, 1, 2, 4, 6 and 8 in Jeon et al.

    Source: Follows Somepalli et al. 2023 (METHODS 5.4).
    """

    additions: int = 4

    def __post_init__(self) -> None:
        check_settings(self, counts={"additions": 1})

    def sample(self, model: PromptedDenoiser, prompt: str, seeds: Sequence[int], sampling: DdimSampling) -> Mitigated:
        """The images of a prompt; image i depends on seeds[i] alone."""
        denoiser = require_prompted(model, "Random token addition")
        vocabulary = require_vocabulary(model, "Random token addition").vocabulary
        prompts = [
            random_tokens_added(prompt, self.additions, vocabulary, _generator("rta", prompt, seed)) for seed in seeds
        ]
        return sample_prompt(denoiser, prompts, seeds, sampling)


@mitigation("rna", "Random numbers (RNA)", access=Access.BLACK_BOX, source="Somepalli et al. 2023", version=1)
@final
@dataclass(frozen=True, slots=True)
class RandomNumberAddition(Mitigation):
    """RNA: each image's prompt has its own random numbers, drawn from the prompt and the image's seed.

    Args:
        additions: numbers to insert.

    Source: Follows Somepalli et al. 2023 (METHODS 5.4).
    """

    additions: int = 4

    def __post_init__(self) -> None:
        check_settings(self, counts={"additions": 1})

    def sample(self, model: PromptedDenoiser, prompt: str, seeds: Sequence[int], sampling: DdimSampling) -> Mitigated:
        """The images of a prompt; image i depends on seeds[i] alone."""
        denoiser = require_prompted(model, "Random number addition")
        prompts = [random_numbers_added(prompt, self.additions, _generator("rna", prompt, seed)) for seed in seeds]
        return sample_prompt(denoiser, prompts, seeds, sampling)


def _uniform(generator: np.random.Generator) -> Callable[[int], int]:
    return lambda count: int(generator.integers(count + 1))


def _generator(purpose: str, prompt: str, seed: int) -> np.random.Generator:
    key = hashlib.sha256(f"{purpose}|{seed}|{prompt}".encode()).digest()
    return np.random.default_rng(int.from_bytes(key[:16], "little"))
