"""How often was each claim judged? Reruns and retries are allowed, but they are written down, and they count."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from pytest_diffprivacy.evidence.records import Attempts, Claim
from pytest_diffprivacy.evidence.run_folder import RunFolder
from pytest_diffprivacy.statistics.verdict import Verdict

WORST_FIRST = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASS)
RUNS_SEARCHED = 100


def repeated_claims(folder: RunFolder) -> tuple[Attempts, ...]:
    """The claims that this run judged more than once, with every verdict in order."""
    verdicts: dict[str, list[Verdict]] = {}
    for event in folder.events("claim"):
        verdicts.setdefault(str(event["claim"]), []).append(Verdict(event["verdict"]))
    return tuple(
        Attempts(claim=claim, verdicts=tuple(found)) for claim, found in sorted(verdicts.items()) if len(found) > 1
    )


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
                yield from _against(claim, json.loads(earlier.read_bytes()), path.name)


def _against(claim: Claim, earlier: Mapping[str, object], run_id: str) -> Iterator[str]:
    """An earlier attempt at the same claim about the same model, where it was not the same computation."""
    model = earlier.get("model")
    digest = model.get("digest") if isinstance(model, dict) else None
    if digest != (claim.model.digest if claim.model else None):
        return
    seed, verdict = earlier.get("seed"), earlier.get("verdict")
    if seed != claim.seed or verdict != claim.verdict:
        whom = "about the same model" if claim.model else "from scores made elsewhere"
        yield (
            f"{claim.node_id or claim.id} was judged before {whom}, in run {run_id} with seed {seed}: "
            f"{verdict}; now with seed {claim.seed}: {claim.verdict.value}."
        )
