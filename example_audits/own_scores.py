"""How are scores audited that another program made? Joined by id, judged like any attack's; no model is loaded."""

from __future__ import annotations

from pathlib import Path

from pytest_diffprivacy import ProbeSet, ScoreTable, assert_mia_auroc_below
from pytest_diffprivacy.evidence.records import Claim


def audit(path: Path, probes: ProbeSet) -> Claim:
    """Judge column `my_attack` of a CSV; `id` is an image's sha256, its path, or "member 0", "non-member 0", ...

    A higher score must mean more likely a member. An image without a score, or a score without an image, is refused.
    """
    return assert_mia_auroc_below(ScoreTable.read(path), probes, attack="my_attack", limit=0.9)
