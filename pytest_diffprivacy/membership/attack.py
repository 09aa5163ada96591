"""Attacks that are made by a call: a user's own from a function, and the published ones from shadow models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.access import Access
from pytest_diffprivacy.membership.shadow import PlannedShadows, ShadowScores
from pytest_diffprivacy.methods import Kind, Method, Need, Published
from pytest_diffprivacy.methods.method import Scores


def Attack(*, access: str, needs_prompts: bool = False, **facts: Any) -> Method:
    """A membership attack from a function, for `attack=` of the claims. `methods.method` makes one of a formula.

    Stored scores are reused as long as name, version, parameters and the file that defines `scores` are the same.

    Args:
        access: the access it needs: "black box", "grey box" or "white box", and " and shadow models" where it needs
            them; any other text is the caller's own choice.
        needs_prompts: whether it cannot run without the images' prompts.
        **facts: the other fields of `methods.Method`: name, title, source, scores, defaults, version, seeded,
            evaluations, timesteps, decides_at_timestep, uncontrolled.
    """
    box, *besides = access.split(" and ")
    needs = {Need(text) for text in besides if text in set(Need)} | ({Need.PROMPTS} if needs_prompts else set())
    found = Access(box) if box in set(Access) else None
    return Method(access=found, kind=Kind.MEMBERSHIP, needs=frozenset(needs), **facts)


def shadow_attack(
    published: Published,
    shadows: ShadowScores | PlannedShadows,
    *,
    title: str,
    scores: Scores | None,
    parameters: Mapping[str, Any],
    uncontrolled: str,
) -> Method:
    """A published attack with these shadow models as a method; `scores` is None while an audit is planned.

    `evaluations` counts what the target is asked; training and measuring its shadow models is extra.
    """
    measure = shadows.asked
    return published.built(
        title=title,
        scores=scores or _no_scores,
        defaults=parameters,
        version=1 if measure.stored else None,
        evaluations=lambda _: measure.evaluations,
        uncontrolled=uncontrolled,
    )


def _no_scores(*_: Any, **__: Any) -> Any:
    raise UsageError(
        "Shadow models are not trained while an audit is planned, got a question to them. Leave out --diffprivacy-plan "
        "to train and ask them."
    )
