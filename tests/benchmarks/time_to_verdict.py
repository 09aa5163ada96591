"""How many probes, generations and network evaluations until a verdict, before and now, and is it as often wrong?

"Before" is what the same claim took with a fixed number and the half-half split: 4,096 generations (the default), pairs
one by one or one look at an AUROC, and probes by the half-half split for a TPR. "Now" is simulated on the statistics
that claims use: extraction that stops at the look that decides, an AUROC in few looks, the exact split. Models without
a leak (to PASS) and with one (to FAIL) at three limits each; "90 %" is the number within which nine runs of ten decide,
"mean" that of all runs, those that end undecided counted at their budget; the ratio is to the former for extraction, to
the latter for what is scored. A generation takes 50 network evaluations, an
image 11 (SecMI).

Then the errors at the limit, 2,000 runs a case: each generation looked at; copies of one popular image, at every look;
prompts; an AUROC of normal scores of equal and of four times the width, of rare flags and of a top group.

Targets: extraction passes 0.01 with at least 10 times fewer generations; an AUROC passes 0.6 with at least 2.5 times
fewer than pair by pair and 1.25 times fewer than one look; a TPR of 0.1 FAILs 0.02 with at least 1.15 times fewer; no
error is above 5 % by more than two standard errors of the simulation.

    python -m tests.benchmarks.time_to_verdict --json tests/benchmarks/results/time_to_verdict.json
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pytest_diffprivacy.statistics import auroc, excess_trials_needed, probes_needed_for_auroc
from pytest_diffprivacy.statistics.copies import copying_luck
from pytest_diffprivacy.statistics.early_plan import look_sizes, share_at_zero
from pytest_diffprivacy.statistics.early_rate import clean_log_capital, excess_log_capital
from pytest_diffprivacy.statistics.exact_split import Split, lower_split, threshold_rates
from pytest_diffprivacy.statistics.group_sequential import group_sequential_auroc
from pytest_diffprivacy.statistics.ranks import find_ranks
from pytest_diffprivacy.statistics.sample_size import verdict_chance
from pytest_diffprivacy.statistics.sequential import betting_log_capital, mixture_log_capital
from pytest_diffprivacy.statistics.two_looks import two_looks_tpr
from tests.benchmarks.table import Figure, arguments, conclude

COLUMNS = ("claim", "limit", "truth", "verdict", "before", "how", "mean", "90 %", "ratio", "evaluations", "were")
ERRORS = ("case", "limit", "runs", "false FAIL", "false PASS")
RUNS, COURSES = 2_000, 400
GENERATIONS, STEPS, ATTACK = 4_096, 50, 11
SIGNIFICANCE, SURE = 0.05, 0.9
GOAL = -math.log(SIGNIFICANCE)
EXTRACTION = ((0.05, 0.3), (0.01, 0.05), (0.001, 0.01))
AUROCS = ((0.55, 0.65), (0.6, 0.7), (0.7, 0.8))
TPRS = ((0.01, 0.05), (0.02, 0.1), (0.05, 0.2))
MAX_FPR, MOST_PROBES = 0.01, 2_500
IMAGES, POPULAR = 300, 0.3

Vector = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], tuple[Vector, Vector]]


def row(claim: str, limit: float, truth: float, before: float, how: str, after: Vector, each: int) -> dict[str, Any]:
    """A line of the table; `after`: of each run."""
    late = float(np.quantile(after, SURE, method="inverted_cdf"))
    cost = late if claim == "extraction" else float(after.mean())
    return {
        "claim": claim,
        "limit": limit,
        "truth": truth,
        "verdict": "FAIL" if truth > limit else "PASS",
        "before": round(before),
        "how": how,
        "mean": round(float(after.mean()), 1),
        "90 %": round(late),
        "ratio": round(float(before / cost), 3),
        "evaluations": round(cost * each),
        "were": round(before * each),
    }


def extraction_stops(limit: float, rate: float) -> Vector:
    """Generations of each run until a look decides, 4,096 at the most."""
    at_zero = share_at_zero(limit, GENERATIONS)
    looks = np.array(look_sizes(limit, GENERATIONS, at_zero=at_zero))
    stream, n, stops = np.random.default_rng([17, round(1e6 * limit)]), np.arange(1, GENERATIONS + 1), np.empty(RUNS)
    for run in range(RUNS):
        copies = np.cumsum(stream.random(GENERATIONS) < rate)
        above = clean_log_capital(copies, n, limit, at_zero) > GOAL
        below = excess_log_capital(copies, np.zeros_like(copies), n, limit) > GOAL
        first = int(np.argmax(above | below)) + 1 if (above | below).any() else GENERATIONS
        stops[run] = looks[np.searchsorted(looks, first)]
    return stops


def extraction_rows() -> list[dict[str, Any]]:
    """Models that copy nothing, and a share above the limit."""
    found = []
    for limit, leak in EXTRACTION:
        for rate in (0.0, leak):
            stops = extraction_stops(limit, rate)
            found.append(row("extraction", limit, rate, GENERATIONS, "all generations", stops, STEPS))
            known = excess_trials_needed(rate, 0.0, limit, power=SURE)
            if known is not None:
                found.append(row("extraction", limit, rate, known, "a fixed number that knew", stops, STEPS))
    return found


def normal(area: float, width: float = 1.0) -> Draw:
    """Normal scores of this AUROC; members of another width."""
    shift = math.hypot(1.0, width) * float(special.ndtri(area))
    return lambda stream, n: (width * stream.normal(size=n) + shift, stream.normal(size=n))


def flagged(area: float) -> Draw:
    """2 % of the others are flagged, and as many more of the members as make this AUROC."""
    share = 0.02 + 2.0 * area - 1.0
    return lambda stream, n: ((stream.random(n) < share) * 1.0, (stream.random(n) < 0.02) * 1.0)


def top_group(area: float) -> Draw:
    """A share of the members is above all others, the rest like them."""
    share = 2.0 * area - 1.0
    return lambda stream, n: (stream.normal(size=n) + 50.0 * (stream.random(n) < share), stream.normal(size=n))


def auroc_runs(limit: float, pairs: int, draw: Draw, runs: int) -> tuple[Vector, NDArray[np.int64]]:
    """Members of each run until it stops, and its verdict: 1 FAIL, -1 PASS, 0 neither."""
    given, stream = group_sequential_auroc(limit, pairs), np.random.default_rng([18, round(1e4 * limit), pairs])
    stops, verdicts = np.full(runs, float(pairs)), np.zeros(runs, dtype=np.int64)
    for run in range(runs):
        members, others = draw(stream, pairs)
        for one in given.trajectory({"members": [members], "nonmembers": [others]}):
            if one.low > limit or one.high <= limit:
                stops[run], verdicts[run] = one.pairs, 1 if one.low > limit else -1
                break
    return stops, verdicts


def pair_by_pair(limit: float, area: float, most: int) -> Vector:
    """Pairs of each run until the betting test of single pairs decides."""
    stream, stops = np.random.default_rng([19, round(1e4 * limit)]), np.empty(COURSES)
    for run in range(COURSES):
        members, others = normal(area)(stream, most)
        x = (members > others).astype(np.float64)
        over = betting_log_capital(x, limit, SIGNIFICANCE) > GOAL
        over |= betting_log_capital(1.0 - x, 1.0 - limit, SIGNIFICANCE) > GOAL
        stops[run] = int(np.argmax(over)) + 1 if over.any() else most
    return stops


def auroc_rows() -> list[dict[str, Any]]:
    """Scores without a leak, and of a larger AUROC than allowed; with as many pairs as decide, and four times them."""
    places, found = (np.arange(4_000) + 0.5) / 4_000, []
    for limit, leak in AUROCS:
        for area in (0.5, leak):
            shift = math.sqrt(2.0) * float(special.ndtri(area))
            ideal = auroc(special.ndtri(places) + shift, special.ndtri(places))
            once = probes_needed_for_auroc(ideal, limit, power=SURE)
            assert once is not None
            single = float(pair_by_pair(limit, area, 40 * once).mean())
            for times in (1.1, 4.0):
                stops, _ = auroc_runs(limit, math.ceil(times * once), normal(area), COURSES)
                hand = f"; {math.ceil(times * once)} at hand"
                found.append(row("AUROC", limit, area, once, "one look" + hand, stops, 2 * ATTACK))
                found.append(row("AUROC", limit, area, single, "pair by pair" + hand, stops, 2 * ATTACK))
    return found


def fail_chance(n: int, limit: float, leak: float, *, exact: bool) -> float:
    """Chance that n of each refute the limit, if both sides' scores are normal."""
    half = SIGNIFICANCE / 2.0
    split = Split(find_ranks(n, MAX_FPR, half).low, half)
    if exact:
        split = lower_split(n, n, MAX_FPR, SIGNIFICANCE, limit)
    if split.rank is None:
        return 0.0
    shift = float(special.ndtri(leak) - special.ndtri(MAX_FPR))
    rates = special.ndtr(special.ndtri(threshold_rates(split.rank, n)) + shift)
    return verdict_chance(n, rates, limit, split.rate, fails=True)


def tpr_rows() -> list[dict[str, Any]]:
    """With how many of each a leak FAILs in nine runs of ten: the first such number, and from which on all are.

    The chance is not monotone in the number, since ranks are whole numbers.
    """
    found = []
    for limit, leak in TPRS:
        needed = []
        for exact in (False, True):
            chances = np.array([fail_chance(n, limit, leak, exact=exact) for n in range(MOST_PROBES)])
            enough = chances >= SURE
            needed.append((int(np.argmax(enough)), int(np.flatnonzero(~enough)[-1]) + 1))
        names = ("half-half split, first", "half-half split, from then on")
        for how, before, after in zip(names, *needed, strict=True):
            found.append(row("TPR", limit, leak, before, how, np.array([float(after)]), 2 * ATTACK))
    return found


def two_looks_rows() -> list[dict[str, Any]]:
    """One look at all probes against two, by the chance that the first look decides."""
    found = []
    for pairs in (600, 900, 2_000):
        for leak in (MAX_FPR, 0.3):
            given = two_looks_tpr(pairs, pairs, max_fpr=MAX_FPR, limit=0.05)
            first, stream = given.looks[0], np.random.default_rng([23, pairs])
            shift, stops = float(special.ndtri(leak) - special.ndtri(MAX_FPR)), np.full(COURSES, float(pairs))
            for run in range(COURSES):
                sides = stream.normal(size=first.members) + shift, stream.normal(size=first.nonmembers)
                if given.decided({"members": [sides[0]], "nonmembers": [sides[1]]}):
                    stops[run] = first.members
            truth = 0.0 if leak == MAX_FPR else leak
            found.append(row("TPR, two looks", 0.05, truth, pairs, "one look at all", stops, 2 * ATTACK))
    return found


def two_looks_error(pairs: int) -> dict[str, Any]:
    """Normal scores whose TPR at the FPR is the limit."""
    limit, wrong, stream = 0.05, np.zeros(2), np.random.default_rng([24, pairs])
    given, shift = (
        two_looks_tpr(pairs, pairs, max_fpr=MAX_FPR, limit=limit),
        float(special.ndtri(limit) - special.ndtri(MAX_FPR)),
    )
    for _ in range(RUNS):
        sides = stream.normal(size=pairs) + shift, stream.normal(size=pairs)
        last = given.trajectory({"members": [sides[0]], "nonmembers": [sides[1]]})[-1]
        wrong += [last.low > limit, last.high < limit]
    return error(f"TPR in two looks, {pairs} of each", limit, wrong, RUNS)


def rate_errors(limit: float, false: float) -> dict[str, Any]:
    """Generations at the limit, looked at after each of 4,096; the control matches a share of them."""
    stream, n, wrong = np.random.default_rng([20, round(1e6 * limit)]), np.arange(1, GENERATIONS + 1), np.zeros(2)
    for _ in range(RUNS):
        drawn = stream.random(GENERATIONS)
        above, below = np.cumsum(drawn < limit + false), np.cumsum(drawn > 1.0 - false)
        wrong += [
            bool((excess_log_capital(above, below, n, limit) > GOAL).any()),
            bool((clean_log_capital(above, n, limit + false) > GOAL).any()),
        ]
    return error(f"extraction, false matches {false:g}", limit, wrong, RUNS)


def popular_error(limit: float, images: int) -> dict[str, Any]:
    """Nothing was learned: 3 % of the generations match one of 600 images, three in ten of them popular ones."""
    stream, looks, wrong = np.random.default_rng([21, images]), look_sizes(limit, 1_000), np.zeros(2)
    for _ in range(RUNS):
        split = stream.permutation(2 * IMAGES) < IMAGES
        popular = stream.integers(2 * IMAGES, size=images)
        image = np.where(
            stream.random(1_000) < POPULAR, stream.choice(popular, 1_000), stream.integers(2 * IMAGES, size=1_000)
        )
        matched = stream.random(1_000) < 0.03
        members, unseen = matched & split[image], matched & ~split[image]
        capital = excess_log_capital(np.cumsum(members), np.cumsum(unseen), np.arange(1, 1_001), limit)
        over = np.maximum.accumulate(capital)
        for look in looks:
            luck = 1.0
            if over[look - 1] > GOAL:
                luck = copying_luck(image[:look][members[:look]], image[:look][unseen[:look]], IMAGES)
            if luck <= SIGNIFICANCE:
                wrong[0] += 1
                break
    return error(f"extraction, nothing learned, {images} popular image(s)", limit, wrong, RUNS)


def prompt_errors(limit: float) -> dict[str, Any]:
    """Prompts at the limit without a control, looked at after each of 200."""
    stream, n, wrong = np.random.default_rng(22), np.arange(1, 201), np.zeros(2)
    for _ in range(RUNS):
        hits = (stream.random(200) < limit).astype(np.float64)
        capitals = mixture_log_capital(hits, limit, SIGNIFICANCE), clean_log_capital(np.cumsum(hits), n, limit)
        wrong += [bool((capital > GOAL).any()) for capital in capitals]
    return error("prompts without a control", limit, wrong, RUNS)


def auroc_error(limit: float, pairs: int, kind: str, draw: Draw) -> dict[str, Any]:
    """Scores whose AUROC is the limit; a hair inside it counts for FAIL, outside for PASS."""
    _, verdicts = auroc_runs(limit, pairs, draw, RUNS)
    wrong = np.array([(verdicts == 1).sum(), (verdicts == -1).sum()], dtype=np.float64)
    return error(f"AUROC, {pairs} of each, {kind}", limit, wrong, RUNS)


def error(case: str, limit: float, wrong: Vector, runs: int) -> dict[str, Any]:
    """A line of the table of errors."""
    fail, passed = (float(count / runs) for count in wrong)
    return {"case": case, "limit": limit, "runs": runs, "false FAIL": fail, "false PASS": passed}


def errors() -> list[dict[str, Any]]:
    """All cases."""
    found = [rate_errors(limit, false) for limit in (0.01, 0.05) for false in (0.0, 0.05)]
    found += [popular_error(limit, images) for limit in (0.0, 0.001) for images in (1, 3)]
    found += [prompt_errors(limit) for limit in (0.05, 0.2)]
    kinds = {"normal": normal, "members wider": lambda a: normal(a, 4.0), "rare flags": flagged, "top group": top_group}
    found += [two_looks_error(pairs) for pairs in (600, 2_000)]
    cases = [(155, kind) for kind in kinds] + [(400, kind) for kind in kinds]
    found += [auroc_error(0.6, pairs, kind, kinds[kind](0.6)) for pairs, kind in cases]
    return found


def ratio(rows: list[dict[str, Any]], claim: str, limit: float, verdict: str, how: str) -> float:
    """The smallest ratio of the lines that are about this."""
    return min(
        r["ratio"]
        for r in rows
        if (r["claim"], r["limit"], r["verdict"]) == (claim, limit, verdict) and r["how"].startswith(how)
    )


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    wrong = errors()
    rows = extraction_rows() + auroc_rows() + tpr_rows() + two_looks_rows()
    worst = float(max(max(e["false FAIL"], e["false PASS"]) for e in wrong))
    for line in wrong:
        print("  ".join(f"{name} {line[name]}" for name in ERRORS))
    asked = (  # what, and the line that says so
        ("extraction, PASS at 0.01: generations, times fewer", ("extraction", 0.01, "PASS", "all"), 10.0),
        ("AUROC, PASS at 0.6: times fewer than pair by pair", ("AUROC", 0.6, "PASS", "pair"), 2.5),
        ("AUROC, PASS at 0.6: times fewer than one look", ("AUROC", 0.6, "PASS", "one"), 1.25),
        ("TPR, FAIL at 0.02: times fewer, from then on", ("TPR", 0.02, "FAIL", "half-half split, from"), 1.15),
    )
    figures = [Figure(what, ratio(rows, *line), least, "at least") for what, line, least in asked]
    slack = 2.0 * math.sqrt(SIGNIFICANCE * (1.0 - SIGNIFICANCE) / RUNS)
    figures.append(Figure("largest error at the limit", worst, SIGNIFICANCE + slack))
    return conclude(__doc__ or "", COLUMNS, rows, {}, json_path=given.json, facts={"errors": wrong}, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
