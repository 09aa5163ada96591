"""Runs: the conclusion of a whole run from its claims, what became of their tests, and what never ran."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_diffprivacy import policy as limits
from pytest_diffprivacy.errors import EvidenceError, UsageError
from pytest_diffprivacy.evidence.baseline import claims_gone, read_baseline
from pytest_diffprivacy.evidence.families import (
    accusing,
    counted_verdict,
    declared_apart,
    incidents,
    repeated_claims,
    run_family,
)
from pytest_diffprivacy.evidence.records import (
    Attempts,
    Claim,
    ComparisonOutcome,
    Family,
    KnownMethod,
    OptionValue,
    Policy,
    Run,
    TestOutcome,
)
from pytest_diffprivacy.evidence.run_folder import RunFolder
from pytest_diffprivacy.evidence.seals import seal_run
from pytest_diffprivacy.evidence.store import library_versions
from pytest_diffprivacy.options import BY_NAME, CompareRule, Settings
from pytest_diffprivacy.options.redo import PRIVATE_PATHS
from pytest_diffprivacy.statistics.verdict import Verdict

CRASHED = "crashed"
CHECKOUTS = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR")
UNFINISHED = frozenset({"skipped", "rerun", "not run"})


@dataclass(frozen=True, slots=True)
class PytestRun:
    """What pytest saw of a run.

    Attributes:
        started: when it began, UTC.
        command: what was typed.
        expected: node id of every audit test -> "selected" or why not; so for files that may hold some.
        outcomes: node id -> pytest's outcome, detail, whether an earlier run of the test failed, what of it a model is
            declared to demonstrate, and the assertions that raised before they judged.
        incidents: such as a rerun or a lost worker.
    """

    started: datetime
    command: str
    expected: Mapping[str, str] = field(default_factory=dict)
    outcomes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    incidents: Sequence[str] = ()


def conclude_run(
    folder: RunFolder,
    settings: Settings,
    seen: PytestRun,
    *,
    policy: limits.Policy | None = None,
    catalogue: tuple[KnownMethod, ...] = (),
    declared: Mapping[str, str] | None = None,
) -> Run:
    """Join the claims of a run with the outcomes of their tests, judge the run and store its record.

    Args:
        folder: holds the claims that all workers wrote.
        settings: the run's options.
        seen: what pytest saw.
        policy: the limits that bound the run; what no claim covers makes it FAIL.
        catalogue: the methods that are known, for the threat model of a report.
        declared: who audits and what for, by the fields of `declaration`.
    """
    claims = sorted(folder.claims(), key=lambda claim: (claim.node_id, claim.id))
    collected = {node: state for event in folder.events("collected") for node, state in event["audits"].items()}
    expected = {**collected, **seen.expected}
    raised = _raised(seen.outcomes)
    crashed = {node for node, found in seen.outcomes.items() if found.get("detail") == CRASHED}
    nodes = sorted({claim.node_id for claim in claims if claim.node_id} | expected.keys() | raised.keys() | crashed)
    tests, no_demonstrations = declared_apart([_outcome(node, seen.outcomes.get(node, {})) for node in nodes], claims)
    missing = tuple(_missing(tests, claims, expected | raised))
    attempts = repeated_claims(folder)
    significance = round(1.0 - settings.number("confidence"), 12)
    family = run_family(claims, tests, attempts, audits=len(expected.keys() | raised.keys()), significance=significance)
    shown = {test.node_id for test in tests if test.expected_failure}
    bound = _policy(policy, [claim for claim in claims if claim.node_id not in shown]) if policy else None
    gone = _gone(settings, claims)
    rule = settings["compare-fail"]
    assert isinstance(rule, CompareRule)
    due = gone if rule.fails_on(ComparisonOutcome.NOT_COMPARABLE) else ()
    verdict, reason = judge_run(claims, tests, missing, family=family, attempts=attempts, policy=bound, gone=due)
    run = Run(
        run_id=folder.run_id,
        started=seen.started,
        finished=datetime.now(UTC),
        command=seen.command,
        root=_below_repository(settings.root),
        verdict=verdict,
        verdict_reason=reason,
        images=str(settings["images"]),
        claims=tuple(claims),
        tests=tests,
        missing=missing,
        attempts=attempts,
        gone=due,
        family=family,
        policy=bound,
        incidents=(
            *seen.incidents,
            *no_demonstrations,
            *(f"A claim of the last release was not judged: {claim}" for claim in gone),
            *(policy.above if policy else ()),
            *_unsealed(settings),
            *incidents(folder, claims, attempts),
        ),
        options=tuple(_option(name, settings) for name in settings.values),
        versions=dict(library_versions()),
        platform=f"{platform.system()} {platform.machine()}",
        seals=folder.seals(),
        catalogue=catalogue,
        declared=dict(declared or {}),
    )
    seal_run(run, folder.folder)
    return run


def _outcome(node: str, found: Mapping[str, Any]) -> TestOutcome:
    declared = str(found.get("demonstration") or "")
    return TestOutcome(
        node_id=node,
        outcome=str(found.get("outcome", "not run")),
        expected_failure=bool(declared),
        demonstration=declared,
        detail=str(found.get("detail", "")),
    )


def _policy(policy: limits.Policy, claims: Sequence[Claim]) -> Policy:
    """What bound the run, and what of it no claim about one of the models under audit covers, as the pins demand."""
    pins, lacking = policy.pins, {}
    audited = pins.models or sorted({claim.model.digest for claim in claims if claim.model}) or ("",)
    for digest in audited:
        about = [claim for claim in claims if (claim.model.digest if claim.model else "") == digest]
        own = [claim for claim in about if pins.met(_sides(claim), claim.seed)]
        found = [entry.sentence for entry in policy.lacking((claim.name, claim.terms) for claim in own)]
        lacking[digest] = (*found, *(pins.sentences if pins.sentences and not own else ()))
    return Policy(
        origin=policy.origin.name,
        sha256=policy.sha256,
        entries=(*(entry.sentence for entry in policy.entries), *pins.sentences),
        lacking=lacking,
    )


def _sides(claim: Claim) -> Iterator[tuple[str, str, int]]:
    """Digest, role and count of every set of images and prompts of a claim."""
    yield from ((images.digest, images.role, images.count) for images in claim.probes)
    yield from ((prompts.digest, prompts.role, prompts.count) for prompts in claim.prompts)


def _gone(settings: Settings, claims: Sequence[Claim]) -> tuple[str, ...]:
    """What the last release was judged by and this run is not; where this run is to be the baseline, nothing."""
    path = settings.text("baseline")
    if path is None or settings["update-baseline"] or not Path(path).is_file():
        return ()
    try:
        return claims_gone(read_baseline(Path(path)), claims)
    except EvidenceError:  # every claim that was to be compared with it has failed and said so
        return ()


def _unsealed(settings: Settings) -> Iterator[str]:
    """That the last release was read although nothing says that it is as it was written."""
    path = settings.text("baseline")
    with suppress(EvidenceError, UsageError):
        if path is not None and not settings["update-baseline"] and not read_baseline(Path(path)).seal:
            yield f"UNVERIFIED: {Path(path).name} has no seal. Write it anew with --diffprivacy-update-baseline."


def _regressed(claim: Claim) -> bool:
    return claim.comparison is not None and claim.comparison.fails


def _raised(outcomes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Tests in which an assertion raised before it judged, whatever the test made of it."""
    return {node: "; ".join(found["unjudged"]) for node, found in outcomes.items() if found.get("unjudged")}


def _missing(tests: Sequence[TestOutcome], claims: Sequence[Claim], states: Mapping[str, str]) -> Iterator[str]:
    """Audits that did not come to their end."""
    for test in tests:
        own = [claim for claim in claims if claim.node_id == test.node_id]
        state = states.get(test.node_id, "")
        if test.detail == CRASHED:
            yield f"{test.node_id}: the worker that ran it was lost"
        elif state and not own:
            why = state if test.outcome == "not run" or " raised " in state else test.outcome
            yield f"{test.node_id}: {why}, no claim was judged"
        elif " raised " in state:
            yield f"{test.node_id}: {state}, that claim was not judged"
        elif test.outcome in UNFINISHED and all(claim.verdict is Verdict.PASS for claim in own):
            yield f"{test.node_id}: {test.outcome} after {len(own)} of its claims were judged"


def judge_run(
    claims: Sequence[Claim],
    tests: Sequence[TestOutcome],
    missing: Sequence[str],
    *,
    family: Family | None = None,
    attempts: Sequence[Attempts] = (),
    policy: Policy | None = None,
    gone: Sequence[str] = (),
) -> tuple[str, str]:
    """The run's verdict and its reason: the worst that is known; where something did not happen it is never PASS.

    Args:
        claims: all claims of the run.
        tests: what became of their tests.
        missing: audits that did not come to their end.
        family: the claims corrected for their number; without it a refuted claim counts as it is.
        attempts: the claims that were judged more than once; the worst verdict counts.
        policy: the limits that bound the run.
        gone: claims of the last release that this run had to judge and did not.
    """
    judged = accusing(claims, tests)
    of: dict[Verdict, list[Claim]] = {verdict: [] for verdict in Verdict}
    for claim in judged:
        of[counted_verdict(claim, attempts)].append(claim)
    refuted = {member.claim for member in family.members if member.refuted} if family else {c.id for c in judged}
    accused = [claim for claim in of[Verdict.FAIL] if claim.id in refuted]
    shown = {test.node_id for test in tests if test.expected_failure}
    regressed = [claim for claim in claims if _regressed(claim) and claim.node_id not in shown]
    unshown = [claim.node_id for claim in judged if claim.node_id in shown and claim.verdict is Verdict.PASS]
    broken = [test.node_id for test in tests if _broken(test, [c for c in claims if c.node_id == test.node_id])]
    of_them, total = f"of {len(judged)} claims", len(judged)
    if accused:
        verdict, reason = "FAIL", _refuted(len(accused), len(of[Verdict.FAIL]), total, family)
    elif regressed:
        verdict, reason = "FAIL", f"{len(regressed)} {of_them} failed beside the last release"
    elif gone:
        verdict, reason = "FAIL", f"the last release was judged by what this run lacks: {'; '.join(gone)}"
    elif policy and policy.uncovered:
        verdict, reason = "FAIL", f"the policy demands what no claim covers: {'; '.join(policy.uncovered)}"
    elif unshown:
        verdict, reason = "ERROR", f"claims held that a demonstration is to refute: {', '.join(unshown)}"
    elif broken:
        verdict, reason = "ERROR", f"tests failed although their claims held: {', '.join(broken)}"
    elif of[Verdict.ERROR]:
        verdict, reason = "ERROR", f"{len(of[Verdict.ERROR])} {of_them} could not be judged"
    elif missing:
        verdict, reason = "INCOMPLETE", f"{len(missing)} audit tests left no record"
    elif not judged:
        verdict, reason = "INCOMPLETE", "no claim was judged"
    elif of[Verdict.FAIL]:
        size, several = family.size if family else total, f"{len(of[Verdict.FAIL])} {of_them}"
        verdict, reason = "INCONCLUSIVE", f"{several} refuted on their own, none after Holm's correction for {size}"
    elif of[Verdict.INCONCLUSIVE]:
        verdict, reason = "INCONCLUSIVE", f"{len(of[Verdict.INCONCLUSIVE])} {of_them} are undecided"
    else:
        verdict, reason = "PASS", f"all {total} claims hold"
    demonstrated = len(claims) - total
    return verdict, reason + (f"; {demonstrated} more refuted as demonstrations" if demonstrated else "")


def _refuted(accused: int, failed: int, total: int, family: Family | None) -> str:
    """How many claims are refuted; where some are on their own only, how many are after the correction."""
    if accused == failed or family is None:
        return f"{accused} of {total} claims are refuted"
    return f"{failed} of {total} claims FAIL, {accused} of them after Holm's correction for {family.size}"


def _broken(test: TestOutcome, claims: Sequence[Claim]) -> bool:
    """Whether a test failed, as a mark may have expected, although its claims held."""
    held = bool(claims) and all(claim.verdict is Verdict.PASS for claim in claims)
    return held and test.outcome in ("failed", "xfailed") and test.detail != CRASHED


def _below_repository(root: Path) -> str:
    """A folder below the root of its repository, or of what a CI server checked out; empty where that is unknown."""
    above = (root, *root.parents)
    named = [Path(os.environ[name]) for name in CHECKOUTS if os.environ.get(name)]
    found = next((folder for folder in above if (folder / ".git").exists() or folder in named), root)
    return root.relative_to(found).as_posix()


def _place(path: str, root: Path, name: str) -> str:
    """A path as a report may show it: below the project, or its last part; of training data the last part only."""
    if name not in PRIVATE_PATHS and Path(path).is_relative_to(root):
        return Path(path).relative_to(root).as_posix()
    return Path(path).name


def _option(name: str, settings: Settings) -> OptionValue:
    value = settings[name]
    if isinstance(value, tuple):
        text = ", ".join(Path(str(v)).name for v in value)
    elif BY_NAME[name].is_path and value is not None:
        text = _place(str(value), settings.root, name)
    else:
        text = "not set" if value is None else str(value)
    return OptionValue(name=name, value=text, origin=settings.origin(name))
