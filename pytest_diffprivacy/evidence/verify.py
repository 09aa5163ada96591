"""Verification: does a record follow from its evidence? Every digest is checked, every verdict computed again."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import ValidationError

from pytest_diffprivacy.errors import EvidenceError, InsufficientProbes, UsageError
from pytest_diffprivacy.evidence.arrays import read_arrays
from pytest_diffprivacy.evidence.families import run_family
from pytest_diffprivacy.evidence.records import Claim, Run
from pytest_diffprivacy.evidence.runs import judge_run
from pytest_diffprivacy.evidence.seals import RUN_FILE, SEAL_FILE, file_digest, record_digest
from pytest_diffprivacy.statistics.statistic import recompute
from pytest_diffprivacy.statistics.verdict import Decision, Verdict, decide

TOLERANCE = 1e-9
"""Relative difference below which two computations of a bound are one: other versions of scipy round differently."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        subject: what, e.g. "evidence of mia-secmi-1a2b3c4d".
        problem: how it differs; empty where it does not.
        note: what a reader should know although nothing differs.
    """

    subject: str
    problem: str = ""
    note: str = ""


def read_run(path: Path) -> tuple[Run, Path]:
    """A run's record from its folder or from a JSON report, and the file it was read from.

    Raises:
        UsageError: there is no such file.
        EvidenceError: the file is no record of a run.
    """
    file = path / RUN_FILE if path.is_dir() else path
    try:
        return Run.model_validate_json(file.read_bytes()), file
    except FileNotFoundError:
        raise UsageError(
            f"`record` must be a run's folder or a JSON report, got {str(path)!r}. No such file."
        ) from None
    except OSError as error:
        raise EvidenceError(f"Cannot read {str(file)!r}: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise EvidenceError(f"{str(file)!r} is no record of a run: {where}: {first['msg']}.") from error


def verify_run(path: Path, *, root: Path | None = None, digest: str | None = None) -> Iterator[Check]:
    """Check a record against itself, against its evidence and against a digest that was kept elsewhere.

    Args:
        path: the run's folder, or a JSON report.
        root: the evidence folder; by default the one that holds the run's folder, or `.diffprivacy` for a report.
        digest: sha256 of the record as it was printed when the run ended; None: not compared.

    Yields:
        A check each; the first one with a problem is the first difference.

    Raises:
        UsageError: there is no such record.
        EvidenceError: the record cannot be read.
    """
    run, file = read_run(path)
    root = root or (file.resolve().parents[2] if path.is_dir() else Path(".diffprivacy"))
    folder = root / "runs" / run.run_id
    for claim in run.claims:
        yield _sealed(run, claim)
    for name, expected in sorted(run.seals.items()):
        yield _file(f"file {name}", folder / name, expected)
    for claim in run.claims:
        yield from verify_claim(claim, root)
    family = run.family
    if family is not None:
        again = run_family(run.claims, run.tests, run.attempts, audits=family.audits, significance=family.significance)
        yield Check("family of the run", "" if again == family else f"its claims make another one: {again!r}")
        family = again
    verdict, reason = judge_run(
        run.claims, run.tests, run.missing, family=family, attempts=run.attempts, policy=run.policy, gone=run.gone
    )
    same = (verdict, reason) == (run.verdict, run.verdict_reason)
    yield Check(f"verdict of the run: {run.verdict}", "" if same else f"its claims and tests say {verdict}: {reason}")
    yield _whole(run, file, digest)


def _whole(run: Run, file: Path, digest: str | None) -> Check:
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    stored = file.parent / SEAL_FILE if file.name == RUN_FILE else None
    if digest is not None:
        expected, where = digest.removeprefix("sha256:"), "the digest that was given"
    elif stored is not None and stored.exists():
        expected, where = stored.read_text(encoding="ascii", errors="replace").split(" ")[0], SEAL_FILE
    else:
        note = f"sha256 {found}, compared with nothing: give the digest that the run printed"
        written = found == record_digest(run)
        return Check(f"record {file.name}", "" if written else "its text is not the one that its content makes", note)
    return Check(f"record {file.name}", "" if found == expected else f"sha256 is {found}, {where} says {expected}")


def _sealed(run: Run, claim: Claim) -> Check:
    name = f"claims/{claim.id}.json"
    expected, found = run.seals.get(name), record_digest(claim)
    problem = "" if found == expected else f"sha256 is {found}, the run's record says {expected or 'nothing'}"
    return Check(f"claim {claim.id}", problem)


def _file(subject: str, path: Path, expected: str) -> Check:
    try:
        found = file_digest(path)
    except OSError as error:
        return Check(subject, f"cannot read {str(path)!r}: {error.strerror or error}")
    return Check(subject, "" if found == expected else f"{str(path)!r} has sha256 {found}, the record says {expected}")


def verify_claim(claim: Claim, root: Path) -> Iterator[Check]:
    """Check a claim against its evidence files below the evidence folder, then judge it again from them."""
    arrays: dict[str, NDArray[Any]] = {}
    for artifact in claim.artifacts:
        checked = _file(f"evidence of {claim.id}", root / artifact.path, artifact.sha256)
        yield checked
        if checked.problem:
            return
        try:
            arrays |= read_arrays(root / artifact.path)
        except EvidenceError as error:
            yield Check(f"evidence of {claim.id}", str(error))
            return
    yield _redone(claim, arrays)


def _redone(claim: Claim, arrays: dict[str, NDArray[Any]]) -> Check:
    """Compute the verdict again. A control may have lowered it to INCONCLUSIVE or ERROR, nothing may have raised it."""
    subject = f"verdict of {claim.id}: {claim.verdict.value}"
    open_verdict = claim.verdict in (Verdict.INCONCLUSIVE, Verdict.ERROR)
    recipe = claim.recipe
    if recipe is None or any(name not in arrays for names in recipe.arrays.values() for name in names):
        why = "the record names no statistic" if recipe is None else "its arrays are not stored"
        return Check(subject, "" if open_verdict else f"cannot be computed again: {why}", f"not computed again: {why}")
    try:
        roles = {role: [arrays[name] for name in names] for role, names in recipe.arrays.items()}
        decision = decide(recompute(recipe.statistic, roles, recipe.arguments), claim.limit)
    except InsufficientProbes as error:
        return Check(subject, "" if open_verdict else f"it is undefined: {error}")
    except (UsageError, ValueError) as error:
        return Check(subject, f"cannot be computed again: {error}")
    return Check(subject, *_compared(claim, decision, open_verdict))


def _compared(claim: Claim, decision: Decision, open_verdict: bool) -> tuple[str, str]:
    numbers = claim.estimate
    if numbers is not None:
        for name in ("value", "low", "high", "confidence"):
            recorded, found = getattr(numbers, name), getattr(decision, name)
            if not math.isclose(recorded, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
                return f"{name} is {found!r} from the evidence, the record says {recorded!r}", ""
    if claim.verdict is decision.verdict:
        return "", ""
    if open_verdict and numbers is None:
        return "", f"the scores alone would say {decision.verdict.value}; not judged because: {claim.reason}"
    if open_verdict:
        return "", f"the scores alone say {decision.verdict.value}; lowered because: {claim.reason}"
    return f"the evidence says {decision.verdict.value}: {decision.reason}", ""
