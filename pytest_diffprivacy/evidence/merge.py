"""Merge: the records of a run that was split over machines, joined to one that is judged as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import chain

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.families import WORST_FIRST, declared_apart, run_family
from pytest_diffprivacy.evidence.records import Attempts, Claim, Policy, Run, TestOutcome
from pytest_diffprivacy.evidence.runs import judge_run
from pytest_diffprivacy.evidence.seals import record_digest
from pytest_diffprivacy.statistics.verdict import Verdict


def merge_runs(runs: Sequence[Run]) -> Run:
    """Join the parts of one run; it is PASS if together they hold every audit and each claim held.

    What one part left out counts as judged where another judged it. A claim that several judged counts by its worst.

    Args:
        runs: the record of each part.

    Raises:
        UsageError: they are not parts of one run: another policy, or one name for two models.
    """
    _check(runs)
    parts = sorted(runs, key=lambda run: (run.started, run.run_id))
    claims, attempts = _claims(parts), _attempts(parts)
    tests, no_demonstrations = declared_apart(_tests(parts), claims)
    missing = tuple(dict.fromkeys(text for part in parts for text in part.missing if not _made_up(text, part, parts)))
    gone = _in_all([part.gone for part in parts])
    policy = parts[0].policy
    if policy is not None:
        policy = policy.model_copy(update={"lacking": _lacking([part.policy for part in parts if part.policy])})
    significance = min(part.family.significance if part.family else 0.05 for part in parts)
    family = run_family(claims, tests, attempts, audits=len(tests), significance=significance)
    verdict, reason = judge_run(claims, tests, missing, family=family, attempts=attempts, policy=policy, gone=gone)
    joined = ", ".join(part.run_id for part in parts)
    return parts[0].model_copy(
        update={
            "run_id": "merged-" + hashlib.sha256("".join(map(record_digest, parts)).encode()).hexdigest()[:12],
            "finished": max(part.finished for part in parts),
            "verdict": verdict,
            "verdict_reason": reason,
            "claims": claims,
            "tests": tests,
            "missing": missing,
            "attempts": attempts,
            "gone": gone,
            "family": family,
            "policy": policy,
            "incidents": (
                f"Merged from the runs {joined}.",
                *dict.fromkeys(chain(no_demonstrations, *(p.incidents for p in parts))),
            ),
            "seals": {f"claims/{claim.id}.json": record_digest(claim) for claim in claims},
        }
    )


def _check(runs: Sequence[Run]) -> None:
    if len({run.run_id for run in runs}) < 2 or len({run.run_id for run in runs}) < len(runs):
        raise UsageError("`records` must be those of two or more runs, each given once. Give the record of every part.")
    if len({run.policy.sha256 if run.policy else "" for run in runs}) > 1:
        raise UsageError("`records` must be of runs under one policy, got several. Run all parts from one checkout.")
    digests: dict[str, str] = {}
    for model in (claim.model for run in runs for claim in run.claims if claim.model):
        if digests.setdefault(model.name, model.digest) != model.digest:
            raise UsageError(
                f"`records` must speak of one model {model.name!r}, got two with this name and different digests. "
                "Run all parts on the same weights."
            )


def _claims(parts: Sequence[Run]) -> tuple[Claim, ...]:
    """Every claim once; of one that several parts judged the worst."""
    found: dict[str, Claim] = {}
    for claim in (claim for part in parts for claim in part.claims):
        other = found.get(claim.id)
        if other is None or WORST_FIRST.index(claim.verdict) < WORST_FIRST.index(other.verdict):
            found[claim.id] = claim
    return tuple(sorted(found.values(), key=lambda claim: (claim.node_id, claim.id)))


def _attempts(parts: Sequence[Run]) -> tuple[Attempts, ...]:
    verdicts: dict[str, list[Verdict]] = {}
    for part in parts:
        again = {attempt.claim: attempt.verdicts for attempt in part.attempts}
        for claim in part.claims:
            verdicts.setdefault(claim.id, []).extend(again.get(claim.id, (claim.verdict,)))
    return tuple(
        Attempts(claim=claim, verdicts=tuple(found)) for claim, found in sorted(verdicts.items()) if len(found) > 1
    )


def _tests(parts: Sequence[Run]) -> tuple[TestOutcome, ...]:
    """Every test as the part saw it that ran it; of several a failure before a pass."""
    order = ("failed", "xfailed", "rerun", "xpassed", "passed", "skipped", "not run")
    found: dict[str, TestOutcome] = {}
    for test in (test for part in parts for test in part.tests):
        seen = [test] + ([found[test.node_id]] if test.node_id in found else [])
        found[test.node_id] = min(seen, key=lambda t: order.index(t.outcome) if t.outcome in order else 0)
    made = [name for name in found if not _is_test(name) and any(_has(part, name) for part in parts)]
    return tuple(found[name] for name in sorted(found.keys() - set(made)))


def _made_up(text: str, part: Run, parts: Sequence[Run]) -> bool:
    """Whether another part judged what this one lacks; a test that ran to no judgement stays missing."""
    outcomes = {test.node_id: test.outcome for test in part.tests}
    name = max((node for node in outcomes if text.startswith(f"{node}: ")), key=len, default="")
    if not name or outcomes[name] not in ("not run", "skipped"):
        return False
    return any(_has(other, name) for other in parts if other is not part)


def _has(part: Run, name: str) -> bool:
    """Whether a part judged a test, or collected a file."""
    if any(text.startswith(f"{name}: ") for text in part.missing):
        return False
    if _is_test(name):
        return any(claim.node_id == name for claim in part.claims)
    return any(test.node_id.startswith(f"{name}::") for test in part.tests)


def _is_test(name: str) -> bool:
    return "::" in name


def _lacking(policies: Sequence[Policy]) -> dict[str, tuple[str, ...]]:
    """What no part covers of each model, of the parts that audited it: a claim about another model covers nothing."""
    digests = list(dict.fromkeys(chain(*(policy.lacking for policy in policies))))
    named = [digest for digest in digests if digest] or digests
    return {digest: _in_all([p.lacking[digest] for p in policies if digest in p.lacking]) for digest in named}


def _in_all(listed: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(text for text in listed[0] if all(text in other for other in listed))
