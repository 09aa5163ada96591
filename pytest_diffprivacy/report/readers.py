"""What follows for three readers, each on one screen: an engineer, a board, a data protection officer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from pytest_diffprivacy.declaration import FIELDS
from pytest_diffprivacy.evidence.records import Claim, Run
from pytest_diffprivacy.report.mapping import Bearing, grouped
from pytest_diffprivacy.report.text import NOTHING, one_line, plural
from pytest_diffprivacy.report.threats import Threat
from pytest_diffprivacy.statistics.verdict import Verdict

MOST: Final = 3
"""Claims of one verdict that are spelled out; the table of verdicts has all of them."""
SENTENCE, REASON = 140, 200
RELEASE: Final = {
    "PASS": "This audit found nothing against a release, at the limits that it asked about.",
    "FAIL": "Not as it is: what was demanded of the model is not met.",
    "INCONCLUSIVE": "Not on this evidence: what was demanded is neither shown nor refuted.",
    "ERROR": "Not on this evidence: something that was demanded could not be judged.",
    "INCOMPLETE": "Not on this evidence: audits are missing from it.",
}
MEND: Final = (
    "What is repeated is memorized first. The worst cases name members by id; `python -m pytest_diffprivacy member ID "
    "--members FOLDER` names the file. Remove duplicates, train shorter or mitigate, then audit again."
)
KEEP: Final = "Nothing is to be mended. Keep this record's sha256 apart from it, and pin it at the gate."
BEGINNINGS: Final = {Verdict.FAIL: "Refuted", Verdict.ERROR: "Not judged", Verdict.INCONCLUSIVE: "Undecided"}


def engineer(run: Run) -> list[str]:
    """What to do now, a sentence or two each."""
    judged = [claim for claim in run.claims if claim.node_id not in run.expected_failures]
    steps = [step for verdict in BEGINNINGS for step in _steps(verdict, judged)]
    if any(claim.verdict is Verdict.FAIL for claim in judged):
        steps.append(MEND)
    if run.missing:
        steps.append(f"Run what left no record, {plural(len(run.missing), 'test')}: {_some(run.missing, 60)}.")
    if run.policy and run.policy.uncovered:
        steps.append(f"Write the claims that the policy names and the run lacks: {_some(run.policy.uncovered, 100)}.")
    if not judged:
        steps.append("Nothing was judged about a model under audit: write an audit of it.")
    return steps or [KEEP if run.verdict == "PASS" else f"See why the run ends as {one_line(run.verdict, 20)}."]


def _steps(verdict: Verdict, judged: Sequence[Claim]) -> Iterator[str]:
    own = [claim for claim in judged if claim.verdict is verdict]
    for claim in own[:MOST]:
        told = {Verdict.INCONCLUSIVE: claim.needed or claim.reason, Verdict.ERROR: claim.reason}.get(verdict, "")
        why = f" {one_line(told, REASON).rstrip('.')}." if told else ""
        again = one_line(claim.redo, REASON)
        yield f"{BEGINNINGS[verdict]}: {one_line(claim.sentence, SENTENCE)}.{why} Again alone: {again}"
    if len(own) > MOST:
        yield f"{BEGINNINGS[verdict]}: {plural(len(own) - MOST, 'more claim')}, in the table above."


def board(run: Run, known: Sequence[Threat]) -> list[str]:
    """Whether the model may be released, as far as this audit can tell."""
    said = [RELEASE.get(run.verdict, RELEASE["ERROR"])]
    if run.policy:
        said.append(f"The limits are bound by {one_line(run.policy.origin, 60)}, sha256 {run.policy.sha256[:16]}.")
    else:
        said.append("No policy bound the limits: ask who set them, and whether before any result was seen.")
    for name, missing in (("limits", "Why these limits was not declared."), ("residual_risk", "")):
        told = one_line(run.declared.get(name, ""), REASON)
        said += [f"{FIELDS[name]}: {told.rstrip('.')}."] if told else [missing] if missing else []
    left = sum(bool(threat.why) for threat in known)
    said.append(
        f"{left} of {len(known)} known attacks did not run, and new ones may come. Whether to release is for whoever "
        "signs below; this report is evidence and no decision."
    )
    return said


def officer(run: Run, bearings: Sequence[Bearing]) -> list[tuple[str, str]]:
    """Which places in other texts this evidence serves, and what is missing, as rows of a table."""
    judged = {claim.kind for claim in run.claims if claim.node_id not in run.expected_failures}
    served = [b for b in bearings if judged & set(b.place.kinds)]
    lacking = dict.fromkeys(kind for b in bearings for kind in b.place.kinds if kind not in judged)
    fields = [label for name, label in FIELDS.items() if not run.declared.get(name)]
    return [
        ("It is evidence for", grouped(b.place for b in served) or "none of the texts that this report knows"),
        ("It is none for", grouped(b.place for b in bearings if b not in served) or NOTHING),
        ("Claims that were not made", ", ".join(lacking) or NOTHING),
        ("Not declared", ", ".join(fields) if run.declared else "anything: [tool.diffprivacy.report] is missing"),
    ]


def _some(texts: Sequence[str], longest: int) -> str:
    shown = [one_line(text, longest) for text in texts[:MOST]]
    return "; ".join(shown + ([f"and {len(texts) - MOST} more"] if len(texts) > MOST else []))
