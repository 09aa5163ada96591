"""Methods as records: a registered method as it was configured, or a caller's own numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.methods import Configured, Published
from pytest_diffprivacy.models.schedule import MatchedTimestep, NoiseSchedule
from pytest_diffprivacy.probes import ScoreTable

BY_ORDER = "order statistic of the non-members' scores"
EVALUATION_ONLY = "evaluation only; orientation, timesteps and parameters were fixed before labels were seen"


def method_record(
    chosen: Configured,
    schedule: NoiseSchedule | None = None,
    *,
    threshold: str = BY_ORDER,
    shown: Mapping[str, Any] | None = None,
) -> records.Method:
    """A method as it was configured, with its timesteps as they were matched.

    Args:
        chosen: the method with its parameters.
        schedule: of the audited model, to which its timesteps are matched; None: it has none.
        threshold: from what score on an image counts, and who set that.
        shown: further parameters that a reader wants to see.
    """
    timesteps = [] if schedule is None else chosen.timesteps(schedule)
    made = published_record(
        chosen.method, {**chosen.parameters, **(shown or {})}, timesteps=timesteps, evaluations=chosen.evaluations,
        threshold=threshold,
    )  # fmt: skip
    return made.model_copy(
        update={
            "name": chosen.key,
            "title": chosen.title,
            "label": chosen.label,
            "function": chosen.function,
            "version": chosen.method.version,
        }
    )


def published_record(
    method: Published,
    parameters: Mapping[str, Any],
    *,
    timesteps: Sequence[MatchedTimestep] = (),
    evaluations: int | None = None,
    threshold: str = BY_ORDER,
    label_use: str = EVALUATION_ONLY,
    access: str = "",
) -> records.Method:
    """A published method with what a claim chose for it.

    Args:
        method: its facts.
        parameters: as a reader wants them.
        timesteps: as they were matched.
        evaluations: of the network, an image; None: unknown, or another unit.
        threshold: from what on an image counts, and who set that.
        label_use: what labels were used for.
        access: that was used, where it is not the method's own.
    """
    return records.Method(
        name=method.name,
        title=method.title,
        access=access or method.access_text,
        source=method.source,
        parameters=shown_parameters(parameters),
        kind=method.kind.value,
        timesteps=tuple(
            records.Timestep(
                requested=t.requested,
                index=t.index,
                requested_log_snr=t.requested_log_snr,
                log_snr=t.log_snr,
                matched=t.matched,
            )
            for t in timesteps
        ),
        evaluations_per_image=evaluations,
        threshold=threshold,
        label_use=label_use,
    )


def external_method(
    name: str,
    title: str,
    source: str,
    parameters: Mapping[str, Any],
    *,
    threshold: str = BY_ORDER,
    label_use: str = EVALUATION_ONLY,
) -> records.Method:
    """A method that ran elsewhere and left numbers."""
    return records.Method(
        name=name,
        title=title,
        access="chosen by the caller",
        source=source,
        parameters=shown_parameters(parameters),
        threshold=threshold,
        label_use=label_use,
    )


def table_method(table: ScoreTable, column: str) -> records.Method:
    """A method that left a column of scores."""
    return external_method(
        column,
        f"{column} (scores made elsewhere)",
        "the caller's own scores, joined by id",
        {"table": table.origin, "sha256": table.sha256 or "made in memory"},
        label_use="evaluation only; what the scores were made with is the caller's to say",
    )


def shown_parameters(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as a record shows them; what is None was not asked for and is left out."""
    return {key: _text(value) for key, value in parameters.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(int(value)) if isinstance(value, int) else str(value)
