"""Contrasted guidance (FineXtract): sampling from a base model towards its fine-tune, and past it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, Literal, TypeAlias, final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.access import Access
from pytest_diffprivacy.methods import Kind, Published, register
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.identity import ModelIdentity, Weights, weights_digest
from pytest_diffprivacy.models.noise import start_noise
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, Prompts
from pytest_diffprivacy.statistics.arguments import as_number, check_count

Last: TypeAlias = Literal["clean", "published"]
VERSION: Final = 1

FINEXTRACT: Final = Published(
    name="finextract",
    title="Extraction from a fine-tune (FineXtract)",
    access=Access.GREY_BOX,
    source="Wu, Zhang and Wu 2025; cliques exact and in a fixed order",
    kind=Kind.EXTRACTION,
    built_by="assert_finetune_not_extractable(base, tuned, probes)",
    claim="finetune_not_extractable",
)
register(FINEXTRACT)


@torch.no_grad()
def contrasted_eps(
    base: Denoiser,
    tuned: Denoiser,
    x_t: Tensor,
    t: int,
    prompt: Prompt | None,
    w: float = 3.0,
    k: float = -0.02,
    *,
    base_prompt: Prompt | None = None,
) -> Tensor:
    """Return `e_b + w (e_f - e_b) + k e_b`: guidance from what the base knows towards what fine-tuning added.

    Args:
        base: the model that was fine-tuned; asked without a prompt.
        tuned: the result, asked with the prompt and its own text encoder.
        x_t: (n, *sample_shape).
        t: timestep of both schedules.
        prompt: of the fine-tune, e.g. "art style of <name>"; None: the model takes none.
        w: strength; 0: the base alone, 1: the fine-tune alone.
        k: correction of the base's part.
        base_prompt: what the base is asked with, as in the authors' variant without `k`; None: nothing.

    Returns:
        Noise, of the shape of x_t.

    Source: Implements Wu, Zhang and Wu 2025 (FineXtract), as METHODS 1.6.
    """
    told = _conditions(base, tuned, prompt, base_prompt, len(x_t))
    return _contrast(base, tuned, x_t, t, told, w, k)


def _conditions(
    base: Denoiser, tuned: Denoiser, prompt: Prompt | None, base_prompt: Prompt | None, count: int
) -> tuple[Conditioning | None, Conditioning | None]:
    own, other = ([one] * count if one is not None else None for one in (base_prompt, prompt))
    return base.condition(own, count), tuned.condition(other, count)


def _contrast(
    base: Denoiser,
    tuned: Denoiser,
    x_t: Tensor,
    t: int,
    told: tuple[Conditioning | None, Conditioning | None],
    w: float,
    k: float,
) -> Tensor:
    own = base.predict_eps(x_t, t, told[0])
    return own + w * (tuned.predict_eps(x_t, t, told[1]) - own) + k * own


def contrasted_path(length: int, steps: int, last: Last = "clean") -> list[tuple[int, int]]:
    """Return (timestep, next one) of a DDIM walk: leading spacing, offset 1, whatever the pipeline's own scheduler.

    Args:
        length: timesteps of the schedule.
        steps: of the walk, 1 to `length`.
        last: "clean" ends at the first timestep; "published" repeats the authors' last step, which stays at 1 and
            changes nothing.

    Source: Follows the authors' code; the end is ours.
    """
    check_count("steps", steps, least=1)
    if steps > length or last not in ("clean", "published"):
        raise UsageError(f"`steps` must be at most {length} and `last` clean or published, got {steps!r}, {last!r}.")
    stride = length // steps
    times = [min(length - 1, 1 + stride * number) for number in reversed(range(steps))]
    path = [(t, max(1, t - stride)) for t in times]
    return path if last == "published" else [*path[:-1], (path[-1][0], 0)]


@torch.no_grad()
def contrasted_walk(
    base: Denoiser,
    tuned: Denoiser,
    x_T: Tensor,
    prompt: Prompt | None,
    *,
    w: float = 3.0,
    k: float = -0.02,
    steps: int = 50,
    last: Last = "clean",
    base_prompt: Prompt | None = None,
) -> Iterator[Tensor]:
    """Yield x after each deterministic step from `x_T`; nothing is clipped on the way.

    Args:
        base: as in `contrasted_eps`.
        tuned: likewise; its schedule is walked.
        x_T: (n, *sample_shape) standard normal noise.
        prompt: of the fine-tune.
        w: strength.
        k: correction of the base's part.
        steps: sampling steps, two network calls each.
        last: where the walk ends, see `contrasted_path`.
        base_prompt: as in `contrasted_eps`.

    Source: Implements Wu, Zhang and Wu 2025, as METHODS 1.6.
    """
    told = _conditions(base, tuned, prompt, base_prompt, len(x_T))
    x = x_T.to(device=tuned.device, dtype=tuned.dtype)
    for t, s in contrasted_path(len(tuned.schedule.alphas), steps, last):
        eps = _contrast(base, tuned, x, t, told, w, k)
        (alpha, sigma), (alpha_s, sigma_s) = tuned.schedule.at(t), tuned.schedule.at(s)
        x = alpha_s * (x - sigma * eps) / alpha + sigma_s * eps
        yield x


@final
class ContrastedGenerator:
    """A base and its fine-tune as one black box that generates by contrasted guidance; satisfies Generator.

    Args:
        base: grey-box access to the model that was fine-tuned.
        tuned: grey-box access to the result, of the same shapes.
        prompt: of the fine-tune; None: the model takes none.
        w: strength.
        k: correction of the base's part.

    Raises:
        UsageError: shapes differ, or a number is none.
    """

    def __init__(
        self, base: Denoiser, tuned: Denoiser, prompt: Prompt | None, *, w: float = 3.0, k: float = -0.02
    ) -> None:
        if base.sample_shape != tuned.sample_shape or len(base.schedule.alphas) != len(tuned.schedule.alphas):
            raise UsageError(
                f"`base` must be of the fine-tune's shape {tuned.sample_shape} and have its timesteps, got "
                f"{base.sample_shape}. Both are asked about the same noise."
            )
        self._base, self._tuned, self._prompt = base, tuned, prompt
        self._w, self._k = as_number("w", w), as_number("k", k)
        own = tuned.identity
        facts = {
            "base": base.identity.digest, "tuned": own.digest, "prompt": str(prompt), "w": self._w, "k": self._k,
            "version": VERSION,
        }  # fmt: skip
        name = f"{own.name} contrasted with {base.identity.name}"
        self.identity = ModelIdentity(
            name, own.family, weights_digest([], facts), own.parameters, own.dtype, own.device, "grey box",
            own.adapters, weights=Weights.together(base.identity.weights, own.weights),
        )  # fmt: skip

    def generate(
        self, seeds: Sequence[int], *, prompts: Prompts = None, steps: int = 50, guidance_scale: float = 1.0
    ) -> Tensor:
        """Images (n, channels, height, width) in [0, 1], one a seed, for the prompt of the fine-tune.

        Raises:
            UsageError: other prompts or ordinary guidance are asked for.
        """
        if guidance_scale != 1.0 or any(prompt != self._prompt for prompt in prompts or ()):
            raise UsageError(
                "`prompts` and `guidance_scale` must be left out: prompt and guidance are the generator's."
            )
        start = start_noise(seeds, self._tuned.sample_shape)
        walk = contrasted_walk(self._base, self._tuned, start, self._prompt, w=self._w, k=self._k, steps=steps)
        (x,) = deque(walk, maxlen=1)
        return self._tuned.decode(x).float().cpu()
