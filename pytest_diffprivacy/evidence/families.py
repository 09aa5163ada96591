"""Families: the claims of a run taken together, each with every attempt at it. PASS needs all, FAIL is corrected.

Reruns and retries are allowed, but they are written down, and they count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_diffprivacy.errors import EvidenceError
from pytest_diffprivacy.evidence.records import Attempts, Claim, Family, FamilyMember, TestOutcome, read_record
from pytest_diffprivacy.evidence.run_folder import RunFolder
from pytest_diffprivacy.statistics.p_values import holm
from pytest_diffprivacy.statistics.verdict import Verdict

WORST_FIRST = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASS)
RUNS_SEARCHED = 100
CORRECTION = (
    "PASS needs every claim (intersection-union, no correction); FAIL is corrected by Holm for all audits collected "
    "and every attempt at a claim"
)


def repeated_claims(folder: RunFolder) -> tuple[Attempts, ...]:
    """The claims that this run judged more than once, with every verdict in order."""
    verdicts: dict[str, list[Verdict]] = {}
    for event in folder.events("claim"):
        verdicts.setdefault(str(event["claim"]), []).append(Verdict(event["verdict"]))
    return tuple(
        Attempts(claim=claim, verdicts=tuple(found)) for claim, found in sorted(verdicts.items()) if len(found) > 1
    )


def declared_apart(
    tests: Sequence[TestOutcome], claims: Sequence[Claim]
) -> tuple[tuple[TestOutcome, ...], tuple[str, ...]]:
    """The tests, less what is no demonstration although it is declared one, and the names of those.

    A model that other tests audit is under audit: what is refuted of it stays refuted, whatever a test declares.
    """
    shown = {test.node_id for test in tests if test.expected_failure}
    audited = {claim.model.digest for claim in claims if claim.model and claim.node_id not in shown}
    both = {c.node_id for c in claims if c.model and c.node_id in shown and c.model.digest in audited}
    kept = tuple(t.model_copy(update={"expected_failure": False}) if t.node_id in both else t for t in tests)
    return kept, tuple(
        f"{name} is declared a demonstration, of a model that is under audit here: it counts." for name in sorted(both)
    )


def accusing(claims: Sequence[Claim], tests: Sequence[TestOutcome]) -> list[Claim]:
    """The claims that may accuse a model: all but the refutations that a demonstration is for."""
    shown = {test.node_id for test in tests if test.expected_failure}
    return [claim for claim in claims if not (claim.verdict is Verdict.FAIL and claim.node_id in shown)]


def counted_verdict(claim: Claim, attempts: Sequence[Attempts]) -> Verdict:
    """The worst verdict of all attempts: a rerun cannot buy a PASS."""
    verdicts = {claim.verdict}.union(*(again.verdicts for again in attempts if again.claim == claim.id))
    return next(verdict for verdict in WORST_FIRST if verdict in verdicts)


def incidents(folder: RunFolder, claims: Sequence[Claim], attempts: Sequence[Attempts]) -> Iterator[str]:
    """What a reader of the run must know about repeated judging, in this run and before it."""
    nodes = {claim.id: claim.node_id for claim in claims}
    for again in attempts:
        times, shown = len(again.verdicts), ", ".join(again.verdicts)
        yield f"{nodes.get(again.claim) or again.claim} was judged {times} times: {shown}. The worst counts."
    before = [path for path in sorted(folder.folder.parent.glob("*")) if path.name < folder.run_id][-RUNS_SEARCHED:]
    for claim in claims:
        for path in before:
            earlier = path / "claims" / f"{claim.id}.json"
            if earlier.exists():
                try:
                    yield from _against(claim, read_record(Claim, earlier), path.name)
                except EvidenceError as error:
                    yield f"An earlier record of {claim.node_id or claim.id} is damaged, in run {path.name}: {error}"


def _against(claim: Claim, earlier: Claim, run_id: str) -> Iterator[str]:
    """An earlier attempt at the same claim about the same model, or scores, where it was not the same computation."""
    if _judged(earlier) != _judged(claim):
        return
    if (earlier.seed, earlier.verdict) != (claim.seed, claim.verdict):
        whom = "about the same model" if claim.model else "from scores made elsewhere"
        yield (
            f"{claim.node_id or claim.id} was judged before {whom}, in run {run_id} with seed {earlier.seed}: "
            f"{earlier.verdict.value}; now with seed {claim.seed}: {claim.verdict.value}."
        )


def _judged(claim: Claim) -> tuple[str, ...]:
    """Digest of what a claim is about: its model, or the scores that were made elsewhere."""
    return (claim.model.digest,) if claim.model else tuple(artifact.sha256 for artifact in claim.artifacts)


def run_family(
    claims: Sequence[Claim],
    tests: Sequence[TestOutcome],
    attempts: Sequence[Attempts],
    *,
    audits: int,
    significance: float,
) -> Family:
    """Correct the claims of a run for their number.

    Args:
        claims: all claims of the run.
        tests: what became of their tests; refutations of a demonstration accuse nobody.
        attempts: the claims that were judged more than once.
        audits: audit tests collected, deselected ones included, which was fixed before any of them was run.
        significance: of the family.

    Source: Implements METHODS 7.8.
    """
    times = {again.claim: len(again.verdicts) for again in attempts}
    silent = {test.node_id for test in tests} - {claim.node_id for claim in claims}
    size = len(silent) + sum(times.get(claim.id, 1) for claim in claims)
    judged = accusing(claims, tests)
    p_values = [_p_value(claim, counted_verdict(claim, attempts)) for claim in judged]
    corrected = holm(p_values, significance=significance, size=max(size, audits))
    return Family(
        audits=audits,
        size=corrected.size,
        significance=significance,
        correction=CORRECTION,
        members=tuple(
            FamilyMember(claim=claim.id, p_value=p, adjusted=adjusted, refuted=refuted)
            for claim, p, adjusted, refuted in zip(judged, p_values, corrected.adjusted, corrected.refuted, strict=True)
        ),
    )


def _p_value(claim: Claim, verdict: Verdict) -> float:
    """Of the claim; where it left none, a refuted one has at most its significance and any other says nothing."""
    if verdict is Verdict.FAIL:
        at_most = 1.0 - claim.confidence
        return at_most if claim.p_value is None or claim.verdict is not Verdict.FAIL else min(claim.p_value, at_most)
    return 1.0 if claim.p_value is None or verdict is Verdict.ERROR else claim.p_value
