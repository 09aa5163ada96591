"""Does a GAN give fewer training images back than a diffusion model that was trained on the same ones?

`digits-leaky` and `digits-gan` of `example_audits` saw the same 1,560 rows; both are audited by the same assertion with
the same number of generations and the same unseen images.

Targets: the diffusion model gives back more distinct images than the GAN, and its copy rate's lower bound is above the
GAN's upper bound (Carlini et al. 2023, Table 1: diffusion models give back more than GANs).

    python -m tests.benchmarks.diffusion_vs_gan --json tests/benchmarks/results/diffusion_vs_gan.json
"""

from __future__ import annotations

import sys
from pathlib import Path

from pytest_diffprivacy import Auditor, Inconclusive, PrivacyViolation, assert_no_extraction, load_model
from tests.benchmarks.table import arguments, bounds, conclude

EXAMPLES = Path(__file__).parents[2] / "example_audits"
GENERATIONS = 4096
LIMIT = 0.005


def main() -> int:
    """Print the table."""
    sys.path.insert(0, str(EXAMPLES))
    from digits_gan import digits_gan
    from digits_probes import digits_probes

    parser = arguments(__doc__ or "")
    parser.add_argument("--generations", type=int, default=GENERATIONS, help="a smaller number for a trial")
    given = parser.parse_args()
    probes = digits_probes("digits-leaky")
    targets = (("diffusion", load_model(EXAMPLES / "digits-leaky")), ("GAN", digits_gan()))
    rows = []
    for kind, model in targets:
        judge = Auditor(images="none")
        try:
            assert_no_extraction(
                model, probes, generations=given.generations, max_rate=LIMIT, early_stop=False, auditor=judge
            )
        except (PrivacyViolation, Inconclusive) as outcome:
            print(outcome, file=sys.stderr)
        (claim,) = judge.claims
        assert claim.estimate is not None
        false, extracted = claim.also_measured
        copied = claim.estimate
        rows.append(
            {
                "model": kind,
                "extracted": extracted.counts,
                "copy rate": bounds(copied.value, copied.low, copied.high),
                "unseen images matched": bounds(false.value, false.low, false.high),
                "verdict": str(claim.verdict),
                "share extracted": extracted.value,
                "low": copied.low,
                "high": copied.high,
            }
        )
    diffusion, gan = rows
    met = {
        "the diffusion model gives back more distinct images": diffusion["share extracted"] > gan["share extracted"],
        "its lower bound is above the GAN's upper bound": diffusion["low"] > gan["high"],
    }
    columns = ("model", "extracted", "copy rate", "unseen images matched", "verdict")
    facts = {"generations": given.generations, "limit": LIMIT}
    return conclude(__doc__ or "", columns, rows, met, json_path=given.json, facts=facts)


if __name__ == "__main__":
    sys.exit(main())
