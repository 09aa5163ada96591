"""Scores of the same images by a base and by its fine-tune: two models that are asked, or two columns of tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, Protocol, TypeAlias, final

import numpy as np

from pytest_diffprivacy.audit import Auditor, Findings, Subject
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.methods import Configured, resolve
from pytest_diffprivacy.models.adapters import INVERSION
from pytest_diffprivacy.models.protocols import Denoiser, require_denoiser
from pytest_diffprivacy.probes import ProbeSet, ScoreTable
from pytest_diffprivacy.sources.asked import asked_of
from pytest_diffprivacy.sources.controls import ELSEWHERE, SILENCE, no_positive_control, positive_control, stop
from pytest_diffprivacy.sources.method_records import method_record, table_method
from pytest_diffprivacy.sources.source import Audited, Pair
from pytest_diffprivacy.sources.split import JudgedSplit, judged_split
from pytest_diffprivacy.sources.wiring import wiring_control

FINETUNED: Final = "fine-tuned"
PURPOSES: Final = {
    "base": "The base of a fine-tune",
    FINETUNED: "A fine-tune",
    "control": "The control of a fine-tune",
}
UNKNOWN = (
    "The scores were made elsewhere. What this run cannot know: whether both models were asked about each image with "
    "the same noise (where they were not, the increase is noisier, and the same leak is missed more often), "
    "and whether one was fine-tuned from the other."
)

Columns: TypeAlias = Mapping[str, tuple[ScoreTable, str]]
"""Role of a model -> its table and column."""


class FinetuneScores(Audited, Protocol):
    """Scores by a base, by its fine-tune and, where there is one, by a fine-tune on other images."""

    @property
    def control(self) -> str | None:
        """Name of the control; None: there is none."""
        ...

    @property
    def split(self) -> JudgedSplit:
        """The split of the probes."""
        ...

    @property
    def equal(self) -> str:
        """What it means if both models give every probe the same score."""
        ...

    def describe(self, findings: Findings) -> None:
        """Record the method, the models, the split and the positive control."""
        ...

    def pair(self, role: str, findings: Findings) -> Pair:
        """Scores of both sides by the model of a role: "base", "fine-tuned" or "control"."""
        ...


def finetune_scores(
    auditor: Auditor,
    models: Mapping[str, object],
    probes: ProbeSet,
    attack: Any,
    parameters: Mapping[str, Any],
) -> FinetuneScores:
    """The source of `assert_finetune_adds_no_leak`'s arguments.

    Args:
        auditor: who computes.
        models: role -> a model or a ScoreTable.
        probes: members and non-members of the fine-tune.
        attack: one attack; of tables the column that all have.
        parameters: of the attack.

    Raises:
        UsageError: a table beside a model, or a column that is not there.
    """
    if not any(isinstance(one, ScoreTable) for one in models.values()):
        return FinetuneModels(auditor, models, probes, attack, parameters)
    columns: dict[str, tuple[ScoreTable, str]] = {}
    for role, table in models.items():
        if not isinstance(table, ScoreTable):
            argument = "finetuned" if role == FINETUNED else role
            raise UsageError(
                f"`{argument}` must be a ScoreTable where another is one, got {type(table).__name__}. Scores made here "
                "and elsewhere have no noise in common."
            )
        columns[role] = table, table.choose_one(attack, "loss", "attack")
    return FinetuneTables(auditor, columns, probes)


@final
class FinetuneModels:
    """Both models, asked with the same noise."""

    unit = "an image"

    def __init__(
        self,
        auditor: Auditor,
        models: Mapping[str, object],
        probes: ProbeSet,
        attack: Any,
        parameters: Mapping[str, Any],
    ) -> None:
        self.model, self._given, self._auditor, self._probes = models[FINETUNED], models, auditor, probes
        self._attack, self._parameters = attack, parameters
        self.counts = probes.members.source_count, probes.nonmembers.source_count

    @cached_property
    def _models(self) -> dict[str, Denoiser]:
        found = {role: require_denoiser(model, PURPOSES[role]) for role, model in self._given.items()}
        _check_models(found)
        return found

    @cached_property
    def _chosen(self) -> Configured:
        chosen = resolve("membership", self._attack, self._parameters)
        if len(chosen) > 1:
            raise UsageError("`attack` must be one attack here, got a family. Judge each attack by a claim of its own.")
        return chosen[0]

    @property
    def slug(self) -> str:
        """The attack."""
        return self._chosen.key

    @property
    def title(self) -> str:
        """The attack."""
        return self._chosen.title

    @property
    def evaluations(self) -> int | None:
        """By all models together."""
        each = self._chosen.evaluations
        return None if each is None else len(self._given) * each

    @property
    def control(self) -> str | None:
        """The control's own name."""
        return self._models["control"].identity.name if "control" in self._models else None

    @cached_property
    def split(self) -> JudgedSplit:
        """The split of the probes."""
        return judged_split(self._auditor, self._probes)

    @property
    def subject(self) -> Subject:
        """The fine-tune and the probes."""
        finetuned = self._models[FINETUNED]
        assert self.slug, "refused where nothing can be asked"
        probes, takes = self.split.probes, self._chosen.task(0).takes_prompts
        told = asked_of(finetuned, (probes.members, probes.nonmembers), takes)
        return Subject(model=finetuned.identity, probes=probes, counts=f"{self.split.counts}, paired", asked=told)

    @property
    def equal(self) -> str:
        """What it means if both models give every probe the same score."""
        adapters = self._models[FINETUNED].identity.adapters
        tokens = [one.name for one in adapters if one.kind == INVERSION]
        if tokens and len(tokens) == len(adapters):
            return (
                "Base and fine-tuned model give every probe the same score: a textual inversion changes only what its "
                f"token says, and no caption names {', '.join(tokens)}. Give captions that do, as in training: "
                "ProbeSet(..., captions=True)."
            )
        return (
            "Base and fine-tuned model give every probe the same score: the adapter changes nothing, or both were made "
            "from one pipeline that holds it now. Load each from a pipeline of its own."
        )

    def describe(self, findings: Findings) -> None:
        """Record the attack on both models, and run its positive control on their difference."""
        chosen = self._chosen
        base, finetuned = self._models["base"], self._models[FINETUNED]
        own = method_record(chosen, finetuned.schedule)
        who = {role: f"{m.identity.name} {m.identity.digest}" for role, m in self._models.items() if role != FINETUNED}
        findings.methods = [_increase_of(own, {**own.parameters, **who}, evaluations=self.evaluations)]
        findings.notes = _schedule_notes(finetuned, base)
        findings.tables.append(_model_table(self._models))
        self.split.note(findings)
        positive_control(self._auditor, finetuned, self.split.probes, chosen, findings, base=base)
        stop(findings, "positive", SILENCE)
        for model in self._models.values():
            wiring_control(self._auditor, model, self.split.probes.nonmembers, findings)

    def pair(self, role: str, findings: Findings) -> Pair:
        """Scores of both sides by one of the models."""
        sides, task = (self.split.probes.members, self.split.probes.nonmembers), self._chosen.task(self._auditor.seed)
        members, nonmembers = (self._auditor.scores(self._models[role], side, task, findings.work) for side in sides)
        return members, nonmembers


@final
class FinetuneTables:
    """A column for each model."""

    slug, evaluations, unit = "table", 0, "an image"

    def __init__(self, auditor: Auditor, columns: Columns, probes: ProbeSet) -> None:
        self._auditor, self._columns, self._probes = auditor, columns, probes
        self.model, column = columns[FINETUNED]
        self.title = f"{column}, scores made elsewhere"
        self.counts = probes.members.source_count, probes.nonmembers.source_count
        self._where = {role: f"column {name!r} of {table.origin}" for role, (table, name) in columns.items()}
        self.control = self._where.get("control")
        self.equal = (
            f"{self._where['base']} and {self._where[FINETUNED]} give every probe the same score: one model was asked "
            "twice."
        )

    @cached_property
    def split(self) -> JudgedSplit:
        """The split of the probes."""
        return judged_split(self._auditor, self._probes)

    @cached_property
    def _joined(self) -> dict[str, Pair]:
        kept = self.split.probes
        return {role: table.join(self._probes, name, kept=kept) for role, (table, name) in self._columns.items()}

    @property
    def subject(self) -> Subject:
        """The probes; a table that does not match them is refused here."""
        assert self._joined
        return Subject(probes=self.split.probes, counts=f"{self.split.counts}, paired")

    def describe(self, findings: Findings) -> None:
        """Record the columns; the other models' are among the parameters."""
        own = table_method(*self._columns[FINETUNED])
        others = {role: name for role, (_, name) in self._columns.items() if role != FINETUNED}
        files = ", ".join(
            f"{role} {table.origin} {table.sha256 or 'made in memory'}" for role, (table, _) in self._columns.items()
        )
        parameters = {**others, "table": files, "sha256": own.parameters["sha256"]}
        findings.methods, findings.notes = [_increase_of(own, parameters)], [UNKNOWN]
        self.split.note(findings)
        no_positive_control(self.title, ELSEWHERE, findings)

    def pair(self, role: str, findings: Findings) -> Pair:
        """Scores of both sides in one of the columns."""
        return self._joined[role]


def _increase_of(
    own: records.Method, parameters: Mapping[str, str], *, evaluations: int | None = None
) -> records.Method:
    return own.model_copy(
        update={
            "title": f"Increase of {own.title} over the base",
            "source": f"{own.source}; Watson et al. 2022",
            "parameters": dict(parameters),
            "evaluations_per_image": evaluations,
            "threshold": "order statistic of the non-members' increases",
        }
    )


def _check_models(models: Mapping[str, Denoiser]) -> None:
    base, seen = models["base"], dict[str, str]()
    for role, model in models.items():
        if model.sample_shape != base.sample_shape or model.image_shape != base.image_shape:
            raise UsageError(
                f"`{role}` must take the base's images {base.image_shape} to {base.sample_shape}, got "
                f"{model.image_shape} to {model.sample_shape}. Both are asked about the same noise."
            )
        digest = model.identity.digest
        if digest in seen:
            raise UsageError(
                f"`{role}` must be another model than the {seen[digest]} one, got the same weights. Load the adapter "
                "into a pipeline of its own, and call load_model after that."
            )
        seen[digest] = role


def _schedule_notes(finetuned: Denoiser, base: Denoiser) -> list[str]:
    mine, other = finetuned.schedule, base.schedule
    if np.array_equal(mine.alphas, other.alphas) and np.array_equal(mine.sigmas, other.sigmas):
        return []
    return [
        "The fine-tuned model has another noise schedule than its base: timesteps of the papers were matched by "
        "signal-to-noise ratio on each; plain ones are each model's own."
    ]


def _model_table(models: Mapping[str, Denoiser]) -> records.Table:
    rows = []
    for role, model in models.items():
        who = model.identity
        adapters = [f"{a.kind} {a.name}{f' at {a.scale}' if a.scale else ''} ({a.digest[:12]})" for a in who.adapters]
        rows.append((role, who.name, who.family, ", ".join(adapters) or "none", who.digest, who.dtype))
    columns = ("role", "name", "family", "adapters", "digest (sha256)", "precision")
    return records.Table(caption="Models that were compared", columns=columns, rows=tuple(rows))
