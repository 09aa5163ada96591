"""What does the model generate without any mitigation? The side that every mitigation is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from pytest_diffprivacy.mitigation.method import Mitigated, MitigationCard, Sampling
from pytest_diffprivacy.mitigation.sampling import prompt_conditioning, sample_images, seeded_noise
from pytest_diffprivacy.models.protocols import PromptedDenoiser, require_prompted


@final
@dataclass(frozen=True, slots=True)
class Unmitigated:
    """Plain guided sampling from the same seeds.

    Source: Implements Ho and Salimans 2022 (classifier-free guidance) with DDIM.
    """

    @property
    def card(self) -> MitigationCard:
        """What a record says of it."""
        return MitigationCard("none", "Original", "grey box", "DDIM with classifier-free guidance", {}, 1)

    def sample(self, model: PromptedDenoiser, prompt: str, seeds: Sequence[int], sampling: Sampling) -> Mitigated:
        """The images of a prompt, one a seed.

        Raises:
            ModelError: the model takes no texts.
            UsageError: an empty prompt.
        """
        denoiser = require_prompted(model, "Sampling a prompt")
        conditioning = prompt_conditioning(denoiser, [prompt] * len(seeds))
        return sample_images(denoiser, seeded_noise(denoiser, seeds), conditioning, sampling)
