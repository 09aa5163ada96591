"""What is a mitigation? A way to sample a prompt's images that is to bring back fewer training images, at a price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from torch import Tensor

from pytest_diffprivacy.models.protocols import PromptedDenoiser


@dataclass(frozen=True, slots=True)
class Sampling:
    """How images are sampled with and without a mitigation: deterministic DDIM under classifier-free guidance.

    Attributes:
        steps: sampling steps.
        guidance_scale: g in eps_u + g (eps_c - eps_u); 1 is no guidance.
    """

    steps: int = 50
    guidance_scale: float = 7.5


@dataclass(frozen=True, slots=True)
class Cost:
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

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Mitigated:
    """Images of one prompt under a mitigation.

    Attributes:
        images: (seeds, channels, height, width) in [0, 1].
        cost: of all of them together.
    """

    images: Tensor
    cost: Cost


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

    Image i depends on seeds[i] alone, except where a method searches for several images at once and says so.
    """

    @property
    def card(self) -> MitigationCard:
        """What a record says of it."""
        ...

    def sample(self, model: PromptedDenoiser, prompt: str, seeds: Sequence[int], sampling: Sampling) -> Mitigated:
        """The images of a prompt, one a seed, and what they cost."""
        ...


def parameters_of(method: Any) -> dict[str, Any]:
    """The fields of a mitigation that is a dataclass, by name."""
    return {field.name: getattr(method, field.name) for field in fields(method)}
