"""Mitigation: a way to sample a prompt's images that is to bring back fewer training images, at a price."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import FunctionType
from typing import Any, Final, Protocol, TypeVar, final

import torch
from torch import Tensor

from pytest_diffprivacy.engine.code_identity import code_identity
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.methods import Access, Kind, Need, Published, register
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.ddim import GuidanceRule, ddim_sample, guided_ddim, predict_pair
from pytest_diffprivacy.models.noise import start_noise
from pytest_diffprivacy.models.protocols import PromptedDenoiser, require_prompted
from pytest_diffprivacy.statistics.arguments import check_count, check_finite


@dataclass(frozen=True, slots=True)
class DdimSampling:
    """How images are sampled with and without a mitigation: deterministic DDIM under classifier-free guidance.

    Attributes:
        steps: sampling steps.
        guidance_scale: g in eps_u + g (eps_c - eps_u); 1 is no guidance.
    """

    steps: int = 50
    guidance_scale: float = 7.5


@dataclass(frozen=True, slots=True)
class SamplingCost:
    """What images cost; costs add.

    Attributes:
        evaluations: images through the network, forward; a guided step counts two an image.
        backward: images through the network, backward.
        restarts: searches that began again.
        over_budget: images for which the method gave up before it reached its target.
    """

    evaluations: int = 0
    backward: int = 0
    restarts: int = 0
    over_budget: int = 0

    def __add__(self, other: SamplingCost) -> SamplingCost:
        return SamplingCost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Mitigated:
    """Images of one prompt under a mitigation.

    Attributes:
        images: (seeds, channels, height, width) in [0, 1].
        cost: of all of them together.
    """

    images: Tensor
    cost: SamplingCost


@dataclass(frozen=True, slots=True)
class MitigationCard:
    """What a record says of a mitigation.

    Attributes:
        name: short and unique in a comparison, e.g. "sail".
        title: what a report calls it.
        access: the access it needs.
        source: what it follows.
        parameters: everything its images depend on besides model, prompt, seeds and sampling.
        version: raised whenever the same parameters would give other images; None: images are not stored for reuse.
    """

    name: str
    title: str
    access: str
    source: str
    parameters: Mapping[str, Any]
    version: int | None


class Mitigation(Protocol):
    """Turns a model, a prompt and seeds into images.

    Image i depends on seeds[i] alone, except where a method searches for several images at once and says so. One of
    your own is any object with a `card` and `sample`; `@mitigation(...)` on a frozen dataclass makes the card.
    """

    @property
    def card(self) -> MitigationCard:
        """What a record says of it."""
        return card_of(self)

    def sample(self, model: PromptedDenoiser, prompt: str, seeds: Sequence[int], sampling: DdimSampling) -> Mitigated:
        """The images of a prompt, one a seed, and what they cost.

        Raises:
            ModelError: the model takes no texts, or offers less than the method needs.
            UsageError: an empty prompt, or settings that do not fit the model.
        """
        ...


_CARDS: Final[dict[type, MitigationCard]] = {}
Registered = TypeVar("Registered", bound=type)


def mitigation(
    name: str,
    title: str,
    *,
    access: Access,
    source: str,
    version: int | None,
    needs: Collection[Need] = (),
) -> Callable[[Registered], Registered]:
    """Register a frozen dataclass with `sample` as a mitigation; its fields are its parameters.

    Args:
        name: short and unique in a comparison.
        title: what a report calls it.
        access: the access it needs.
        source: what it follows.
        version: raised whenever the same parameters would give other images; None: never answered from the store.
        needs: what it needs besides the model and the prompt.
    """

    def registered(kind: Registered) -> Registered:
        published = Published(
            name=name,
            title=title,
            access=access,
            source=source,
            kind=Kind.MITIGATION,
            needs=frozenset(needs),
            built_by=f"{kind.__name__}(...)",
        )
        _CARDS[kind] = MitigationCard(name, title, published.access_text, source, {}, version)
        register(published)
        return kind

    return registered


def card_of(method: Any) -> MitigationCard:
    """The card of a mitigation that `@mitigation` registered, with the values of its fields."""
    card = _CARDS.get(type(method))
    if card is None:
        raise UsageError(f"{type(method).__name__} must have a `card`. Decorate it with `@mitigation(...)`.")
    return replace(card, parameters={field.name: getattr(method, field.name) for field in fields(method)})


def code_of(method: Mitigation) -> list[dict[str, str]] | None:
    """The code of a mitigation, class by class; of a user's own with its source; None where it cannot be told."""
    found = []
    for owner in type(method).__mro__:
        written = [made for name, made in vars(owner).items() if isinstance(made, FunctionType) and name[:2] != "__"]
        if written and owner is not Mitigation and owner.__module__ not in sys.stdlib_module_names:
            found.append(code_identity(written[0]))
    known = [one for one in found if one is not None]
    return known if known and len(known) == len(found) else None


def check_settings(
    method: Any, *, positive: Sequence[str] = (), finite: Sequence[str] = (), counts: Mapping[str, int] | None = None
) -> None:
    """Refuse by name a field that is no finite number above 0, no finite number, or no count of at least so many."""
    for name in positive:
        if not check_finite(name, value := getattr(method, name)) > 0.0:
            raise UsageError(f"`{name}` must be above 0, got {value!r}.")
    for name in finite:
        check_finite(name, getattr(method, name))
    for name, least in (counts or {}).items():
        check_count(name, getattr(method, name), least=least)


Difference = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True, slots=True)
class Unmitigated(Mitigation):
    """Plain guided sampling from the same seeds: the side that every mitigation is compared with.

    Source: Implements Ho and Salimans 2022 (classifier-free guidance) with DDIM.
    """

    @property
    def card(self) -> MitigationCard:
        """What a record says of it."""
        return MitigationCard("none", "Original", Access.GREY_BOX, "DDIM with classifier-free guidance", {}, 1)

    def sample(self, model: PromptedDenoiser, prompt: str, seeds: Sequence[int], sampling: DdimSampling) -> Mitigated:
        """The images of a prompt, one a seed."""
        return sample_prompt(require_prompted(model, "Sampling a prompt"), prompt, seeds, sampling)


def prompt_conditioning(model: PromptedDenoiser, prompts: Sequence[str]) -> Conditioning:
    """The conditioning of texts, one a row; refuses none, or an empty one, for which there is nothing to mitigate."""
    if not prompts or not all(isinstance(prompt, str) and prompt.strip() for prompt in prompts):
        raise UsageError(f"`prompts` must be texts that are not empty, got {list(prompts)!r}.")
    conditioning = model.condition(list(prompts), len(prompts))
    assert conditioning is not None, "a text-to-image model has a conditioning for a text"
    return conditioning


def seeded_noise(model: PromptedDenoiser, seeds: Sequence[int]) -> Tensor:
    """x_T of the seeds, as the model's own generations have it, on its device in its precision."""
    return start_noise(seeds, model.sample_shape).to(device=model.device, dtype=model.dtype)


def first_timestep(model: PromptedDenoiser, sampling: DdimSampling) -> int:
    """The timestep at which sampling starts."""
    return model.schedule.sampling_timesteps(sampling.steps)[0]


def eps_difference(model: PromptedDenoiser, timestep: int, conditioning: Conditioning) -> Difference:
    """The function x -> eps_c - eps_u at a timestep for rows of the one given row of conditioning; differentiable."""

    def difference(x: Tensor) -> Tensor:
        eps_u, eps_c = predict_pair(model, x, timestep, conditioning.repeated(len(x)), None)
        return eps_c - eps_u

    return difference


def sample_prompt(
    model: PromptedDenoiser,
    prompts: str | Sequence[str],
    seeds: Sequence[int],
    sampling: DdimSampling,
    *,
    rule: GuidanceRule | None = None,
    pairs: bool = False,
) -> Mitigated:
    """Images of a prompt, or of one prompt a seed, from the noise of the seeds; see `sample_images`."""
    texts = [prompts] * len(seeds) if isinstance(prompts, str) else prompts
    conditioning = prompt_conditioning(model, texts)
    return sample_images(model, seeded_noise(model, seeds), conditioning, sampling, rule=rule, pairs=pairs)


@torch.no_grad()
def sample_images(
    model: PromptedDenoiser,
    x_T: Tensor,
    conditioning: Conditioning,
    sampling: DdimSampling,
    *,
    rule: GuidanceRule | None = None,
    pairs: bool = False,
) -> Mitigated:
    """Images from start noise (n, *model.sample_shape) and n rows of conditioning, and what they cost.

    A `rule` is guidance that changes on the way; it replaces the guidance scale. `pairs` evaluates the unconditional
    branch even where guidance 1 does not need it (attention edits count rows).
    """
    count, scale = len(x_T), sampling.guidance_scale
    if rule is None and not pairs and scale == 1.0:
        x = ddim_sample(model, x_T, steps=sampling.steps, conditioning=conditioning)
        return Mitigated(model.decode(x), SamplingCost(evaluations=count * sampling.steps))
    x = x_T
    for step in guided_ddim(model, x_T, conditioning, steps=sampling.steps, guidance_scale=rule or scale):
        x = step.x_next
    return Mitigated(model.decode(x), SamplingCost(evaluations=2 * count * sampling.steps))
