"""The course of a claim that may stop early: its bounds at every look, kept, charted and told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Findings
from pytest_diffprivacy.evidence.records import Chart, Series
from pytest_diffprivacy.statistics import Verdict, decide
from pytest_diffprivacy.statistics.arguments import IntArray
from pytest_diffprivacy.statistics.early_rate import EarlyRate
from pytest_diffprivacy.statistics.statistic import Stored

DECIDED: Final = (Verdict.PASS, Verdict.FAIL)


class Looked(Protocol):
    """A statistic that bounds a rate at every look."""

    @property
    def confidence(self) -> float:
        """Of each bound."""
        ...

    def trajectory(self, arrays: Stored, looks: IntArray) -> list[EarlyRate]:
        """The bounds at each look."""
        ...


def show_looks(
    findings: Findings,
    statistic: Looked,
    arrays: Stored,
    looks: Sequence[int],
    limit: float,
    *,
    items: str = "generations",
) -> dict[str, dict[str, NDArray[Any]]]:
    """Chart the bounds at the looks that took place, and say where it ended; returns what the record keeps of them.

    Args:
        findings: of the claim.
        statistic: what is judged.
        arrays: by their role in it.
        looks: after how many items there was to be a look; the last of them is the budget.
        limit: of the claim.
        items: what they are; the array "l2" holds a row of each.
    """
    count = len(arrays["l2"][0])
    taken = np.array([look for look in looks if look <= count], dtype=np.int64)
    found = statistic.trajectory(arrays, taken)
    low, high = (np.array([getattr(one, name) for one in found]) for name in ("low", "high"))
    x = tuple(taken.astype(float).tolist())
    findings.charts.append(
        Chart(
            title=f"Bounds at every look, {items} counted",
            x_label=items,
            y_label="rate",
            series=(
                Series(
                    name="rate so far; bounds hold at all looks at once",
                    x=x,
                    y=tuple(one.value for one in found),
                    low=tuple(low.tolist()),
                    high=tuple(high.tolist()),
                ),
                Series(name="limit", x=(x[0], x[-1]), y=(limit, limit)),
            ),
            confidence=statistic.confidence,
            note="The lower bound is of what the control does not explain.",
        )
    )
    budget, certain = looks[-1], decide(found[-1], limit).verdict.value
    bounds = "The bounds hold at all looks at once, whenever one stops."
    if count < budget:
        findings.notes.insert(0, f"Stopped after {count} of {budget} {items}, because {certain} was certain. {bounds}")
    else:
        findings.notes.insert(0, f"All {count} {items} of the budget were made. {bounds}")
    return {"looks": {"looks": taken}, "looks_low": {"looks_low": low}, "looks_high": {"looks_high": high}}


def kept(arrays: Mapping[str, Mapping[str, NDArray[Any]]]) -> Stored:
    """Arrays by role without the names by which a record keeps them."""
    return {role: list(named.values()) for role, named in arrays.items()}
