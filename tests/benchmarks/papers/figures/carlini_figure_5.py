"""Carlini et al. 2023, Figure 5: extraction against the number of times that the training set holds an image."""

from __future__ import annotations

from matplotlib.figure import Figure as Picture

from tests.benchmarks.papers.draw import whiskers
from tests.benchmarks.papers.figure import UNEXPLAINED, Estimate, Finding, PaperFigure, Results, Step, Table

STEP = Step("extraction_curve", "extraction_curve", minutes=8)
HELD = "extracted of those held "
THEIRS = 100


def shares(results: Results) -> dict[int, Estimate]:
    """Share of the leaky model's images that came back, by their number of copies."""
    rows = [row for row in results[STEP.result]["rows"] if row["model"] == "digits-leaky"]
    return {
        int(row["what"].removeprefix(HELD).split()[0]): Estimate.read(row["value"])
        for row in rows
        if row["what"].startswith(HELD)
    }


def mostly_extracted(found: dict[int, Estimate]) -> int | None:
    """The fewest copies of which most images came back, by the lower bound; None: of no number of copies."""
    return min((times for times, share in found.items() if share.low > 0.5), default=None)


def draw(picture: Picture, results: Results) -> None:
    """Shares with their bounds; the paper's only printed number as a line."""
    found, axes = shares(results), picture.subplots()
    whiskers(
        axes,
        list(found),
        list(found.values()),
        0,
        label=f"digits-leaky, {results[STEP.result]['generations']:,} generations",
    )
    axes.axvline(THEIRS, color="#b34700", linestyle="--", label=f"the paper: most often from {THEIRS} on")
    axes.set(xscale="log", xlabel="times in the training set", ylabel="share of these images extracted")
    axes.set_xticks([*found, THEIRS], [str(times) for times in (*found, THEIRS)])
    axes.minorticks_off()
    axes.legend(loc="upper left")


def table(results: Results) -> Table:
    """The same as numbers."""
    return Table(
        ("times held", "share extracted here"), [(str(times), found.text) for times, found in shares(results).items()]
    )


def findings(results: Results) -> list[Finding]:
    """Often held images come back; from how often on is another matter."""
    found = shares(results)
    often, once = found[max(found)], found[1]
    first = mostly_extracted(found)
    return [
        Finding(
            "Images that the training set holds often come back, others hardly do",
            f"{often.text} of those held {max(found)} times, {once.text} of those held once",
            often.low > once.high,
            UNEXPLAINED if often.low <= once.high else "",
        ),
        Finding(
            f"Most extracted images are held at least {THEIRS} times (an upper bound: duplicates were searched for)",
            f"most images come back from {first} times on: {found[first].text}" if first else "most images never do",
            first >= THEIRS if first else None,
            f"{UNEXPLAINED}: training visits an image 246 times for each copy (data card), Stable Diffusion's far less "
            "often; no model with fewer visits was measured",
        ),
    ]


FIGURE = PaperFigure(
    paper="Carlini et al. 2023",
    place="Figure 5",
    title="extraction against repetitions",
    shows="Images extracted from Stable Diffusion 1.4, by how often its training set holds them: most of them at least "
    "100 times.",
    printed="100 stands in its caption; the histogram's counts are in no source that we could read.",
    here="`digits-leaky`, whose training set holds 300 images once and 10 each 2, 4, 8, 16, 32 and 64 times; "
    "`assert_no_extraction` with 10,000 generations.",
    steps=(STEP,),
    methods=("extraction/extraction",),
    draw=draw,
    table=table,
    findings=findings,
)
