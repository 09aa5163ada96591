"""The block of aligned lines that a terminal shows for a claim that does not hold."""

from __future__ import annotations

from pathlib import Path

from pytest_diffprivacy.evidence import RunFolder, records
from pytest_diffprivacy.evidence.comparison import comparison_lines
from pytest_diffprivacy.statistics import Verdict

REGRESSED = "The claim holds, but not beside the last release."


def claim_block(claim: records.Claim, run: RunFolder | None) -> str:
    """The aligned block that the terminal shows for a claim that does not hold."""
    regressed = claim.verdict is Verdict.PASS and claim.comparison is not None and claim.comparison.fails
    lines = [REGRESSED if regressed else claim.headline, f"  claim      {claim.sentence}"]
    if claim.estimate is not None:
        e = claim.estimate
        bounds = f"one-sided {e.confidence:.0%} bounds [{e.low:.4g}, {e.high:.4g}]"
        lines += [f"  observed   {e.value:.4g}, {bounds}", f"  counts     {e.counts}"]
    for method in claim.methods:
        shown = ", ".join(f"{k}={v}" for k, v in method.parameters.items())
        lines.append(f"  attack     {method.title}" + (f" ({shown})" if shown else ""))
    lines.append(f"  verdict    {claim.verdict.value} at confidence {claim.confidence:g}: {claim.reason}")
    if claim.comparison is not None:
        lines += [f"  {label:<11}{text}" for label, text in comparison_lines(claim.comparison).items()]
    if claim.needed and claim.needed != claim.reason:
        lines.append(f"  needed     {claim.needed}")
    if run is not None:
        lines.append(f"  evidence   {_shown(run.folder / 'claims' / claim.id)}.json")
    lines.append(f"  redo       {claim.redo}")
    return "\n".join(lines)


def _shown(path: Path) -> str:
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)
