"""How does extraction grow with repetitions, and is an unseen image ever reported?

The two digit models of `example_audits`, 10,000 generations each, by `assert_no_extraction` itself: the share of the
training images that came back, by how often the training set holds them, with one-sided 95 % bounds; the generations
that the same rule takes for copies of unseen images; and the verdicts.

Targets: the leaky model's share grows with the repetitions, its lower bound at 64 above its upper bound at 1; no
generation of it matches an unseen image; it fails, and the release model's bound is below its limit.

    python -m tests.benchmarks.extraction_curve --json tests/benchmarks/results/extraction_curve.json
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pytest_diffprivacy import Auditor, PrivacyViolation, assert_no_extraction, load_model
from pytest_diffprivacy.evidence.records import Claim
from tests.benchmarks.table import arguments, bounds, conclude

EXAMPLES = Path(__file__).parents[2] / "example_audits"
GENERATIONS = 10_000
LIMIT = 0.005


def judged(name: str, generations: int) -> Claim:
    """The claim about one model."""
    sys.path.insert(0, str(EXAMPLES))
    from digits_probes import digits_probes

    judge = Auditor(images="none")
    try:
        assert_no_extraction(
            load_model(EXAMPLES / name),
            digits_probes(name),
            generations=generations,
            max_rate=LIMIT,
            early_stop=False,
            auditor=judge,
        )
    except PrivacyViolation as violation:
        print(violation, file=sys.stderr)
    return judge.claims[0]


def row(model: str, name: str, value: float, low: float, high: float) -> dict[str, Any]:
    """One line of the table."""
    return {"model": model, "what": name, "value": bounds(value, low, high), "low": low, "high": high}


def main() -> int:
    """Print the table."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--generations", type=int, default=GENERATIONS, help="a smaller number for a trial")
    given = parser.parse_args()
    rows, targets = [], {}
    for model in ("digits-leaky", "digits-release"):
        claim = judged(model, given.generations)
        assert claim.estimate is not None
        rows.append(row(model, f"copy rate ({claim.verdict})", claim.estimate.value, claim.low or 0, claim.high or 0))
        rows += [row(model, e.name, e.value, e.low, e.high) for e in claim.also_measured]
        (curve,) = claim.charts[0].series
        for times, share, low, high in zip(curve.x, curve.y, curve.low, curve.high, strict=True):
            rows.append(row(model, f"extracted of those held {times:g} times", share, low, high))
        if model == "digits-leaky":
            targets |= {
                "leaky: shares do not fall with repetitions": list(curve.y) == sorted(curve.y),
                "leaky: lower bound at 64 above the upper bound at 1": curve.low[-1] > curve.high[0],
                "leaky: no generation matches an unseen image": claim.also_measured[0].value == 0.0,
                "leaky: FAIL": claim.verdict == "FAIL",
            }
        else:
            targets["release: the bound is below the limit (PASS)"] = claim.verdict == "PASS"
    return conclude(
        __doc__ or "",
        ("model", "what", "value"),
        rows,
        targets,
        json_path=given.json,
        facts={"generations": given.generations, "limit": LIMIT},
    )


if __name__ == "__main__":
    sys.exit(main())
