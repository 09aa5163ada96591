"""Where numbers come from: a model that is asked, a table, arrays, or the stand-ins of a plan."""

from __future__ import annotations

from pytest_diffprivacy.audit import Auditor
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.methods import Kind
from pytest_diffprivacy.probes import ProbeSet, ScoreTable
from pytest_diffprivacy.sources.arrays import ArrayScores
from pytest_diffprivacy.sources.black_box import GeneratorScores, black_box_methods
from pytest_diffprivacy.sources.model import ModelScores
from pytest_diffprivacy.sources.prompts import PromptScores, images_beside, prompt_sides
from pytest_diffprivacy.sources.source import Pair, PromptSource, Scores, Source, Vector, Wanted, is_array
from pytest_diffprivacy.sources.table import TablePrompts, TableScores


def scores_of(auditor: Auditor, model: object, probes: object, wanted: Wanted) -> Source:
    """The source of an assertion's first two arguments.

    Args:
        auditor: who judges or plans.
        model: a model, a ScoreTable or the members' scores.
        probes: a ProbeSet, or the non-members' scores.
        wanted: what is to be scored.

    Raises:
        UsageError: what is no source of scores.
    """
    if is_array(model) and is_array(probes):
        return ArrayScores(model, probes, reference=wanted.reference)
    checked = require_probes(probes, "both arguments arrays of scores")
    if not isinstance(model, ScoreTable):
        blind = black_box_methods(wanted)
        if blind:
            return GeneratorScores(auditor, model, checked, wanted, blind)
        return ModelScores(auditor, model, checked, wanted)
    columns = model.choose(wanted.attack, wanted.default)
    if wanted.single:
        columns = (model.choose_one(wanted.attack, wanted.default, Kind(wanted.kind).argument),)
    return TableScores(auditor, model, checked, columns, wanted.reference)


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
    "Wanted",
    "images_beside",
    "prompt_sides",
    "require_probes",
    "scores_of",
]
