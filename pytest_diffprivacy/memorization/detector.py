"""Detectors of memorized prompts: what one observes of a prompt being sampled, and the score that it makes of that.

A published detector is one function: its signature is the table of its parameters, it refuses those that do not fit and
returns an `Observation`; `@detector` adds what all of them share, the public `*_scores` function among it.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.memorization.observation import Arrays, Observation, PromptSampling
from pytest_diffprivacy.memorization.watch import BATCH_SIZE, watch_prompts

PromptScores: TypeAlias = NDArray[np.float64]
DETECTORS: Final[dict[str, Detector]] = {}
"""Every detector by its name."""


@final
@dataclass(frozen=True, slots=True)
class Detector:
    """A published detector with its defaults; called with parameters of its own it gives a `ConfiguredDetector`.

    Attributes:
        name: short name, as in `detector="hessian_score"`.
        title: what the paper calls it.
        access: the access it needs.
        source: the citation.
        version: raised whenever the same parameters would give other scores.
        build: (**parameters) -> what it observes; refuses parameters that do not fit.
        least_images: images a prompt without which it is undefined.
    """

    name: str
    title: str
    access: str
    source: str
    version: int
    build: Callable[..., Observation]
    least_images: int = 1

    @property
    def defaults(self) -> dict[str, Any]:
        """Its parameters with their default values."""
        return {name: given.default for name, given in inspect.signature(self.build).parameters.items()}

    def __call__(self, **parameters: Any) -> ConfiguredDetector:
        """The detector with these parameters and the defaults of the others."""
        unknown = sorted(set(parameters) - set(self.defaults))
        if unknown:
            raise UsageError(
                f"`parameters` must be among {', '.join(self.defaults) or 'none'} for {self.name}, got "
                f"{', '.join(unknown)}."
            )
        return ConfiguredDetector(self, {**self.defaults, **parameters})

    @property
    def scores(self) -> Callable[..., PromptScores]:
        """Its public function, `<name>_scores`, documented in full."""
        return _public(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _imported, (self.build.__module__, self.build.__name__)


@final
@dataclass(frozen=True, slots=True)
class ConfiguredDetector:
    """A detector with all its parameters.

    Attributes:
        detector: the detector.
        parameters: every one of its parameters.
    """

    detector: Detector
    parameters: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The detector's."""
        return self.detector.name

    @property
    def title(self) -> str:
        """The detector's."""
        return self.detector.title

    @property
    def identity(self) -> dict[str, Any]:
        """What its arrays depend on besides model, prompts and sampling."""
        return {"detector": self.name, "version": self.detector.version, "parameters": dict(self.parameters)}

    def observation(self) -> Observation:
        """What it observes; refuses parameters that do not fit."""
        return self.detector.build(**self.parameters)

    def scores(self, arrays: Arrays) -> PromptScores:
        """Score of each prompt from what was kept, (prompts, images) first: float64 (prompts,)."""
        return np.asarray(self.observation().formula(arrays))

    def evaluations(self, sampling_steps: int) -> int:
        """Network rows an image costs where the detector runs alone."""
        observation = self.observation()
        return 2 * observation.steps(sampling_steps) + observation.extra * len(observation.at(sampling_steps))


def detector(
    *, title: str, access: str, source: str, version: int, least_images: int = 1
) -> Callable[[Callable[..., Observation]], Detector]:
    """Register a function (**parameters) -> Observation as a published detector; see `Detector` for the facts."""

    def register(build: Callable[..., Observation]) -> Detector:
        made = Detector(build.__name__, title, access, source, version, build, least_images)
        DETECTORS[made.name] = made
        return made

    return register


def _imported(module: str, name: str) -> Detector:
    found: Detector = getattr(importlib.import_module(module), name)
    return found


def find_detector(name: str) -> Detector:
    """The detector of that name.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    try:
        return DETECTORS[name]
    except KeyError:
        raise UsageError(f"`detector` must be one of {', '.join(DETECTORS)}, got {name!r}.") from None


def _public(chosen: Detector) -> Callable[..., PromptScores]:
    """The function `<name>_scores`: its own parameters and documentation, and those that all detectors share."""

    def scores(
        model: object,
        prompts: Sequence[str],
        *,
        latents: Tensor | NDArray[Any] | None = None,
        images_per_prompt: int = 4,
        sampling_steps: int = 50,
        guidance_scale: float = 7.5,
        seed: int = 0,
        batch_size: int = BATCH_SIZE,
        **parameters: Any,
    ) -> PromptScores:
        configured = ConfiguredDetector(chosen, {**chosen.defaults, **parameters})
        sampling = PromptSampling(images_per_prompt, sampling_steps, guidance_scale, seed)
        arrays = watch_prompts(
            model, prompts, {chosen.name: configured}, sampling, latents=latents, batch_size=batch_size
        )
        return configured.scores(arrays[chosen.name])

    own, (model, prompts, *shared, _) = (
        list(inspect.signature(function).parameters.values()) for function in (chosen.build, scores)
    )
    function: Any = update_wrapper(scores, chosen.build)
    function.__name__ = f"{chosen.name}_scores"
    function.__qualname__ = f"{chosen.name}.scores"
    function.__signature__ = inspect.Signature([model, prompts, *own, *shared], return_annotation="PromptScores")
    function.__doc__ = _documented(chosen)
    return scores


def _documented(chosen: Detector) -> str:
    """A detector's docstring with what holds for every detector: arguments, what is returned and what is raised."""
    parts = re.split(r"^(Args|Raises|Warns|Source):", inspect.cleandoc(chosen.build.__doc__ or ""), flags=re.MULTILINE)
    own = dict(zip(parts[1::2], (part.rstrip() for part in parts[2::2]), strict=True))
    warns = f"Warns:{own['Warns']}\n\n" if "Warns" in own else ""
    return f"""{parts[0]}Args:
    model: a text-to-image model; {chosen.access} access.
    prompts: texts, none of them empty.{own.get("Args", "")}
    latents: x_T, (prompts, images, *model.sample_shape); None: drawn from the seed and each prompt.
    images_per_prompt: images a prompt, at least {chosen.least_images}; the latents' own if they are given.
    sampling_steps: DDIM steps of a whole walk, which fix its timesteps.
    guidance_scale: of the walk; moves x_t from the second step on.
    seed: of x_T.
    batch_size: images in one network call.

Returns:
    float64 (prompts,), higher = memorized.

Raises:
    UsageError: empty prompts, or latents, steps or parameters that do not fit.
    ModelError: the model takes no texts, or offers less access than the detector needs.{own.get("Raises", "")}
    AuditError: the model's output is not finite.

{warns}Source:{own["Source"]}"""
