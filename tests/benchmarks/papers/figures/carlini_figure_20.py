"""Carlini et al. 2023, Figure 20: the images that membership inference finds most easily and most hardly."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure as Picture
from matplotlib.gridspec import GridSpec

from tests.benchmarks.papers.figure import UNEXPLAINED, Estimate, Finding, PaperFigure, Results, Step, Table

STEP = Step("easy_and_hard", "easy_and_hard", minutes=6)
SIDE = 8


def draw(picture: Picture, results: Results) -> None:
    """Every image by how far out it lies and how easy it is; the hardest and the easiest beside it."""
    found = results[STEP.result]
    single, ease, far = found["single images"], np.array(found["ease"]), np.array(found["outlying"])
    left, right = picture.subfigures(1, 2, width_ratios=(3, 2))
    axes = left.subplots()
    for name, part, colour, marker in (
        ("single images", slice(single), "#0072b2", "o"),
        ("duplicates", slice(single, None), "#b34700", "s"),
    ):
        axes.scatter(far[part], ease[part], s=9, color=colour, marker=marker, label=name, alpha=0.7, linewidths=0)
    axes.set(xlabel="outlying: mean RMS distance to the 20 nearest", ylabel="ease: LiRA score, in minus out")
    axes.legend(loc="upper left", fontsize=8)
    grid = GridSpec(4, 4, figure=right)
    for top, name in ((0, "hardest"), (2, "easiest")):
        for place, pixels in enumerate(found["pictures"][name]):
            shown = right.add_subplot(grid[top + place // 4, place % 4])
            shown.imshow(np.reshape(pixels, (SIDE, SIDE)), cmap="gray", vmin=0, vmax=16)
            shown.set_axis_off()
            if place == 0:
                shown.set_title(name, fontsize=8.5, loc="left")


def table(results: Results) -> Table:
    """The same as numbers."""
    columns = ("images", "duplicates", "outlying", "outlying, more than the rest", "ease")
    rows = results[STEP.result]["rows"]
    shown = [[row.get(column, "") for column in columns] for row in rows]
    return Table(columns, [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in shown])


def findings(results: Results) -> list[Finding]:
    """Duplicates are hard, outliers easy."""
    found = results[STEP.result]
    hardest, easiest, pool = found["rows"]
    hard, base = Estimate.read(hardest["duplicates"]), Estimate.read(pool["duplicates"]).value
    more = Estimate.read(easiest["outlying, more than the rest"])
    apart = found["ease, single images minus duplicates"]
    linked = found["Spearman correlation of ease and outlying, single images"]
    return [
        _decided(
            "The hardest images are duplicates in the training set",
            f"{hard.text} of the hardest tenth are duplicates, {base:.3f} of the pool; single images are easier by "
            f"{apart}",
            hard.low > base,
            hard.high < base,
        ),
        _decided(
            "The easiest images are visual outliers",
            f"the easiest tenth lie {more.text} farther out than the rest; over all single images ease and distance "
            f"have a rank correlation of {linked:.2f}, p = {found['its p-value']:.2g}",
            more.low > 0.0,
            more.high < 0.0,
        ),
    ]


def _decided(paper: str, here: str, yes: bool, no: bool) -> Finding:
    return Finding(paper, here, True if yes else False if no else None, UNEXPLAINED if no else "")


FIGURE = PaperFigure(
    paper="Carlini et al. 2023",
    place="Figure 20",
    title="the hardest and the easiest images for membership inference",
    shows="The CIFAR-10 images on which the attack with 16 shadow models fails (all of them duplicates) and those on "
    "which it succeeds best (visual outliers).",
    printed="pictures without numbers; what they show stands in its caption.",
    here="400 digits, of which 60 are 30 pairs that differ in one pixel by one level; 8 models trained on halves of "
    "them, each the target once; LiRA on the loss of 20 draws.",
    steps=(STEP,),
    methods=("membership/lira",),
    draw=draw,
    table=table,
    findings=findings,
)
