"""How long does a report take, and how large does it become?

The page of a usual run, of 2,000 claims with curves and histograms, of 50 worst cases with full pictures of noise,
which no compression makes smaller, and one with as many figures and pictures as a page takes. Processor time.

Targets: 2,000 claims in at most 5 s; every page at most 10 MB.

    python -m tests.benchmarks.report_speed --json tests/benchmarks/results/report_speed.json
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from pytest_diffprivacy.evidence.pictures import difference_map, picture
from pytest_diffprivacy.evidence.records import Run, Strip
from pytest_diffprivacy.report.formats.html import render as render_html
from tests.benchmarks.table import Figure, arguments, conclude
from tests.benchmarks.timing import seconds
from tests.report.finished import finished_run

COLUMNS = ("what", "claims", "seconds", "megabytes")
CLAIMS = 2_000
CASES = 50
SECONDS, MEGABYTES = 5.0, 10.0


def many(run: Run) -> Run:
    """2,000 claims of every verdict, most of them with figures, none of them expected to fail."""
    judged = [run.claims[index] for index in (0, 1, 1, 2, 1, 0, 3, 1)]
    claims = [c.model_copy(update={"id": f"{c.id}-{i}"}) for i in range(CLAIMS // len(judged)) for c in judged]
    return run.model_copy(update={"claims": tuple(claims), "tests": ()})


def worst_cases(run: Run) -> Run:
    """One claim with 50 strips of three pictures each."""
    random = np.random.default_rng(1)
    strips = []
    for number in range(CASES):
        one, other = random.uniform(size=(2, 3, 512, 512))
        pictures = (
            picture(one, f"generation {number}", redacted=False),
            picture(other, f"member {number}", redacted=False),
            difference_map(one, other, "where they agree (white)"),
        )
        strips.append(Strip(pictures=pictures, caption=f"case {number}", mark="match", conspicuous=True))
    claim = run.claims[0].model_copy(update={"strips": tuple(strips)})
    return run.model_copy(update={"claims": (claim, *run.claims[1:]), "images": "full"})


def full_page(run: Run) -> Run:
    """100 claims with as many figures and pictures as a page takes."""
    pictured = worst_cases(run).claims[0].strips
    claims = [run.claims[1].model_copy(update={"id": f"full-{i}", "strips": pictured[:5]}) for i in range(100)]
    return run.model_copy(update={"claims": tuple(claims), "images": "full", "tests": ()})


def page_row(what: str, run: Run) -> dict[str, Any]:
    """Render once and measure."""
    pages: list[str] = []
    taken = seconds(lambda: pages.append(render_html(run)))
    return {"what": what, "claims": len(run.claims), "seconds": taken, "megabytes": len(pages[0].encode()) / 1e6}


def main() -> int:
    """Measure, print and judge."""
    options = arguments(__doc__ or "").parse_args()
    run = finished_run()
    render_html(run)  # loads matplotlib and compiles the templates
    pages = [
        page_row("usual run", run),
        page_row(f"{CLAIMS} claims", many(run)),
        page_row(f"{CASES} worst cases", worst_cases(run)),
        page_row("a full page", full_page(run)),
    ]
    figures = [
        Figure(f"page of {CLAIMS} claims, seconds", pages[1]["seconds"], SECONDS),
        *(Figure(f"{row['what']}, megabytes", row["megabytes"], MEGABYTES) for row in pages),
    ]
    return conclude(__doc__ or "", COLUMNS, pages, {}, json_path=options.json, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
