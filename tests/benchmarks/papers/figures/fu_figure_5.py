"""Fu et al. 2024, Figure 5: the share of the image that is hidden."""

from __future__ import annotations

from matplotlib.figure import Figure as Picture

from tests.benchmarks.papers.draw import whiskers
from tests.benchmarks.papers.figure import Estimate, Finding, PaperFigure, Results, Table
from tests.benchmarks.papers.figures.fu_roc import STEP


def draw(picture: Picture, results: Results) -> None:
    """AUROC and TPR against the ratio."""
    axes, rows = picture.subplots(), results[STEP.result]["mask ratios"]
    for number, key in enumerate(("AUROC", "TPR at 1 %")):
        whiskers(axes, [row["ratio"] for row in rows], [Estimate.read(row[key]) for row in rows], number, label=key)
    axes.set(xlabel="share of the image that is hidden", ylabel="AUROC, TPR", ylim=(-0.03, 1.05))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def table(results: Results) -> Table:
    """The same as numbers."""
    rows = [[f"{row['ratio']:g}", row["AUROC"], row["TPR at 1 %"]] for row in results[STEP.result]["mask ratios"]]
    return Table(("share hidden", "AUROC", "TPR at 1 % FPR"), rows)


def findings(results: Results) -> list[Finding]:
    """What the ratio does here; the paper's values are not known."""
    areas = {row["ratio"]: Estimate.read(row["AUROC"]) for row in results[STEP.result]["mask ratios"]}
    best = max(areas, key=lambda ratio: areas[ratio].value)
    worst = min(areas, key=lambda ratio: areas[ratio].value)
    apart = "do not meet" if areas[best].low > areas[worst].high else "meet"
    return [
        Finding(
            "The share that is hidden, from 0.1 to 0.5, matters (which one is best is in no source that we could read)",
            f"best {best:g} with {areas[best].text}, worst {worst:g} with {areas[worst].text}: their intervals {apart}",
            True if apart == "do not meet" else None,
        )
    ]


FIGURE = PaperFigure(
    paper="Fu et al. 2024 (DRC)",
    place="Figure 5",
    title="the share of the image that is hidden",
    shows="An ablation of DRC's mask ratio from 0.1 to 0.5.",
    printed="its values are in no source that we could read.",
    here="`digits-leaky` as in the table; random square patches, 3 restorations of 10 steps.",
    steps=(STEP,),
    methods=("membership/drc",),
    draw=draw,
    table=table,
    findings=findings,
)
