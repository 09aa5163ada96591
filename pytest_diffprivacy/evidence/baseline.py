"""What of a release may be committed, so that the next one can be compared with it on the same probes?

A baseline holds no image, no name, no digest of an image and no score. A score at full precision would be as good as a
digest: whoever has the model and an image computes it and looks it up. What is kept of each probe is its *rank* among
all probes of its claim, in the order of the probes' digests, and one digest of each side as a whole, which only someone
who holds every image of it can confirm. AUROC, its paired variance, and flags at a false positive rate depend on ranks
alone, so nothing is lost for the comparison; but the probes must be the same, one and all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from pytest_diffprivacy.errors import EvidenceError, UsageError
from pytest_diffprivacy.evidence.arrays import write_bytes
from pytest_diffprivacy.evidence.records import Claim, Method, Record, Run
from pytest_diffprivacy.evidence.seals import record_json

BASELINE_VERSION: Final = 1
STANDINGS: Final = "baseline"


class Ranked(Record):
    """One attack's scores as twice their mid-ranks among members and non-members together; higher = more suspicious."""

    members: tuple[int, ...]
    nonmembers: tuple[int, ...]


class Standing(Record):
    """What one claim leaves to be compared with."""

    key: str = Field(description="Node id, kind of claim and its number within the test; the same in every release.")
    sentence: str
    model: str = Field(description="Digest of the model; empty where scores were made elsewhere.")
    method: str = Field(description="Digest of the attacks, their parameters and the seed.")
    members: str = Field(description="Digest of the members as a whole, in no particular order.")
    nonmembers: str = Field(description="The same of the non-members.")
    max_fpr: float | None = Field(default=None, description="False positive rate at which a probe counts as flagged.")
    ranked: dict[str, Ranked] = Field(default={}, description="Attack -> ranks.")
    copies: tuple[bool, ...] = Field(
        default=(), description="Whether each generation, in order of its seed, is a copy."
    )


class Baseline(Record):
    """A whole release."""

    version: int = BASELINE_VERSION
    run_id: str
    claims: tuple[Standing, ...]

    def find(self, key: str) -> Standing | None:
        """The claim of this key; None where the release had none."""
        return next((claim for claim in self.claims if claim.key == key), None)


def read_baseline(path: Path) -> Baseline:
    """A committed baseline.

    Raises:
        UsageError: there is no such file.
        EvidenceError: it is no baseline of this version.
    """
    try:
        found = Baseline.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"`diffprivacy_baseline` must be an existing file, got {path.name!r}. Write it with "
            "--diffprivacy-update-baseline."
        ) from None
    except ValidationError as error:
        raise EvidenceError(f"{path.name!r} is no baseline: {error.errors(include_url=False)[0]['msg']}.") from error
    if found.version != BASELINE_VERSION:
        raise EvidenceError(
            f"{path.name!r} has version {found.version}, this one reads {BASELINE_VERSION}. Make it anew."
        )
    return found


def write_baseline(path: Path, run_id: str, claims: Sequence[Standing]) -> None:
    """Write a baseline; the same claims give the same bytes but for the run's id."""
    found = Baseline(run_id=run_id, claims=tuple(sorted(claims, key=lambda claim: claim.key)))
    write_bytes(path, record_json(found).encode("ascii"))


def update_baseline(path: Path, folder: Path, run: Run) -> int:
    """Write a baseline from what the claims of a run left in its folder; returns how many claims it holds.

    Raises:
        UsageError: the run is not whole, nothing can be paired, or the baseline there has claims that the run lacks.
    """
    found = [Standing.model_validate_json(file.read_bytes()) for file in sorted((folder / STANDINGS).glob("*.json"))]
    if run.verdict in ("ERROR", "INCOMPLETE"):
        raise UsageError(f"The baseline was not updated: the run is {run.verdict}: {run.verdict_reason}.")
    if not found:
        raise UsageError("The baseline was not updated: no claim of this run leaves scores by probe.")
    lost = sorted(
        {claim.key for claim in read_baseline(path).claims} - {claim.key for claim in found} if path.exists() else ()
    )
    if lost:
        raise UsageError(
            f"The baseline was not updated: {len(lost)} of its claims were not judged in this run, e.g. {lost[0]}. "
            f"Run all audits, or delete {path.name} first."
        )
    write_baseline(path, run.run_id, found)
    return len(found)


def standing(
    claim: Claim, key: str, arrays: Mapping[str, NDArray[Any]], sides: Sequence[Sequence[bytes]]
) -> Standing | None:
    """What a judged claim leaves; None where its statistic cannot be paired with another release.

    Args:
        claim: the record.
        key: the same in every release.
        arrays: the arrays that its verdict was computed from.
        sides: digests of members and of non-members, in the order of their scores.
    """
    recipe = claim.recipe
    if recipe is None or len(sides) != 2:
        return None
    method = "|".join([*(_asked(m) for m in claim.methods), str(claim.seed)])
    shared: dict[str, Any] = {
        "key": key,
        "sentence": claim.sentence,
        "model": claim.model.digest if claim.model else "",
        "method": hashlib.sha256(method.encode()).hexdigest(),
        "members": _set_digest(sides[0]),
        "nonmembers": _set_digest(sides[1]),
    }
    if recipe.statistic == "copy_rate":
        return Standing(**shared, copies=tuple(arrays["copy"].astype(bool).tolist()))
    if recipe.statistic not in ("family_tpr", "excess_tpr"):
        return None
    orders = [sorted(range(len(digests)), key=digests.__getitem__) for digests in sides]
    names = [method.name for method in claim.methods]
    pairs = list(zip(recipe.arrays["members"], recipe.arrays["nonmembers"], strict=True))
    ranked = {}
    for place, (first, second) in enumerate(pairs):
        scores = arrays[first], arrays[second]
        if any(len(side) != len(order) for side, order in zip(scores, orders, strict=True)):
            return None
        ordered = [side[order] for side, order in zip(scores, orders, strict=True)]
        twice = np.rint(2.0 * scipy.stats.rankdata(np.concatenate(ordered))).astype(int)
        name = names[place] if len(names) == len(pairs) else str(place)
        ranked[name] = Ranked(
            members=tuple(twice[: len(ordered[0])].tolist()), nonmembers=tuple(twice[len(ordered[0]) :].tolist())
        )
    return Standing(**shared, ranked=ranked, max_fpr=float(recipe.arguments["max_fpr"]))


def _asked(method: Method) -> str:
    """The attack and its parameters; of a score table its column, since every release has another file."""
    own = {key: value for key, value in method.parameters.items() if key not in ("table", "sha256")}
    return method.model_copy(update={"parameters": own}).model_dump_json()


def _set_digest(digests: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()
