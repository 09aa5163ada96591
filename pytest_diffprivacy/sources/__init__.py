"""Where numbers come from: a model that is asked, a table, arrays, or the stand-ins of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_diffprivacy.audit import Auditor
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.methods import Kind
from pytest_diffprivacy.probes import ProbeSet, ScoreTable
from pytest_diffprivacy.sources.arrays import ArrayScores
from pytest_diffprivacy.sources.model import ModelScores
from pytest_diffprivacy.sources.prompts import PromptScores, prompt_sides
from pytest_diffprivacy.sources.source import Pair, PromptSource, Scores, Source, Vector, is_array
from pytest_diffprivacy.sources.table import TablePrompts, TableScores


def scores_of(
    auditor: Auditor,
    model: object,
    probes: object,
    *,
    kind: str,
    attack: Any,
    default: str,
    parameters: Mapping[str, Any] | None,
    purpose: str,
    confidence: float,
    remedy: str = "Judge by another attack",
    members_only: bool = False,
    single: bool = False,
) -> Source:
    """The source of an assertion's first two arguments.

    Args:
        auditor: who judges or plans.
        model: a model, a ScoreTable or the members' scores.
        probes: a ProbeSet, or the non-members' scores.
        kind: of the methods, e.g. "membership".
        attack: what asks the model; columns of a table; left alone where arrays are given.
        default: what `attack` is where the caller left it out.
        parameters: of the attack.
        purpose: for which a model is needed, in the words of an error.
        confidence: of the claim.
        remedy: what to do where a method ranks members last.
        members_only: whether a model's scores are compared with no non-members.
        single: whether a table may have no more than one column judged.

    Raises:
        UsageError: what is no source of scores.
    """
    if is_array(model) and is_array(probes):
        return ArrayScores(model, probes)
    checked = require_probes(probes, "both arguments arrays of scores")
    if isinstance(model, ScoreTable):
        if single:
            return TableScores(auditor, model, checked, [model.choose_one(attack, default, Kind(kind).argument)])
        return TableScores(auditor, model, checked, model.choose(attack, default))
    return ModelScores(
        auditor, model, checked, kind=kind, attack=attack, parameters=dict(parameters or {}), purpose=purpose,
        confidence=confidence, remedy=remedy, members_only=members_only,
    )  # fmt: skip


def require_probes(probes: object, otherwise: str = "") -> ProbeSet:
    """The probes as a ProbeSet.

    Args:
        probes: what was given in their place.
        otherwise: what else an assertion takes, e.g. "both arguments arrays of scores".

    Raises:
        UsageError: they are none.
    """
    if not isinstance(probes, ProbeSet):
        other = f" (or {otherwise})" if otherwise else ""
        raise UsageError(
            f"`probes` must be a ProbeSet{other}, got {type(probes).__name__}. Pass ProbeSet(members, nonmembers)."
        )
    return probes


__all__ = [
    "ArrayScores",
    "ModelScores",
    "Pair",
    "PromptScores",
    "PromptSource",
    "Scores",
    "Source",
    "TablePrompts",
    "TableScores",
    "Vector",
    "prompt_sides",
    "require_probes",
    "scores_of",
]
