"""Planned attacks: what a claim computes for each method, and how the record describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pytest_diffprivacy import methods
from pytest_diffprivacy.assertions.evidence import method_record
from pytest_diffprivacy.engine import ScoreTask
from pytest_diffprivacy.evidence.records import Method
from pytest_diffprivacy.methods import Configured, Kind, MethodLike
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.probes import ProbeSet

AttackLike: TypeAlias = MethodLike


@dataclass(frozen=True, slots=True)
class PlannedAttack:
    """One attack of a claim: what to compute, how the record describes it, and how it is controlled.

    Attributes:
        configured: the attack with its parameters.
        task: what to compute.
        method: its record.
        uncontrolled: why no positive control applies; "" where one does.
        least_timestep: the model's own timestep below which the planted model has no memory; None: it has everywhere.
    """

    configured: Configured
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
    chosen = methods.resolve(Kind.MEMBERSHIP, attack, parameters, model=model, probes=probes)
    notes = methods.notes_on_all(Kind.MEMBERSHIP, model, probes) if attack == methods.ALL else []
    return [_planned(model, member, seed) for member in chosen], notes


def planned_evaluations(
    attack: AttackLike | Sequence[AttackLike], parameters: Mapping[str, Any]
) -> tuple[int | None, str]:
    """Network evaluations an image (None: unknown) and titles of an `attack=` argument, without a model.

    Raises:
        UsageError: an unknown attack or parameter.
    """
    chosen = methods.resolve(Kind.MEMBERSHIP, attack, parameters)
    each = [member.evaluations for member in chosen]
    titles = ", ".join(dict.fromkeys(member.method.title for member in chosen))
    return (None if None in each else sum(number or 0 for number in each)), titles


def family_task(planned: Sequence[PlannedAttack], seed: int) -> ScoreTask:
    """One task for several of our attacks, which share network evaluations on each batch of images."""
    return methods.family_task([plan.configured for plan in planned], seed)


def _planned(model: Denoiser, member: Configured, seed: int) -> PlannedAttack:
    method = method_record(
        name=member.key,
        title=member.title,
        access=member.method.access_text,
        source=member.method.source,
        parameters=member.parameters,
        timesteps=member.timesteps(model.schedule),
        evaluations=member.evaluations,
    ).model_copy(
        update={
            "kind": member.method.kind.value,
            "label": member.label,
            "function": member.function,
            "version": member.method.version,
        }
    )
    least = member.least_timestep(model.schedule)
    return PlannedAttack(member, member.task(seed), method, member.method.uncontrolled, least)
