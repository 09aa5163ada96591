"""Verification: does a record follow from its evidence? Every digest is checked, every verdict computed again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from pytest_diffprivacy.errors import EvidenceError, InsufficientProbes, UsageError
from pytest_diffprivacy.evidence.arrays import read_arrays
from pytest_diffprivacy.evidence.families import run_family
from pytest_diffprivacy.evidence.records import Claim, ControlOutcome, Run, read_record
from pytest_diffprivacy.evidence.run_folder import evidence_name
from pytest_diffprivacy.evidence.runs import judge_run
from pytest_diffprivacy.evidence.seals import RUN_FILE, SEAL_FILE, file_digest, record_digest
from pytest_diffprivacy.statistics.statistic import recompute, recomputed_p_value
from pytest_diffprivacy.statistics.verdict import Decision, Verdict, decide

UNVERIFIED: Final = "UNVERIFIED"
"""The verdict of a record that is shown although it is not what was sealed."""
TOLERANCE = 1e-9
P_TOLERANCE = 1e-3
"""P-values are found by bisection, to less than a hundredth of a percent."""
"""Relative difference below which two computations of a bound are one: other versions of scipy round differently."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        subject: what, e.g. "evidence of mia-secmi-1a2b3c4d".
        problem: how it differs, or that it is absent although the record names it; empty where it is as it should be.
        note: what a reader should know although nothing differs.
        absent: whether there was nothing to compare it with.
    """

    subject: str
    problem: str = ""
    note: str = ""
    absent: bool = False

    @property
    def label(self) -> str:
        """What it came to, in a word or two."""
        if self.problem:
            return "ABSENT" if self.absent else "DIFFERS"
        return "NOT COMPARED" if self.absent else "ok"


def read_run(path: Path) -> tuple[Run, Path]:
    """A run's record from its folder or from a JSON report, and the file it was read from.

    Raises:
        UsageError: there is no such file.
        EvidenceError: the file is no record of a run.
    """
    file = path / RUN_FILE if path.is_dir() else path
    if not file.exists():
        raise UsageError(f"`record` must be a run's folder or a JSON report, got {str(path)!r}. No such file.")
    return read_record(Run, file), file


def sealed_run(path: Path, *, root: Path | None = None, unverified: bool = False) -> Run:
    """A run's record, if its seals hold: its claims are those that were sealed, and its verdict follows from them.

    The seal in the run's folder is compared as well where the folder is there. No file of evidence is read.

    Args:
        path: the run's folder, or a JSON report.
        root: the evidence folder, as for `verify_run`.
        unverified: return the record all the same, with the verdict UNVERIFIED and what it says as the reason.

    Raises:
        UsageError: there is no such record.
        EvidenceError: it cannot be read, or it is not what was sealed.
    """
    run, file = read_run(path)
    checks = _seal_checks(run, file, _run_folder(run, path, root), None)
    wrong = next((check for check in checks if check.problem and not check.absent), None)
    if wrong is None:
        return run
    why = f"{wrong.subject}: {wrong.problem}"
    if not unverified:
        raise EvidenceError(f"{str(file)!r} is not what was sealed: {why}. --unverified goes on all the same.")
    said = f"the record is not what was sealed ({why}); it says {run.verdict}: {run.verdict_reason}"
    return run.model_copy(update={"verdict": UNVERIFIED, "verdict_reason": said})


def verify_run(path: Path, *, root: Path | None = None, digest: str | None = None) -> Iterator[Check]:
    """Check a record against itself, its seal, its evidence and a digest that was kept elsewhere.

    No file outside the run's folder is read, whatever the record names.

    Args:
        path: the run's folder, or a JSON report.
        root: the evidence folder, which holds the run's folder; by default `.diffprivacy`, unless the folder is given.
        digest: sha256 of the record as it was printed when the run ended; None: not compared.

    Yields:
        A check each; the first one with a problem is the first difference.

    Raises:
        UsageError: there is no such record.
        EvidenceError: the record cannot be read.
    """
    run, file = read_run(path)
    folder = _run_folder(run, path, root)
    yield from _seal_checks(run, file, folder, digest)
    for name, expected in sorted(run.seals.items()):
        yield _file(f"file {name}", folder, name, expected)
    for claim in run.claims:
        yield from verify_claim(claim, folder)


def _run_folder(run: Run, path: Path, root: Path | None) -> Path:
    if Path(run.run_id).name != run.run_id or run.run_id in ("", ".."):
        raise EvidenceError(f"{str(path)!r} is no record of a run: its id {run.run_id!r} is no name of a folder.")
    return path if path.is_dir() and root is None else (root or Path(".diffprivacy")) / "runs" / run.run_id


def _seal_checks(run: Run, file: Path, folder: Path, digest: str | None) -> Iterator[Check]:
    """The record against itself, and against its digests."""
    for claim in run.claims:
        yield _sealed(run, claim)
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
    found, subject = file_digest(file), f"record {file.name}"
    if found != record_digest(run):
        yield Check(subject, "its text is not the one that its content makes")
    if digest is not None:
        yield _same(subject, found, digest.removeprefix("sha256:"), "the digest that was given")
    seal = _inside(folder, SEAL_FILE)
    if seal is not None and seal.is_file():
        yield _same(subject, found, seal.read_text(encoding="ascii", errors="replace").split(" ")[0], SEAL_FILE)
    elif digest is None:
        why = f"sha256 {found} is compared with nothing: there is no {str(folder / SEAL_FILE)!r}, and no digest"
        yield Check(subject, why, absent=True)


def _same(subject: str, found: str, expected: str, where: str) -> Check:
    return Check(subject, "" if found == expected else f"sha256 is {found}, {where} says {expected}")


def _sealed(run: Run, claim: Claim) -> Check:
    name = f"claims/{claim.id}.json"
    expected, found = run.seals.get(name), record_digest(claim)
    problem = "" if found == expected else f"sha256 is {found}, the run's record says {expected or 'nothing'}"
    return Check(f"claim {claim.id}", problem)


def _inside(folder: Path, name: str) -> Path | None:
    """A file of the run's folder; None where its name, or a link on the way to it, leads out of the folder."""
    path = folder / name
    return path if path.resolve().is_relative_to(folder.resolve()) else None


def _file(subject: str, folder: Path, name: str, expected: str) -> Check:
    path = _inside(folder, name)
    if path is None:
        return Check(subject, f"{name!r} lies outside the run's folder and was not read")
    try:
        found = file_digest(path)
    except OSError as error:
        absent = isinstance(error, (FileNotFoundError, NotADirectoryError))
        return Check(subject, f"cannot read {str(path)!r}: {error.strerror or error}", absent=absent)
    return Check(subject, "" if found == expected else f"{str(path)!r} has sha256 {found}, the record says {expected}")


def verify_claim(claim: Claim, folder: Path) -> Iterator[Check]:
    """Check a claim against its controls and evidence files in its run's folder, then judge it again from them."""
    yield _controlled(claim)
    arrays: dict[str, NDArray[Any]] = {}
    for artifact in claim.artifacts:
        name = evidence_name(artifact)
        checked = _file(f"evidence of {claim.id}", folder, name, artifact.sha256)
        yield checked
        if checked.problem:
            return
        try:
            arrays |= read_arrays(folder / name)
        except EvidenceError as error:
            yield Check(f"evidence of {claim.id}", str(error))
            return
    yield _redone(claim, arrays)


def _controlled(claim: Claim) -> Check:
    """A failed control leaves no verdict but ERROR or INCONCLUSIVE."""
    failed = [control.name for control in claim.controls if control.outcome is ControlOutcome.FAILED]
    judged = claim.verdict in (Verdict.PASS, Verdict.FAIL)
    problem = f"{claim.verdict.value} beside a failed control: {', '.join(failed)}" if failed and judged else ""
    return Check(f"controls of {claim.id}", problem)


def _redone(claim: Claim, arrays: dict[str, NDArray[Any]]) -> Check:
    """Compute the verdict again. A control may have lowered it to INCONCLUSIVE or ERROR, nothing may have raised it."""
    subject = f"verdict of {claim.id}: {claim.verdict.value}"
    open_verdict = claim.verdict in (Verdict.INCONCLUSIVE, Verdict.ERROR)
    recipe = claim.recipe
    if recipe is None or any(name not in arrays for names in recipe.arrays.values() for name in names):
        why = "the record names no statistic" if recipe is None else "its arrays are not stored"
        problem = "" if open_verdict else f"cannot be computed again: {why}"
        return Check(subject, problem, f"not computed again: {why}", absent=open_verdict)
    try:
        roles = {role: [arrays[name] for name in names] for role, names in recipe.arrays.items()}
        decision = decide(recompute(recipe.statistic, roles, recipe.arguments), claim.limit)
        p_value = recomputed_p_value(recipe.statistic, roles, recipe.arguments, claim.limit)
    except InsufficientProbes as error:
        return Check(subject, "" if open_verdict else f"it is undefined: {error}")
    except (UsageError, ValueError) as error:
        return Check(subject, f"cannot be computed again: {error}")
    return Check(subject, *_compared(claim, decision, p_value, open_verdict))


def _compared(claim: Claim, decision: Decision, p_value: float | None, open_verdict: bool) -> tuple[str, str]:
    numbers = claim.estimate
    if numbers is not None:
        for name in ("value", "low", "high", "confidence"):
            recorded, found = getattr(numbers, name), getattr(decision, name)
            if not math.isclose(recorded, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
                return f"{name} is {found!r} from the evidence, the record says {recorded!r}", ""
    if claim.p_value is not None and (
        p_value is None or not math.isclose(claim.p_value, p_value, rel_tol=P_TOLERANCE, abs_tol=TOLERANCE)
    ):
        return f"the p-value is {p_value!r} from the evidence, the record says {claim.p_value!r}", ""
    if claim.verdict is decision.verdict:
        return "", ""
    if open_verdict and numbers is None:
        return "", f"the scores alone would say {decision.verdict.value}; not judged because: {claim.reason}"
    if open_verdict:
        return "", f"the scores alone say {decision.verdict.value}; lowered because: {claim.reason}"
    return f"the evidence says {decision.verdict.value}: {decision.reason}", ""
