"""What is the conclusion of a whole run? Its claims, what became of their tests, and what never ran."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_diffprivacy.evidence.fingerprint import library_versions
from pytest_diffprivacy.evidence.records import Claim, OptionValue, Run, TestOutcome
from pytest_diffprivacy.evidence.run_folder import RunFolder
from pytest_diffprivacy.evidence.seals import seal_run
from pytest_diffprivacy.options import BY_NAME, Settings
from pytest_diffprivacy.statistics.verdict import Verdict

PRIVATE_PATHS = frozenset({"members", "nonmembers"})


def conclude_run(
    folder: RunFolder,
    settings: Settings,
    *,
    started: datetime,
    command: str,
    expected: Mapping[str, str],
    outcomes: Mapping[str, Mapping[str, Any]],
) -> Run:
    """Join the claims of a run with the outcomes of their tests, judge the run and store its record.

    Args:
        folder: holds the claims that all workers wrote.
        settings: the run's options.
        started: when it began, UTC.
        command: what was typed.
        expected: node id of every audit test -> "selected" or "deselected".
        outcomes: node id -> pytest's outcome, whether a failure was expected, and detail.
    """
    claims = sorted(folder.claims(), key=lambda claim: (claim.node_id, claim.id))
    recorded = {claim.node_id for claim in claims}
    tests = tuple(
        _outcome(node, outcomes.get(node, {}), [c for c in claims if c.node_id == node])
        for node in sorted(recorded | set(expected))
        if node
    )
    missing = tuple(
        f"{test.node_id}: {expected[test.node_id] if test.outcome == 'not run' else test.outcome}, no claim was judged"
        for test in tests
        if test.node_id in expected and test.node_id not in recorded and test.outcome != "passed"
    )
    verdict, reason = judge_run(claims, tests, missing)
    run = Run(
        run_id=folder.run_id,
        started=started,
        finished=datetime.now(UTC),
        command=command,
        verdict=verdict,
        verdict_reason=reason,
        images=str(settings["images"]),
        claims=tuple(claims),
        tests=tests,
        missing=missing,
        options=tuple(_option(name, settings) for name in settings.values),
        versions=dict(library_versions()),
        platform=f"{platform.system()} {platform.machine()}",
        seals=folder.seals(),
    )
    seal_run(run, folder.folder)
    return run


def _outcome(node: str, found: Mapping[str, Any], claims: Sequence[Claim]) -> TestOutcome:
    """A violation that the test itself expected: it was caught by the test, or marked xfail."""
    outcome = str(found.get("outcome", "not run"))
    violated = any(claim.verdict is Verdict.FAIL for claim in claims)
    return TestOutcome(
        node_id=node,
        outcome=outcome,
        expected_failure=violated and outcome in ("passed", "xfailed"),
        detail=str(found.get("detail", "")),
    )


def judge_run(claims: Sequence[Claim], tests: Sequence[TestOutcome], missing: Sequence[str]) -> tuple[str, str]:
    """The run's verdict and its reason: the worst that is known; where something did not happen it is never PASS."""
    excused = {test.node_id for test in tests if test.expected_failure}
    judged = [c for c in claims if not (c.verdict is Verdict.FAIL and c.node_id in excused)]
    of = {verdict: [c for c in judged if c.verdict is verdict] for verdict in Verdict}
    broken = [
        test.node_id
        for test in tests
        if test.outcome == "failed"
        and all(c.verdict is Verdict.PASS for c in claims if c.node_id == test.node_id)
        and any(c.node_id == test.node_id for c in claims)
    ]
    demonstrated = len(claims) - len(judged)
    suffix = f"; {demonstrated} more failed as their tests expect" if demonstrated else ""
    if of[Verdict.FAIL]:
        return "FAIL", f"{len(of[Verdict.FAIL])} of {len(judged)} claims are refuted{suffix}"
    if of[Verdict.ERROR] or broken:
        names = ", ".join(broken)
        why = f"{len(of[Verdict.ERROR])} of {len(judged)} claims could not be judged"
        return "ERROR", (f"tests failed although their claims held: {names}" if broken else why) + suffix
    if missing or not claims:
        return "INCOMPLETE", (
            f"{len(missing)} audit tests left no record" if missing else "no claim was judged"
        ) + suffix
    if of[Verdict.INCONCLUSIVE]:
        return (
            "INCONCLUSIVE",
            f"{len(of[Verdict.INCONCLUSIVE])} of {len(judged)} claims are undecided{suffix}",
        )
    return "PASS", f"all {len(judged)} claims hold{suffix}"


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
