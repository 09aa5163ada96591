"""What is a case of `newer_attacks`, and how is an attack set beside a plain one? Rows with intervals, and targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.statistics import auroc, auroc_difference
from tests.benchmarks import ROOT
from tests.benchmarks.table import bounds

KEPT: Final = ROOT / ".diffprivacy" / "newer_attacks"
KNOWN: Final = 0.06
"""Half-width up to which a gain in AUROC counts as measured."""

Scores = NDArray[np.float64]
Pair = tuple[Scores, Scores]


@dataclass(frozen=True, slots=True)
class Case:
    """What a case measured.

    Attributes:
        rows: lines of its table.
        targets: what had to be, and whether it is.
        facts: what else a reader wants.
    """

    rows: list[dict[str, Any]]
    targets: Mapping[str, bool]
    facts: Mapping[str, Any] = field(default_factory=dict)


def kept(name: str, compute: Callable[[], Scores]) -> Scores:
    """An array that is computed once and stored, so that a killed run continues."""
    path = KEPT / f"{name}.npy"
    if not path.exists():
        found = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, found, allow_pickle=False)
    return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)


def area(pair: Pair) -> str:
    """AUROC with one-sided 95 % bounds."""
    found = auroc(*pair)
    return bounds(found.value, found.low, found.high)


def gain_row(attack: str, changed: str, pair: Pair, plain: Pair) -> dict[str, Any]:
    """A changed attack beside the plain one on the same draws, with the paired difference and what it says."""
    gain = auroc_difference(pair, plain)
    said = "helps" if gain.low > 0.0 else "hurts" if gain.high < 0.0 else "no difference shown"
    return {
        "attack": attack, "changed": changed, "members": len(pair[0]), "others": len(pair[1]),
        "AUROC": area(pair), "plain AUROC": area(plain),
        "gain": bounds(gain.value, gain.low, gain.high), "said": said, "width": (gain.high - gain.low) / 2.0,
    }  # fmt: skip


def all_known(rows: list[dict[str, Any]]) -> dict[str, bool]:
    """The target of a comparison whose outcome is open: every gain is measured, whichever way it goes."""
    return {f"every gain is known to within {KNOWN}": all(row["width"] <= KNOWN for row in rows)}
