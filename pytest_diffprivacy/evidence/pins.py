"""Pins: what a release gate expects of a record, given to the gate by somebody who did not write the audit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Claim, Run

SKEW: Final = timedelta(minutes=5)
"""By how much the clocks of two machines may differ."""


@dataclass(frozen=True, slots=True)
class Pins:
    """What must be so for a record to be the one that a gate waits for; what is empty may be anything.

    Attributes:
        run_id: of the run.
        model_digests: each was audited, and no other model was.
        probes_digests: digests of members, non-members or prompts; each was used, and in its role no other was.
        newer_than: the run began after this.
        policy_sha256: of the policy that bound the run.
    """

    run_id: str = ""
    model_digests: Sequence[str] = ()
    probes_digests: Sequence[str] = ()
    newer_than: datetime | None = None
    policy_sha256: str = ""

    def differences(self, run: Run) -> Iterator[str]:
        """What of a run is not as it is expected; nothing where it is."""
        if self.run_id and run.run_id != self.run_id:
            yield f"run id {run.run_id}, expected {self.run_id}"
        if self.newer_than and run.started <= self.newer_than:
            yield f"run of {run.started.isoformat()}, expected one after {self.newer_than.isoformat()}"
        if self.newer_than and run.started > datetime.now(UTC) + SKEW:
            yield f"run of {run.started.isoformat()}, which is still to come"
        policy = run.policy.sha256 if run.policy else "none"
        if self.policy_sha256 and policy != _bare(self.policy_sha256):
            yield f"policy {policy}, expected {_bare(self.policy_sha256)}"
        counted = [claim for claim in run.claims if claim.node_id not in run.expected_failures]
        models = {(claim.model.digest, "model") for claim in counted if claim.model}
        yield from _unlike(models, self.model_digests, "model")
        yield from _unlike({side for claim in counted for side in _sides(claim)}, self.probes_digests, "probes")


def _sides(claim: Claim) -> Iterator[tuple[str, str]]:
    """Digest and role of every set of images and prompts of a claim."""
    yield from ((images.digest, images.role) for images in claim.probes)
    yield from ((prompts.digest, prompts.role) for prompts in claim.prompts)


def _unlike(found: set[tuple[str, str]], expected: Sequence[str], what: str) -> Iterator[str]:
    """What was expected and is not there, and what is there in the same role although it was not expected."""
    wanted = {_bare(digest) for digest in expected}
    roles = {role for digest, role in found if digest in wanted}
    for digest in sorted(wanted - {digest for digest, _ in found}):
        yield f"no claim about {what} {digest}"
    for digest, role in sorted(found):
        if role in roles and digest not in wanted:
            yield f"a claim about another {role}, {digest}"


def _bare(digest: str) -> str:
    return digest.removeprefix("sha256:").lower()


def moment(text: str) -> datetime:
    """A time in ISO 8601; in UTC where it names no zone.

    Raises:
        UsageError: it is no time.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"`--newer-than` must be a time such as 2025-03-14T09:26:53Z, got {text!r}.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
