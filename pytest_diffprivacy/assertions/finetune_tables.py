"""The claim about a fine-tune from scores that were made elsewhere: one table, or one column, a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pytest_diffprivacy.assertions.controls import ELSEWHERE, no_positive_control
from pytest_diffprivacy.assertions.evidence import table_method
from pytest_diffprivacy.assertions.finetune_increase import Increase
from pytest_diffprivacy.assertions.split import judged_split
from pytest_diffprivacy.audit import Auditor, Findings, Question
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Claim, Method
from pytest_diffprivacy.probes import ProbeSet, ScoreTable
from pytest_diffprivacy.statistics import ExcessTpr

UNKNOWN = (
    "The scores were made elsewhere. What this run cannot know: whether both models were asked about each image with "
    "the same noise (where they were not, the increase is noisier, and the same leak is missed more often), "
    "and whether one was fine-tuned from the other."
)

Columns = Mapping[str, tuple[ScoreTable, str]]
"""Role of a model -> its table and column."""


def finetune_columns(base: object, finetuned: object, control: object | None, attack: object) -> Columns | None:
    """The columns that stand in the place of the models; None: models are to be asked.

    Raises:
        UsageError: a table beside a model, a column that is not there, or one column twice.
    """
    given = {"base": base, "finetuned": finetuned} | ({} if control is None else {"control": control})
    if not any(isinstance(one, ScoreTable) for one in given.values()):
        return None
    found: dict[str, tuple[ScoreTable, str]] = {}
    for role, table in given.items():
        if not isinstance(table, ScoreTable):
            raise UsageError(
                f"`{role}` must be a ScoreTable where another is one, got {type(table).__name__}. Scores made here and "
                "elsewhere have no noise in common."
            )
        found[role] = table, table.choose_one(attack, "loss", "attack")
    return found


def judge_finetune_tables(
    judge: Auditor, question: Question, columns: Columns, probes: ProbeSet, *, max_fpr: float
) -> Claim:
    """Judge the increase of the scores in one column over those in another.

    Args:
        judge: who judges.
        question: the claim without probes, counts and the columns' names.
        columns: as `finetune_columns` found them.
        probes: whom the ids must match, one and all.
        max_fpr: allowed share of non-members taken for members.

    Raises:
        UsageError: a table that does not match the probes, or the others, one to one.
    """
    gate = judged_split(judge, probes)
    joined = {role: table.join(probes, column, kept=gate.probes) for role, (table, column) in columns.items()}
    column = columns["finetuned"][1]
    title = f"{column}, scores made elsewhere"
    where = {role: f"column {name!r} of {table.origin}" for role, (table, name) in columns.items()}
    asked = replace(
        question,
        probes=gate.probes,
        counts=f"{len(gate.probes.members)} members, {len(gate.probes.nonmembers)} non-members, paired",
    )
    increase = Increase(
        name=column,
        title=title,
        judged=f"Increase of {title}",
        equal=f"{where['base']} and {where['finetuned']} give every probe the same score: one model was asked twice.",
        max_fpr=max_fpr,
        limit=question.limit,
        confidence=question.confidence,
        seed=judge.seed,
    )

    def measure(findings: Findings) -> ExcessTpr:
        findings.methods, findings.notes = [_method(columns)], [UNKNOWN]
        gate.note(findings)
        no_positive_control(title, ELSEWHERE, findings)
        control = (where["control"], lambda: joined["control"]) if "control" in joined else None
        return increase.measured(findings, joined["base"], joined["finetuned"], gate, control)

    return judge.judge(asked, measure)


def _method(columns: Columns) -> Method:
    """The column of the fine-tuned model; the others among its parameters, without their files' digests in the name."""
    own = table_method(*columns["finetuned"])
    others = {role: name for role, (_, name) in columns.items() if role != "finetuned"}
    files = ", ".join(
        f"{role} {table.origin} {table.sha256 or 'made in memory'}" for role, (table, _) in columns.items()
    )
    return own.model_copy(
        update={
            "title": f"Increase of {own.title} over the base",
            "source": f"{own.source}; Watson et al. 2022",
            "parameters": {**others, "table": files, "sha256": own.parameters["sha256"]},
            "threshold": "order statistic of the non-members' increases",
        }
    )
