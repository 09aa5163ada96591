"""Which scores does an `attack=` argument ask for? Names, Attacks, callables, and families of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.evidence import method_record
from pytest_diffprivacy.engine import ScoreTask
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Method
from pytest_diffprivacy.membership import ATTACKS, Attack, find_attack
from pytest_diffprivacy.membership.shared import SharedPredictions
from pytest_diffprivacy.models.protocols import Denoiser, WhiteBoxDenoiser
from pytest_diffprivacy.probes import ProbeSet

ScoreFunction: TypeAlias = Callable[[Any, torch.Tensor], NDArray[np.float64]]
AttackLike: TypeAlias = str | Attack | ScoreFunction

ALL = "all"
MOST_EVALUATIONS = 200
NEED_SHADOWS = "LiRA and GSA need shadow models: pass lira_attack(shadows) or gsa_attack(shadows)."


@dataclass(frozen=True, slots=True)
class PlannedAttack:
    """One attack of a claim: what to compute, how the record describes it, and how it is controlled.

    Attributes:
        task: what to compute.
        method: its record.
        uncontrolled: why no positive control applies; "" where one does.
        least_timestep: the model's own timestep below which the planted model has no memory; None: it has everywhere.
    """

    task: ScoreTask
    method: Method
    uncontrolled: str = ""
    least_timestep: int | None = None


def plan_attacks(
    model: Denoiser,
    probes: ProbeSet,
    attack: AttackLike | Sequence[AttackLike],
    parameters: Mapping[str, Any],
    seed: int,
) -> tuple[list[PlannedAttack], list[str]]:
    """The attacks that an `attack=` argument names, and notes on what "all" left out and why.

    Raises:
        UsageError: an unknown attack or parameter, one attack twice, or none.
    """
    notes: list[str] = []
    if isinstance(attack, str) and attack == ALL:
        wanted: list[AttackLike] = []
        for entry in ATTACKS.values():
            reason = _left_out(entry, model, probes)
            if reason:
                notes.append(f"{entry.title} was left out: {reason}.")
            else:
                wanted.append(entry)
        notes.append(f"Not run: {NEED_SHADOWS}")
    else:
        wanted = list(attack) if isinstance(attack, (list, tuple)) else [attack]  # type: ignore[list-item]
    own = _by_attack(wanted, parameters)
    planned = [
        _planned(model, entry, chosen, seed, label)
        for entry in wanted
        for label, chosen in _members(entry, own.get(_name(entry), {}))
    ]
    names = [plan.task.name for plan in planned]
    if not names or len(set(names)) != len(names):
        raise UsageError(f"`attack` must name at least one attack and none twice, got {names}.")
    return planned, notes


def planned_evaluations(
    attack: AttackLike | Sequence[AttackLike], parameters: Mapping[str, Any]
) -> tuple[int | None, str]:
    """Network evaluations an image (None: unknown) and titles of an `attack=` argument, without a model.

    Raises:
        UsageError: an unknown attack or parameter.
    """
    if isinstance(attack, str) and attack == ALL:
        wanted: list[AttackLike] = [a for a in ATTACKS.values() if a.evaluations(a.defaults) <= MOST_EVALUATIONS]
    else:
        wanted = list(attack) if isinstance(attack, (list, tuple)) else [attack]  # type: ignore[list-item]
    own = _by_attack(wanted, parameters)
    found = [find_attack(entry) if isinstance(entry, str) else entry for entry in wanted]
    each = [
        a.evaluations({**a.defaults, **chosen}) if isinstance(a, Attack) else None
        for a in found
        for _, chosen in _members(a, own.get(_name(a), {}))
    ]
    titles = ", ".join(a.title if isinstance(a, Attack) else _name(a) for a in found)
    return (None if None in each else sum(number or 0 for number in each)), titles


def family_task(planned: Sequence[PlannedAttack]) -> ScoreTask:
    """One task for several of our attacks, which share network evaluations on each batch of images."""
    tasks = [plan.task for plan in planned]
    return ScoreTask(
        name="+".join(task.name for task in tasks),
        version=1,
        function=partial(_shared_scores, tasks),
        parameters={task.name: {"version": task.version, **task.parameters} for task in tasks},
        stored=all(task.stored for task in tasks),
        shape=(len(tasks) + 1,),
    )


def _shared_scores(
    tasks: Sequence[ScoreTask],
    model: Denoiser,
    images: torch.Tensor,
    *,
    batch_size: int,
    prompts: Any = None,
    **parameters: Any,
) -> NDArray[np.float64]:
    """(images, attacks + 1): the scores, and in the last column the network evaluations that each image cost.

    The family's own parameters are those of its tasks, by name, and describe the result; each task brings its own.
    """
    rows = np.empty((len(images), len(tasks) + 1))
    for start in range(0, len(images), batch_size):
        part = slice(start, min(start + batch_size, len(images)))
        shared = SharedPredictions(model)
        given = {} if prompts is None else {"prompts": prompts[part]}
        for column, task in enumerate(tasks):
            rows[part, column] = task.function(
                shared, images[part], batch_size=batch_size, **task.parameters, **(given if task.stored else {})
            )
        rows[part, -1] = shared.evaluations / (part.stop - part.start)
    return rows


def _left_out(attack: Attack, model: Denoiser, probes: ProbeSet) -> str:
    cost = attack.evaluations(attack.defaults)
    if cost > MOST_EVALUATIONS:
        return f"it costs {cost} network evaluations an image; name it to run it"
    if attack.access.startswith("white box") and not isinstance(model, WhiteBoxDenoiser):
        return "it needs white-box access"
    if attack.needs_prompts and probes.members.prompts(range(1)) is None:
        return "it needs the images' prompts, and the probes have none"
    return ""


def _by_attack(wanted: Sequence[AttackLike], parameters: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Parameters by attack: given directly for one attack, by its name for several."""
    names = [_name(entry) for entry in wanted]
    keyed = set(parameters) <= set(names) and all(isinstance(value, Mapping) for value in parameters.values())
    if len(names) == 1 and not keyed:
        return {names[0]: parameters}
    unknown = sorted(set(parameters) - set(names))
    if unknown:
        raise UsageError(f"`parameters` must be given by attack ({', '.join(names)}), got {', '.join(unknown)}.")
    return parameters


def _name(entry: AttackLike) -> str:
    if isinstance(entry, Attack):
        return entry.name
    return entry if isinstance(entry, str) else str(getattr(entry, "__name__", type(entry).__name__))


def _members(entry: AttackLike, parameters: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """An attack at several values of its parameters is as many members of a family: a label and parameters for each."""
    found = find_attack(entry) if isinstance(entry, str) else entry
    several = [
        key
        for key, value in parameters.items()
        if isinstance(found, Attack)
        and isinstance(value, (list, tuple))
        and not isinstance(found.defaults.get(key, ()), (list, tuple))
    ]
    members: list[tuple[str, Mapping[str, Any]]] = []
    for values in itertools.product(*(parameters[key] for key in several)):
        chosen = dict(zip(several, values, strict=True))
        label = ", ".join(f"{key} {value}" for key, value in chosen.items())
        members.append((label, {**parameters, **chosen}))
    if not members:
        raise UsageError(f"`parameters` must give at least one value for {', '.join(several)}, got none.")
    return members


def _planned(
    model: Denoiser, entry: AttackLike, parameters: Mapping[str, Any], seed: int, label: str = ""
) -> PlannedAttack:
    if not isinstance(entry, (str, Attack)):
        return _callable(entry, parameters)
    found = find_attack(entry) if isinstance(entry, str) else entry
    unknown = sorted(set(parameters) - set(found.defaults))
    if unknown:
        raise UsageError(
            f"`parameters` must be among {', '.join(found.defaults)} for {found.name}, got {', '.join(unknown)}."
        )
    chosen = {**found.defaults, **parameters}
    method = method_record(
        name=f"{found.name} {label}" if label else found.name,
        title=f"{found.title}, {label}" if label else found.title,
        access=found.access,
        source=found.source,
        parameters=chosen,
        timesteps=[model.schedule.match(t) for t in found.timesteps(chosen)],
        evaluations=found.evaluations(chosen),
    )
    seeded = {**chosen, "seed": seed} if found.seeded else chosen
    visited = [model.schedule.match(t).index for t in found.timesteps(chosen)]
    # At the first timestep there is next to no noise: only a model with infinite precision could remember there.
    least = max(1, min(visited)) if found.decides_at_timestep else None
    task = ScoreTask(method.name, found.version, found.scores, seeded)
    return PlannedAttack(task, method, found.uncontrolled, least)


def _callable(attack: ScoreFunction, parameters: Mapping[str, Any]) -> PlannedAttack:
    if not callable(attack):
        raise UsageError(
            f"`attack` must be a name, an Attack, a callable or a list of them, got {type(attack).__name__}."
        )
    if parameters:
        raise UsageError("`parameters` must be left out for a callable attack. Bind them with functools.partial.")
    name = _name(attack)
    method = method_record(
        name=name, title=name, access="chosen by the caller", source="the caller's own function", parameters={}
    )
    return PlannedAttack(ScoreTask(name, 1, partial(_in_batches, attack), {}, stored=False), method)


def _in_batches(attack: ScoreFunction, model: Any, images: torch.Tensor, *, batch_size: int) -> NDArray[np.float64]:
    parts = [attack(model, images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])
