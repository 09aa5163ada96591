"""Families of text-to-image pipelines: a description of each, found by the name of the pipeline's class."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.families.family import Family
from pytest_diffprivacy.models.families.stable_diffusion import (
    LATENT_CONSISTENCY,
    REFINER,
    STABLE_DIFFUSION,
    STABLE_DIFFUSION_XL,
)
from pytest_diffprivacy.models.families.transformer import FLUX, PIXART_ALPHA, PIXART_SIGMA, STABLE_DIFFUSION_3

FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {
        "StableDiffusionPipeline": STABLE_DIFFUSION,
        "StableDiffusionXLPipeline": STABLE_DIFFUSION_XL,
        "StableDiffusion3Pipeline": STABLE_DIFFUSION_3,
        "FluxPipeline": FLUX,
        "PixArtAlphaPipeline": PIXART_ALPHA,
        "PixArtSigmaPipeline": PIXART_SIGMA,
        "LatentConsistencyModelPipeline": LATENT_CONSISTENCY,
    }
)
"""By the name of the pipeline's class in diffusers, so that no other library is loaded."""

REFUSED: Final[Mapping[str, str]] = MappingProxyType({"StableDiffusionXLImg2ImgPipeline": REFINER})
"""Classes that look like one of the families, and why they are none."""


def family_of(pipeline: Any) -> Family | None:
    """The description of a pipeline object, or None.

    Raises:
        ModelError: the pipeline looks like one that is supported and is not; the message says why.
    """
    for kind in type(pipeline).__mro__:
        if kind.__name__ in REFUSED:
            raise ModelError(f"A {kind.__name__} cannot be audited. {REFUSED[kind.__name__]}")
        if kind.__name__ in FAMILIES:
            return FAMILIES[kind.__name__]
    return None
