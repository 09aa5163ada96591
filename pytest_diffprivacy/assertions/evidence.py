"""How do scores and methods look in a record? Statistics as curves, histograms and tables, ready to be drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.models.schedule import MatchedTimestep
from pytest_diffprivacy.probes import ScoreTable
from pytest_diffprivacy.statistics import roc_band, roc_curve, score_histogram

FIXED = "fixed before labels were seen"


def method_record(
    *,
    name: str,
    title: str,
    access: str,
    source: str,
    parameters: Mapping[str, Any],
    timesteps: Sequence[MatchedTimestep] = (),
    evaluations: int | None = None,
    threshold: str = "order statistic of the non-members' scores",
    label_use: str = "evaluation only; orientation, timesteps and parameters were " + FIXED,
) -> records.Method:
    """A method with its parameters as text and its timesteps as they were matched."""
    return records.Method(
        name=name,
        title=title,
        access=access,
        source=source,
        parameters={key: _text(value) for key, value in parameters.items()},
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
        label_use=label_use,
        threshold=threshold,
    )


def table_method(table: ScoreTable, column: str) -> records.Method:
    """An attack that was run elsewhere and left a column of scores."""
    return method_record(
        name=column,
        title=f"{column} (scores made elsewhere)",
        access="chosen by the caller",
        source="the caller's own scores, joined by id",
        parameters={"table": table.origin, "sha256": table.sha256 or "made in memory"},
        label_use="evaluation only; what the scores were made with is the caller's to say",
    )


def roc_record(
    title: str,
    members: NDArray[np.float64],
    nonmembers: NDArray[np.float64],
    working_fpr: float,
    limit: float,
    confidence: float,
) -> records.Curve:
    """The ROC, thinned for drawing, with its pointwise band and the working point."""
    curve = roc_curve(members, nonmembers).thinned(200)
    band = roc_band(members, nonmembers, confidence=confidence)
    return records.Curve(
        title=title,
        fpr=tuple(curve.fpr.tolist()),
        tpr=tuple(curve.tpr.tolist()),
        band_fpr=tuple(band.max_fpr.tolist()),
        band_low=tuple(band.low.tolist()),
        band_high=tuple(band.high.tolist()),
        working_fpr=working_fpr,
        limit=limit,
        confidence=confidence,
        smallest_fpr=1.0 / len(nonmembers),
    )


def histogram_record(
    title: str,
    label: str,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    *,
    names: tuple[str, str] = ("members", "non-members"),
    mark: float | None = None,
    mark_label: str = "",
) -> records.Histogram:
    """Two groups over common bins."""
    counted = score_histogram(first, second)
    return records.Histogram(
        title=title,
        label=label,
        edges=tuple(counted.edges.tolist()),
        groups={names[0]: tuple(counted.members.tolist()), names[1]: tuple(counted.nonmembers.tolist())},
        mark=mark,
        mark_label=mark_label,
    )


def tpr_recipe(names: Sequence[tuple[str, str]], max_fpr: float, confidence: float) -> records.Recipe:
    """The TPR at a limited FPR of one or several attacks from their stored scores.

    Args:
        names: for each attack the names of its arrays: members' and non-members' scores.
        max_fpr: allowed share of non-members taken for members.
        confidence: of the claim's bounds.
    """
    return records.Recipe(
        statistic="family_tpr",
        arrays={"members": tuple(first for first, _ in names), "nonmembers": tuple(second for _, second in names)},
        arguments={"max_fpr": max_fpr, "confidence": confidence},
    )


def rate_recipe(hits: str, confidence: float) -> records.Recipe:
    """The share of hits in a stored array.

    Args:
        hits: name of the array, 0 or 1 for each trial.
        confidence: of the claim's bounds.
    """
    return records.Recipe(statistic="rate", arrays={"hits": (hits,)}, arguments={"confidence": confidence})


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(int(value)) if isinstance(value, int) else str(value)
