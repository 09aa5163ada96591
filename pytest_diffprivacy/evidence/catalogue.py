"""Which attacks does this project know, whether or not a run used them? Data only, so that a report can name the rest.

A test compares these rows with the attacks and statistics themselves: whoever adds one adds a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class KnownAttack:
    """One attack or score as a threat model lists it.

    Attributes:
        name: as `Method.name` records it.
        title: what a person calls it.
        question: what it asks about the model.
        access: "black box", "grey box" or "white box".
        besides: what it needs besides the model and the probes; empty: nothing.
        source: where it is published.
    """

    name: str
    title: str
    question: str
    access: str
    besides: str
    source: str


EXTRACTION: Final = "Can training images be drawn out again?"
MEMBERSHIP: Final = "Was this image in the training set?"
SHARPNESS: Final = "Is the density needle-sharp at training images?"
MEMORIZATION: Final = "Does this prompt bring back one image?"

_GREY, _WHITE = "grey box", "white box"
_SHADOWS, _PROMPTS = "shadow models", "the images' prompts"

CATALOGUE: Final = (
    KnownAttack("extraction", "Generate and filter", EXTRACTION, "black box", "", "Carlini et al. 2023"),
    KnownAttack("loss", "Denoising loss", MEMBERSHIP, _GREY, "", "Yeom et al. 2018; Carlini et al. 2023"),
    KnownAttack("secmi", "SecMI", MEMBERSHIP, _GREY, "", "Duan et al. 2023"),
    KnownAttack("pia", "PIA", MEMBERSHIP, _GREY, "", "Kong et al. 2024"),
    KnownAttack("pian", "PIAN", MEMBERSHIP, _GREY, "", "Kong et al. 2024"),
    KnownAttack("sima", "SimA", MEMBERSHIP, _GREY, "", "Rao et al. 2025"),
    KnownAttack("pfami", "PFAMI", MEMBERSHIP, _GREY, "", "Fu et al. 2023"),
    KnownAttack("rediffuse", "ReDiffuse", MEMBERSHIP, _GREY, "", "Li et al. 2025"),
    KnownAttack("clid", "CLiD", MEMBERSHIP, _GREY, _PROMPTS, "Zhai et al. 2024"),
    KnownAttack("drc", "DRC", MEMBERSHIP, _GREY, "", "Fu et al. 2024"),
    KnownAttack("lira", "LiRA", MEMBERSHIP, _GREY, _SHADOWS, "Carlini et al. 2022, 2023"),
    KnownAttack("gsa", "GSA", MEMBERSHIP, _WHITE, _SHADOWS, "Pang et al. 2025"),
    KnownAttack("quantile", "Quantile regression", MEMBERSHIP, _GREY, "further non-members", "Tang et al. 2023"),
    KnownAttack("cdi", "CDI dataset inference", MEMBERSHIP, _GREY, "", "Dubinski et al. 2025"),
    KnownAttack("curvature", "Curvature along the score", SHARPNESS, _WHITE, "", "Jeon et al. 2025"),
    KnownAttack("hessian_score", "Hessian-score product", SHARPNESS, _WHITE, "", "Jeon et al. 2025"),
    KnownAttack("score_norm", "Score norm", SHARPNESS, _GREY, "", "Jeon et al. 2025"),
    KnownAttack("lid", "Intrinsic dimension (FLIPD)", SHARPNESS, _WHITE, "", "Kamkari et al. 2024; Ross et al. 2025"),
)
