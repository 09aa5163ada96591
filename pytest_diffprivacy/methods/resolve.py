"""What `attack=` asks for: names, methods, configured methods, callables, lists, families of parameters, or "all"."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.engine import ScoreTask
from pytest_diffprivacy.engine.code_identity import takes_prompts
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.access import Access
from pytest_diffprivacy.methods.method import Configured, Kind, Method, Need
from pytest_diffprivacy.methods.registry import built_methods, find_method, methods_of
from pytest_diffprivacy.methods.shared_predictions import SharedPredictions
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, WhiteBoxDenoiser
from pytest_diffprivacy.probes import ProbeSet
from pytest_diffprivacy.slices import in_batches

ScoreFunction: TypeAlias = Callable[..., NDArray[np.float64]]
MethodLike: TypeAlias = str | Method | Configured | ScoreFunction

ALL = "all"
MOST_EVALUATIONS = 200


def resolve(
    kind: Kind | str,
    methods: MethodLike | Sequence[MethodLike],
    parameters: Mapping[str, Any] | None = None,
    *,
    model: Denoiser | None = None,
    probes: ProbeSet | None = None,
) -> list[Configured]:
    """The methods that an argument such as `attack=` names, each with all its parameters.

    Args:
        kind: which methods have a name here.
        methods: a name, a Method, a configured one, a callable (model, images) -> scores that may take `prompts`; a
            list of them; or "all".
        parameters: those that differ from the defaults, e.g. {"timestep": 100}; by method for several, e.g.
            {"secmi": {"timestep": 100}}. A list, e.g. {"timestep": [50, 100]}, makes a family of them.
        model: leaves out of "all" what asks for more access; None: nothing.
        probes: leaves out of "all" what needs prompts that they do not have; None: nothing.

    Raises:
        UsageError: an unknown method or parameter, one method twice, or none.
    """
    kind, argument = Kind(kind), Kind(kind).argument
    if isinstance(methods, str) and methods == ALL:
        missing = left_out(kind, model, probes)
        entries: list[Any] = [found for name, found in methods_of(kind).items() if name not in missing]
    else:
        entries = list(methods) if isinstance(methods, (list, tuple)) else [methods]
    wanted = [_found(kind, entry) for entry in entries]
    own = _by_method(wanted, dict(parameters or {}))
    chosen = _distinguished([member for entry in wanted for member in _family(entry, own.get(entry.name, {}))])
    for member in chosen:
        member.method.check_complete(member.parameters)
    keys = [member.key for member in chosen]
    if not keys or len(set(keys)) != len(keys):
        raise UsageError(f"`{argument}` must name at least one {argument} and none twice, got {keys}.")
    return chosen


def left_out(kind: Kind | str, model: Denoiser | None = None, probes: ProbeSet | None = None) -> dict[str, str]:
    """Which methods "all" leaves out, by name, and why."""
    reasons = {name: _reason(found, model, probes) for name, found in methods_of(kind).items()}
    return {name: reason for name, reason in reasons.items() if reason}


def notes_on_all(kind: Kind | str, model: Denoiser | None = None, probes: ProbeSet | None = None) -> list[str]:
    """What a record says of "all": which methods were left out and why, and which must be built by a call."""
    found = methods_of(kind)
    notes = [f"{found[name].title} was left out: {why}." for name, why in left_out(kind, model, probes).items()]
    shadowed = [method for method in built_methods(kind).values() if Need.SHADOW_MODELS in method.needs]
    built = [method for method in shadowed if not method.claim]
    if built:
        titles, calls = _listed([m.title for m in built], "and"), _listed([m.built_by for m in built], "or")
        notes.append(f"Not run: {titles} need shadow models: pass {calls}.")
    return notes


def family_task(methods: Sequence[Configured], seed: int) -> ScoreTask:
    """One task for several methods, which share network evaluations on each batch of images."""
    tasks = [member.task(seed) for member in methods]
    identities = {task.name: task.identity for task in tasks}
    return ScoreTask(
        name="+".join(identities),
        version=None if None in identities.values() else 1,
        function=partial(_shared_scores, tasks),
        parameters=identities,
        shape=(len(tasks) + 1,),
    )


def _shared_scores(
    tasks: Sequence[ScoreTask],
    model: Denoiser,
    images: torch.Tensor,
    *,
    batch_size: int,
    prompts: Sequence[Prompt] | None = None,
    **_: Any,
) -> NDArray[np.float64]:
    """(images, methods + 1): the scores, and in the last column the network evaluations that each image cost.

    The family's own parameters are the identities of its tasks, and describe the result; each task brings its own.
    """
    rows = np.empty((len(images), len(tasks) + 1))
    for part in in_batches(len(images), batch_size):
        shared = SharedPredictions(model)
        for column, task in enumerate(tasks):
            given = {} if prompts is None or not task.takes_prompts else {"prompts": prompts[part]}
            rows[part, column] = task.function(shared, images[part], batch_size=batch_size, **task.parameters, **given)
        rows[part, -1] = shared.evaluations / (part.stop - part.start)
    return rows


def _listed(words: Sequence[str], last: str) -> str:
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _reason(method: Method, model: Denoiser | None, probes: ProbeSet | None) -> str:
    cost = method(**method.defaults).evaluations or 0
    if cost > MOST_EVALUATIONS:
        return f"it costs {cost} network evaluations an image; name it to run it"
    if method.access is Access.BLACK_BOX and method.kind is Kind.MEMBERSHIP:
        return "it asks for generated images, not for predictions; name it to run it"
    if method.access is Access.WHITE_BOX and model is not None and not isinstance(model, WhiteBoxDenoiser):
        return "it needs white-box access"
    if method.needs_prompts and probes is not None and probes.members.prompts(range(1)) is None:
        return "it needs the images' prompts, and the probes have none"
    return ""


def _found(kind: Kind, entry: MethodLike) -> Configured:
    """One entry of the argument, with the parameters that it brings."""
    if isinstance(entry, Configured):
        return entry
    if isinstance(entry, str):
        entry = find_method(kind, entry)
    if isinstance(entry, Method):
        return Configured(entry, dict(entry.defaults))
    if not callable(entry):
        argument = kind.argument
        article = "an" if argument[0] in "aeiou" else "a"
        raise UsageError(
            f"`{argument}` must be a name, {article} {argument.capitalize()}, a callable or a list of them, got "
            f"{type(entry).__name__}."
        )
    return Configured(_of_callable(kind, entry), {})


def _by_method(wanted: Sequence[Configured], parameters: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Parameters by method: given directly for one method, by its name for several."""
    names = list(dict.fromkeys(entry.name for entry in wanted))
    keyed = set(parameters) <= set(names) and all(isinstance(value, Mapping) for value in parameters.values())
    if len(names) == 1 and not keyed:
        return {names[0]: parameters}
    unknown = sorted(set(parameters) - set(names))
    if unknown:
        raise UsageError(f"`parameters` must be given by attack ({', '.join(names)}), got {', '.join(unknown)}.")
    return parameters


def _family(entry: Configured, parameters: Mapping[str, Any]) -> list[Configured]:
    """A method at several values of its parameters is as many members of a family, each with its label."""
    method = entry.method
    if parameters and isinstance(method.scores, partial) and method.scores.func in (_in_batches, _in_prompted_batches):
        raise UsageError("`parameters` must be left out for a callable attack. Bind them with functools.partial.")
    given = {**entry.parameters, **parameters}
    several = [
        key
        for key, value in given.items()
        if isinstance(value, (list, tuple))
        and (key in method.required or not isinstance(method.defaults.get(key, ()), (list, tuple)))
    ]
    members = []
    for values in itertools.product(*(given[key] for key in several)):
        chosen = dict(zip(several, values, strict=True))
        label = ", ".join(f"{key} {value}" for key, value in chosen.items())
        members.append(method(**{**given, **chosen}).labelled(label or entry.label))
    if not members:
        raise UsageError(f"`parameters` must give at least one value for {', '.join(several)}, got none.")
    return members


def _distinguished(members: Sequence[Configured]) -> list[Configured]:
    """One method configured several times: each is labelled by the parameters in which they differ."""
    found = []
    for member in members:
        twins = [other for other in members if other.key == member.key]
        differing = [name for name in member.parameters if len({repr(twin.parameters.get(name)) for twin in twins}) > 1]
        own = ", ".join(f"{name} {member.parameters[name]}" for name in differing)
        found.append(member.labelled(", ".join(part for part in (member.label, own) if part)))
    return found


def _of_callable(kind: Kind, function: ScoreFunction) -> Method:
    """A caller's own function as a method that is never answered from the store."""
    name = str(getattr(function, "__name__", type(function).__name__))
    return Method(
        name=name,
        title=name,
        access=None,
        source="the caller's own function",
        kind=kind,
        scores=partial(_in_prompted_batches if takes_prompts(function) else _in_batches, function),
        timesteps=lambda _: (),
    )


def _in_batches(function: ScoreFunction, model: Any, images: torch.Tensor, *, batch_size: int) -> NDArray[np.float64]:
    parts = [function(model, images[part]) for part in in_batches(len(images), batch_size)]
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])


def _in_prompted_batches(
    function: ScoreFunction,
    model: Any,
    images: torch.Tensor,
    *,
    batch_size: int,
    prompts: Sequence[Prompt] | None = None,
) -> NDArray[np.float64]:
    parts = [
        function(model, images[part], prompts=None if prompts is None else prompts[part])
        for part in in_batches(len(images), batch_size)
    ]
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])
