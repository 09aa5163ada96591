"""Which description belongs to a pipeline? Found by the name of its class, so that no other library is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.families.family import Family
from pytest_diffprivacy.models.families.flux import FLUX
from pytest_diffprivacy.models.families.latent_consistency import LATENT_CONSISTENCY
from pytest_diffprivacy.models.families.pixart import PIXART_ALPHA, PIXART_SIGMA
from pytest_diffprivacy.models.families.stable_diffusion import STABLE_DIFFUSION
from pytest_diffprivacy.models.families.stable_diffusion_3 import STABLE_DIFFUSION_3
from pytest_diffprivacy.models.families.stable_diffusion_xl import REFINER, STABLE_DIFFUSION_XL

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
"""By the name of the pipeline's class in diffusers."""

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
