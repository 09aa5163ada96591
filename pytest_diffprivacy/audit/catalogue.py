"""The catalogue of a run's record: every published way that is known to find out whether training images leak.

Methods are taken from the registry. What a claim is whichever method scores for it, and what this package does not
have, is listed here. A record carries the whole list, so that its report can say what did not run, and why.
"""

from __future__ import annotations

from typing import Final

from pytest_diffprivacy.evidence.access import Access
from pytest_diffprivacy.evidence.records import KnownMethod
from pytest_diffprivacy.methods import Kind, catalogue

BLACK, GREY = Access.BLACK_BOX, Access.GREY_BOX
PRIVACY: Final = "differential privacy"
ABSENT: Final = "not in this package, as of 2026-11-30"
UNCHECKED: Final = "known by name only; the paper was not checked"
CANARIES: Final = "canaries that were planted by coin before training"

CLAIMS: Final = (
    KnownMethod(
        kind=Kind.MEMBERSHIP,
        name="finetune",
        title="Increase of membership scores over the base model",
        question="Does fine-tuning make its images recognisable?",
        access=GREY,
        needs=("the base model",),
        source="Watson et al. 2022",
        claim="finetune_adds_no_leak",
    ),
    KnownMethod(
        kind=PRIVACY,
        name="epsilon",
        title="Audit in one training run",
        question="How large is the epsilon of the training at least?",
        access=GREY,
        needs=(CANARIES,),
        source="Steinke, Nasr and Jagielski 2023; Dong, Roth and Su 2022",
        claim="epsilon_lower_bound_below",
    ),
)
"""What claims are by themselves, whichever scores they are judged from."""


def _absent(kind: str, name: str, title: str, question: str, source: str, *needs: str) -> KnownMethod:
    return KnownMethod(
        kind=kind, name=name, title=title, question=question, access=GREY, needs=needs, source=source, missing=ABSENT
    )


MEMBER: Final = Kind.MEMBERSHIP.question
MISSING: Final = (
    _absent(
        "attribute inference", "attribute-inference", "Attribute inference",
        "Can a hidden property of a person in a training image be guessed?", "Fredrikson et al. 2014; Yeom et al. 2018",
    ),
    _absent(
        "model inversion", "model-inversion", "Model inversion",
        "Can a picture of a class or person be made from outputs?", "Fredrikson et al. 2015",
    ),
    _absent(Kind.MEMBERSHIP, "mofit", "Membership without captions (MoFit)", MEMBER, UNCHECKED),
    _absent(
        Kind.MEMBERSHIP, "t-mc-cal", "Calibrated complexity of flows (T_mc_cal)", MEMBER,
        "Rao and Moyer 2026, arXiv 2603.13421", "a rectified-flow model",
    ),
    _absent(
        Kind.MEMBERSHIP, "distilled-students", "Distributional tests of distilled students",
        "Was a set used to train the teacher of this one-step model?", "Li et al. 2025, arXiv 2502.02970",
        "generations of the student",
    ),
    _absent(
        Kind.MEMBERSHIP, "autoregressive", "Attacks on autoregressive image models", MEMBER, "Kowalczuk et al. 2025",
        "an autoregressive model",
    ),
    _absent(
        Kind.MEMBERSHIP, "video", "Attacks on video models (VidLeaks)", "Was this video in the training set?",
        "Wang et al. 2026 (VidLeaks)", "a video model",
    ).model_copy(update={"access": Access.BLACK_BOX}),
    _absent(
        Kind.EXTRACTION, "lora-weights", "Images from the weights of a LoRA alone",
        "Can training images be read off an adapter without running it?", "Yao 2024, arXiv 2409.08482",
    ).model_copy(update={"access": Access.WHITE_BOX}),
)  # fmt: skip
"""Published methods without an implementation here."""


def known_methods() -> tuple[KnownMethod, ...]:
    """Every known attack, detector and measure; what this package does not have comes last.

    Mitigations are left out: they defend, and are no way to find a leak.
    """
    attacks = [
        KnownMethod(
            kind=method.kind,
            name=method.name,
            title=method.title,
            question=method.question,
            access=method.access,
            needs=tuple(sorted(method.needs)),
            source=method.source,
            claim=method.claim,
        )
        for method in catalogue()
        if method.kind is not Kind.MITIGATION
    ]
    own = {(row.kind, row.name) for row in attacks}
    return (*attacks, *CLAIMS, *(row for row in MISSING if (row.kind, row.name) not in own))
