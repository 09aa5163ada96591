"""Attention rescaling: the start token takes attention back from the tokens that trigger a memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.methods import Access, Need
from pytest_diffprivacy.mitigation.method import (
    DdimSampling,
    Mitigated,
    Mitigation,
    check_settings,
    mitigation,
    sample_prompt,
)
from pytest_diffprivacy.models.attention import Edit
from pytest_diffprivacy.models.protocols import PromptedDenoiser, require_cross_attention, require_prompted

Kept = Literal["prompt", "prompt without end"]


def rescale_start_token(*, factor: float, kept_tokens: int) -> Edit:
    """An edit of cross-attention logits: the start token's times `factor`, tokens from `kept_tokens` on masked.

    The rows are [unconditional, conditional], as guided sampling asks; only the conditional half is rescaled, both are
    masked. A negative logit falls when it is multiplied: that is the method.

    Source: Implements Ren et al. 2024, section 5 (METHODS 5.3).
    """

    def edit(logits: Tensor) -> Tensor:
        edited = logits.clone()
        edited[len(logits) // 2 :, ..., 0] *= factor
        edited[..., kept_tokens:] = -float("inf")
        return edited

    return edit


@mitigation(
    "ren",
    "Attention rescaling (Ren)",
    access=Access.WHITE_BOX,
    source="Ren et al. 2024, section 5",
    version=1,
    needs={Need.ATTENTION},
)
@final
@dataclass(frozen=True, slots=True)
class AttentionRescaling(Mitigation):
    """Ren's mitigation: rescale the start token in every cross-attention layer and mask what is not the prompt.

    Args:
        factor: of the start token's logit; Jeon et al. compare 1.1, 1.2, 1.25, 1.3 and 1.5.
        keep: "prompt" keeps the tokens from the start to the end token; "prompt without end" drops the end token too.

    Source: Implements Ren et al. 2024, section 5 (METHODS 5.3).
    """

    factor: float = 1.25
    keep: Kept = "prompt"

    def __post_init__(self) -> None:
        check_settings(self, positive=("factor",))
        if self.keep not in ("prompt", "prompt without end"):
            raise UsageError(f"`keep` must be 'prompt' or 'prompt without end', got {self.keep!r}.")

    def sample(self, model: PromptedDenoiser, prompt: str, seeds: Sequence[int], sampling: DdimSampling) -> Mitigated:
        """The images of a prompt; image i depends on seeds[i] alone."""
        denoiser = require_prompted(model, "Attention rescaling")
        attention = require_cross_attention(model, "Attention rescaling")
        length = min(denoiser.token_counts([prompt])[0], denoiser.token_limit)
        kept = length if self.keep == "prompt" else length - 1
        with attention.cross_attention(edit=rescale_start_token(factor=self.factor, kept_tokens=kept)):
            return sample_prompt(denoiser, prompt, seeds, sampling, pairs=True)
