"""What did a network evaluation cost in earlier runs? Found in the records of the store, for plans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pydantic import ValidationError

from pytest_diffprivacy.evidence.records import Claim

RUNS_SEARCHED = 20


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds an evaluation of one image takes, by the claims of earlier runs.

    Attributes:
        seconds: median over the claims.
        claims: how many.
        model: whose; empty: several models'.
    """

    seconds: float
    claims: int
    model: str


def evaluation_cost(root: Path, model: str) -> Cost | None:
    """The cost in the last runs of a store: of the model of this name if there is one, else of any; None: unknown.

    Only claims that computed everything count; what was reused took no time.
    """
    found: dict[str, list[float]] = {}
    for folder in sorted((root / "runs").glob("*"))[-RUNS_SEARCHED:]:
        for path in sorted((folder / "claims").glob("*.json")):
            try:
                claim = Claim.model_validate_json(path.read_bytes())
            except ValidationError:  # of another version: it says nothing here
                continue
            evaluations = _evaluations(claim)
            if evaluations and claim.model and claim.work.units_computed and not claim.work.units_reused:
                found.setdefault(claim.model.name, []).append(claim.work.seconds / evaluations)
    own = found.get(model)
    chosen = own or [seconds for costs in found.values() for seconds in costs]
    return Cost(median(chosen), len(chosen), model if own else "") if chosen else None


def _evaluations(claim: Claim) -> int:
    """Network evaluations behind a claim's scores, an image each; 0 where the record does not say."""
    each = [method.evaluations_per_image for method in claim.methods]
    if not each or None in each:
        return 0
    return sum(number or 0 for number in each) * sum(images.count for images in claim.probes)
