"""Attack: a membership attack of a user's own, or one built from shadow models, as a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytest_diffprivacy.methods import Access, Kind, Method, Need
from pytest_diffprivacy.methods.method import Scores, named_timesteps


def Attack(
    name: str,
    title: str,
    access: str,
    source: str,
    scores: Scores,
    defaults: Mapping[str, Any],
    version: int | None,
    seeded: bool,
    evaluations: Callable[[Mapping[str, Any]], int],
    timesteps: Callable[[Mapping[str, Any]], tuple[int, ...]] = named_timesteps,
    needs_prompts: bool = False,
    decides_at_timestep: bool = False,
    uncontrolled: str = "",
) -> Method:
    """A membership attack made from a function, for `attack=` of the claims. `methods.method` makes one of a formula.

    Stored scores are reused as long as name, version, parameters and the file that defines `scores` are the same.

    Args:
        name: short name, as records keep it.
        title: what the paper calls it.
        access: the access it needs: "black box", "grey box" or "white box", and " and shadow models" where it needs
            them; any other text is the caller's own choice.
        source: the citation.
        scores: (model, images, *, batch_size, **parameters) -> float64 (images,), higher = more likely member; is
            given `prompts` where it takes them and the images have some.
        defaults: parameters of `scores` with their default values.
        version: raised whenever the same parameters would give other scores; None: never answered from the store.
        seeded: whether `scores` draws noise from a seed.
        evaluations: parameters -> network evaluations an image costs.
        timesteps: parameters -> the timesteps to be matched to the model's schedule.
        needs_prompts: whether it cannot run without the images' prompts.
        decides_at_timestep: whether the answers at its timesteps make the score, and what it asks for below them only
            leads there; its control then has no memory below them.
        uncontrolled: why it cannot be asked about an ideal denoiser; "" where it can.
    """
    box, *besides = access.split(" and ")
    needs = {Need(text) for text in besides if text in set(Need)} | ({Need.PROMPTS} if needs_prompts else set())
    return Method(
        name=name,
        title=title,
        access=Access(box) if box in set(Access) else None,
        source=source,
        kind=Kind.MEMBERSHIP,
        needs=frozenset(needs),
        scores=scores,
        defaults=defaults,
        version=version,
        seeded=seeded,
        evaluations=evaluations,
        timesteps=timesteps,
        decides_at_timestep=decides_at_timestep,
        uncontrolled=uncontrolled,
    )
