"""Baseline: what of a release may be committed, so that the next one can be compared with it on the same probes.

A baseline holds no image, no name, no digest of an image and no score. A score at full precision would be as good as a
digest: whoever has the model and an image computes it and looks it up. What is kept of each probe is its *rank* among
all probes of its claim, in the order of the probes' digests, and one digest of each side as a whole, which only someone
who holds every image of it can confirm. AUROC and its paired variance depend on ranks alone, so nothing is lost for the
comparison; but the probes must be the same, one and all.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from pytest_diffprivacy.errors import EvidenceError, UsageError
from pytest_diffprivacy.evidence.arrays import write_bytes
from pytest_diffprivacy.evidence.records import Claim, Method, Record, Run, read_record
from pytest_diffprivacy.evidence.seals import record_digest, record_json
from pytest_diffprivacy.statistics.verdict import Verdict

BASELINE_VERSION: Final = 1
STANDINGS: Final = "baseline"
PAIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "family_tpr": ("members", "nonmembers"),
    "excess_tpr": ("members", "nonmembers"),
    "auroc": ("members", "nonmembers"),
    "mean_difference": ("first", "second"),
    "rate": ("hits",),
    "copy_rate": ("copy",),
}
"""Statistic -> roles of its values by probe: what takes part in a comparison."""
UNPAIRED: Final[Mapping[str, str]] = {
    "group_sequential_auroc": "a sequential test stops where it decides, so two releases score different probes",
    "two_looks_tpr": "a sequential test stops where it decides, so two releases score different probes",
    "sequential_mean": "a sequential test stops where it decides, so two releases score different pairs",
    "dataset_inference": "dataset inference gives one p-value for all probes, and no score of each",
    "alike_rate": "generations that were made elsewhere have no seed by which two releases' could be paired",
    "dcr_share": "generations are compared with all records, and none has a partner in another release",
    "dcr_share_of_counts": "generations are compared with all records, and none has a partner in another release",
    "prompt_rate": "what is flagged at a prompt depends on its cliques of generations, which differ between releases",
    "corrected_rate": "a corrected rate rests on the rule's measured errors besides the generations",
    "relative_loss": "a mitigation is judged by its own pair of runs, with and without it",
    "share_left": "a mitigation is judged by its own pair of runs, with and without it",
    "one_run": "canaries are tossed anew for each training run, so no canary is the same probe twice",
    "recovered_share": "what is drawn out depends on cliques of generations, which differ between releases",
    "usage_share": "the share is of the whole set, and each release has references of its own",
    "erasure": "each release is compared with images never seen, in parts of which no two releases need have the same",
    "one_run_gaussian": "canaries are tossed anew for each training run, so no canary is the same probe twice",
}
NOT_COMPARED: Final = {"kind", "label", "function", "version"}
"""What records say of a method since baselines are committed; its name, title and parameters tell it as before."""


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
    flagged: tuple[bool, ...] = Field(
        default=(), description="Whether each prompt or member, in order of the digests, is beyond an absolute value."
    )


class Baseline(Record):
    """A whole release."""

    version: int = BASELINE_VERSION
    run_id: str
    claims: tuple[Standing, ...]
    seal: str = Field(default="", description="sha256 of this record without its seal; empty in earlier ones.")

    @property
    def own_seal(self) -> str:
        """The seal that its content makes."""
        return record_digest(self.model_copy(update={"seal": ""}))

    def find(self, key: str) -> Standing | None:
        """The claim of this key; None where the release had none."""
        return next((claim for claim in self.claims if claim.key == key), None)


def read_baseline(path: Path) -> Baseline:
    """A committed baseline.

    Raises:
        UsageError: there is no such file.
        EvidenceError: it is no baseline of this version, or not what was sealed.
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
    if found.seal and found.seal != found.own_seal:
        raise EvidenceError(
            f"{path.name!r} is not what was sealed: it was changed after it was written. Restore it, or write it anew "
            "with --diffprivacy-update-baseline."
        )
    return found


def write_baseline(path: Path, run_id: str, claims: Sequence[Standing]) -> None:
    """Write a baseline; the same claims give the same bytes but for the run's id."""
    found = Baseline(run_id=run_id, claims=tuple(sorted(claims, key=lambda claim: claim.key)))
    write_bytes(path, record_json(found.model_copy(update={"seal": found.own_seal})).encode("ascii"))


def update_baseline(path: Path, folder: Path, run: Run) -> int:
    """Write a baseline from what the claims of a run left in its folder; returns how many claims it holds.

    Raises:
        UsageError: the run is not whole, nothing can be paired, or the baseline there has claims that the run lacks.
        EvidenceError: what a claim left is damaged.
    """
    found = [read_record(Standing, file) for file in sorted((folder / STANDINGS).glob("*.json"))]
    if run.verdict in ("ERROR", "INCOMPLETE"):
        raise UsageError(f"The baseline was not updated: the run is {run.verdict}: {run.verdict_reason}.")
    unjudged = [*run.missing, *(f"{c.node_id or c.id}: ERROR" for c in run.claims if c.verdict is Verdict.ERROR)]
    if unjudged:  # a run that FAILs for another claim may lack these as well
        raise UsageError(f"The baseline was not updated: not every audit was judged, e.g. {unjudged[0]}. Run all.")
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


def is_of(slug: str, claim_id: str) -> bool:
    """Whether a claim's id is made from this short name: "mia-secmi-sequential" is not "mia-secmi"."""
    return re.fullmatch(rf"{re.escape(slug)}-[0-9a-f]{{8}}(-\d+)?", claim_id) is not None


def claims_gone(baseline: Baseline, claims: Sequence[Claim]) -> tuple[str, ...]:
    """The claims of the last release that a run did not judge, each by its test and kind."""
    gone = []
    for standing_ in baseline.claims:
        node, slug, number = standing_.key.rsplit(" ", 2)
        similar = sum(claim.node_id == node and is_of(slug, claim.id) for claim in claims)
        if similar < int(number):
            gone.append(f"{node} ({standing_.sentence})")
    return tuple(gone)


def standing(
    claim: Claim, key: str, arrays: Mapping[str, NDArray[Any]], sides: Sequence[Sequence[bytes]]
) -> Standing | None:
    """What a judged claim leaves; None where its statistic cannot be paired with another release.

    Args:
        claim: the record.
        key: the same in every release.
        arrays: the arrays that its verdict was computed from.
        sides: digests of members and of non-members, or of prompts and reference prompts, in the order of their scores.
    """
    recipe = claim.recipe
    if recipe is None or not sides or recipe.statistic not in PAIRED:
        return None
    method = "|".join([*(_method_text(m) for m in claim.methods), str(claim.seed)])
    members, nonmembers = [*sides, ()][:2]
    shared: dict[str, Any] = {
        "key": key,
        "sentence": claim.sentence,
        "model": claim.model.digest if claim.model else "",
        "method": hashlib.sha256(method.encode()).hexdigest(),
        "members": _set_digest(members),
        "nonmembers": _set_digest(nonmembers),
    }
    if recipe.statistic == "copy_rate":
        return Standing(**shared, copies=tuple(arrays["copy"].astype(bool).tolist()))
    orders = [sorted(range(len(digests)), key=digests.__getitem__) for digests in sides]
    if recipe.statistic == "rate":
        (hits,) = recipe.arrays["hits"]
        flags = arrays[hits].astype(bool)
        if len(flags) != len(members):
            return None
        return Standing(**shared, flagged=tuple(flags[orders[0]].tolist()))
    names = [method.name for method in claim.methods]
    pairs = list(zip(*(recipe.arrays[role] for role in PAIRED[recipe.statistic]), strict=True))
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
    max_fpr = recipe.arguments.get("max_fpr")
    return Standing(**shared, ranked=ranked, max_fpr=None if max_fpr is None else float(max_fpr))


def why_unpaired(claim: Claim) -> str:
    """Why a claim leaves nothing that could be paired with another release."""
    statistic = "" if claim.recipe is None else claim.recipe.statistic
    if statistic in PAIRED:
        return "its values by probe have no digests to be paired by: only a part of the probes was scored"
    return UNPAIRED.get(statistic, "this claim leaves no scores by probe that could be paired")


def _method_text(method: Method) -> str:
    """The attack and its parameters; of a score table its column, since every release has another file."""
    own = {key: value for key, value in method.parameters.items() if key not in ("table", "sha256")}
    return method.model_copy(update={"parameters": own}).model_dump_json(exclude=NOT_COMPARED)


def _set_digest(digests: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()
