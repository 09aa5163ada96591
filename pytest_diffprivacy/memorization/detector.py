"""Detectors of memorized prompts: what one observes of a prompt being sampled, and the score that it makes of that.

A published detector is one function: its signature is the table of its parameters, it refuses those that do not fit and
returns an `Observation`; `@detector` adds what all of them share, the public `*_scores` function among it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, TypeAlias, cast, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.memorization.observation import SAMPLING_STEPS, Arrays, Observation, PromptSampling
from pytest_diffprivacy.memorization.watch import BATCH_SIZE, watch_prompts
from pytest_diffprivacy.methods import Access, Configured, Kind, Method, Need, find_method, register
from pytest_diffprivacy.methods.decorator import documented

PromptScores: TypeAlias = NDArray[np.float64]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Detector(Method):
    """A published detector with its defaults; called with parameters of its own it gives a `ConfiguredDetector`.

    Attributes:
        build: (**parameters) -> what it observes; refuses parameters that do not fit.
        least_images: images a prompt without which it is undefined.
    """

    build: Callable[..., Observation]
    least_images: int = 1

    def __call__(self, **parameters: Any) -> ConfiguredDetector:
        """The detector with these parameters and its defaults for the others.

        Raises:
            UsageError: it has no such parameter.
        """
        return ConfiguredDetector(self, super().__call__(**parameters).parameters)

    @property
    def access_text(self) -> str:
        """The access as a record says it."""
        return "cross-attention" if Need.ATTENTION in self.needs else super().access_text

    def __reduce__(self) -> tuple[Any, ...]:
        return _imported, (self.build.__module__, self.build.__name__)


@final
@dataclass(frozen=True, eq=False)
class ConfiguredDetector(Configured):
    """A detector with all its parameters."""

    method: Detector

    def observation(self) -> Observation:
        """What it observes; refuses parameters that do not fit."""
        return self.method.build(**self.parameters)

    def scores(self, arrays: Arrays) -> PromptScores:
        """Score of each prompt from what was kept, (prompts, images) first: float64 (prompts,)."""
        return np.asarray(self.observation().formula(arrays))

    def cost(self, sampling_steps: int) -> int:
        """Network rows an image costs in a walk of so many steps where the detector runs alone."""
        return self.observation().cost(sampling_steps)


def detector(
    *,
    title: str,
    access: Access,
    source: str,
    version: int | None,
    needs: Collection[Need] = (),
    least_images: int = 1,
) -> Callable[[Callable[..., Observation]], Detector]:
    """Register a function (**parameters) -> Observation as a method of the kind "memorization".

    Its `.scores` is the public function of a model and prompts, with the function's parameters and those of the walk.
    For the facts see `Method` and `Detector`.
    """

    def registered(build: Callable[..., Observation]) -> Detector:
        table = inspect.signature(build).parameters.values()
        found = Detector(
            name=build.__name__,
            title=title,
            access=access,
            source=source,
            kind=Kind.MEMORIZATION,
            needs=frozenset(needs),
            scores=_public(build, _model_of(access, needs), least_images),
            defaults={p.name: p.default for p in table},
            version=version,
            seeded=True,
            evaluations=lambda parameters: build(**parameters).cost(SAMPLING_STEPS),
            timesteps=lambda _: (),
            build=build,
            least_images=least_images,
        )
        register(found)
        return found

    return registered


def find_detector(name: str) -> Detector:
    """The detector of that name; a UsageError lists those there are."""
    return cast("Detector", find_method(Kind.MEMORIZATION, name))


def _imported(module: str, name: str) -> Detector:
    return cast("Detector", getattr(importlib.import_module(module), name))


def _model_of(access: Access, needs: Collection[Need]) -> str:
    """What is said of the argument `model`."""
    reads = " whose cross-attention can be read" if Need.ATTENTION in needs else ""
    return f"{access.replace(' ', '-')} access to a text-to-image model{reads}"


def _public(build: Callable[..., Observation], needed: str, least_images: int) -> Callable[..., PromptScores]:
    """The function `<name>_scores`: its own parameters and documentation, and those that all detectors share."""
    walk = inspect.signature(PromptSampling).parameters

    def scores(
        model: object,
        prompts: Sequence[str],
        *,
        latents: Tensor | NDArray[Any] | None = None,
        batch_size: int = BATCH_SIZE,
        **given: Any,
    ) -> PromptScores:
        chosen = find_detector(build.__name__)
        sampling = PromptSampling(**{name: given.pop(name) for name in walk if name in given})
        configured = ConfiguredDetector(chosen, {**chosen.defaults, **given})
        watched = watch_prompts(
            model, prompts, {chosen.name: configured}, sampling, latents=latents, batch_size=batch_size
        )
        return configured.scores(watched[chosen.name])

    model, prompts, latents, batch_size, _ = inspect.signature(scores).parameters.values()
    named = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in walk.values()]
    table = [model, prompts, *inspect.signature(build).parameters.values(), latents, *named, batch_size]
    function: Any = update_wrapper(scores, build)
    function.__qualname__ = f"{build.__qualname__}.scores"  # where pickle finds it
    function.__signature__ = inspect.Signature(table, return_annotation="PromptScores")
    function.__doc__ = _documented(build.__doc__ or "", needed, least_images)
    return scores


def _documented(text: str, needed: str, least_images: int) -> str:
    """A detector's docstring with what holds for every detector: arguments, what is returned and raised."""
    return documented(
        text,
        before={"model": f"{needed}.", "prompts": "texts, none of them empty."},
        after={
            "latents": "x_T, (prompts, images, *model.sample_shape); None: drawn from the seed and each prompt.",
            "images_per_prompt": f"images a prompt, at least {least_images}; the latents' own if they are given.",
            "sampling_steps": "DDIM steps of a whole walk, which fix its timesteps.",
            "guidance_scale": "of the walk; moves x_t from the second step on.",
            "seed": "of x_T.",
            "batch_size": "images in one network call.",
        },
        returns="float64 (prompts,), higher = memorized.",
        raises={
            "UsageError": "empty prompts, or latents, steps or parameters that do not fit.",
            "ModelError": "the model takes no texts, or offers less access than the detector needs.",
            "AuditError": "the model's output is not finite.",
        },
    )
