"""Usage share: the scores by which `usage_share` decides, of a target and of references that are attacked alike.

A reference that is attacked by more models than the target, or by its partner, which saw exactly what it did not, errs
otherwise than the target does. Here one pair attacks the target and all other references, one model an image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership.attack import shadow_attack
from pytest_diffprivacy.membership.ratio import checked_references, log_ratio_scores
from pytest_diffprivacy.membership.shadow import PlannedShadows, ShadowScores
from pytest_diffprivacy.methods import Access, Method, Need, Published, register
from pytest_diffprivacy.models.protocols import Denoiser, Prompt
from pytest_diffprivacy.models.scoring import BATCH_SIZE
from pytest_diffprivacy.statistics.usage_share import usage_share as usage_share

FloatArray = NDArray[np.float64]

LEAST_PAIRS: Final = 2
USAGE_SHARE = Published(
    name="usage_share",
    title="Usage share (DUCI)",
    access=Access.GREY_BOX,
    source="Tong et al. 2025 (DUCI), with references attacked as the target is",
    needs=frozenset({Need.SHADOW_MODELS}),
    built_by="assert_usage_share_below(model, suspects, references=...)",
    claim="usage_share_below",
    asks="How much of this set was used in training?",
)
register(USAGE_SHARE)


@dataclass(frozen=True, slots=True)
class MatchedScores:
    """What `usage_share` takes, one row for each pair that attacks.

    Attributes:
        target: float64 (pairs, images), higher = more likely used.
        references: float64 (pairs, references, images), of the models that are not in the pair.
        members: bool, the same shape.
    """

    target: FloatArray
    references: FloatArray
    members: NDArray[np.bool_]


def matched_scores(
    target: ArrayLike,
    references: ArrayLike,
    seen: ArrayLike,
    *,
    score: Callable[..., FloatArray] = log_ratio_scores,
) -> MatchedScores:
    """Attack target and references alike: by the one model of a pair that did not see the image, for every pair.

    Args:
        target: (images,) losses of the suspects; lower = more likely used.
        references: (references, images) losses, in pairs of which one model saw exactly what the other did not, as
            `train_shadows` makes them; at least two pairs.
        seen: bool (references, images).
        score: (target, references, seen) -> scores, higher = more likely used; `ratio_scores` where the numbers are
            probabilities.

    Raises:
        UsageError: shapes that do not fit, or fewer than two pairs.

    Source: METHODS 3.17.
    """
    own, others, saw = checked_references(target, references, seen)
    pairs = pairs_of(saw)
    rows: list[FloatArray] = []
    attacked: list[list[FloatArray]] = []
    members = []
    for pair in pairs:
        rest = [model for other in pairs if other != pair for model in other]
        by = list(pair)
        rows.append(score(own, others[by], saw[by]))
        attacked.append([score(others[model], others[by], saw[by]) for model in rest])
        members.append(saw[rest])
    return MatchedScores(np.stack(rows), np.asarray(attacked), np.asarray(members))


def pairs_of(seen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Models of which one saw exactly what the other did not, each once.

    Raises:
        UsageError: a model without a partner, or fewer than two pairs.
    """
    free, pairs = list(range(len(seen))), []
    while free:
        model = free.pop(0)
        partner = next((other for other in free if np.array_equal(seen[other], ~seen[model])), None)
        if partner is None:
            raise UsageError(
                f"`references` must come in pairs of which one model saw exactly what the other did not, got "
                f"none for model {model}. Train them by train_shadows(suspects, ..., models=4)."
            )
        free.remove(partner)
        pairs.append((model, partner))
    if len(pairs) < LEAST_PAIRS:
        raise UsageError(
            f"`references` must be at least {LEAST_PAIRS} pairs, got {len(pairs)}: one attacks, another says how often "
            "that errs. Train them by train_shadows(suspects, ..., models=4)."
        )
    return pairs


def target_losses(references: ShadowScores | PlannedShadows) -> Method:
    """Minus what the references were asked, of the target: a method that is stored and resumed as any other."""
    scores = _Losses(references) if isinstance(references, ShadowScores) else None
    return shadow_attack(
        USAGE_SHARE,
        references,
        title=f"{USAGE_SHARE.title}, {len(references)} reference models",
        scores=scores,
        parameters={**references.asked.parameters, "shadows": references.digest},
        uncontrolled="Its references are models with known members; they say how often its decisions err.",
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Losses:
    """Minus the target's losses, with the references' noise."""

    references: ShadowScores

    def __call__(
        self,
        model: Denoiser,
        images: Tensor | ArrayLike,
        *,
        batch_size: int = BATCH_SIZE,
        prompts: Sequence[Prompt] | None = None,
        **measured: Any,
    ) -> FloatArray:
        losses, _ = self.references.asked_of_target(model, images, prompts, batch_size, measured)
        return -losses
